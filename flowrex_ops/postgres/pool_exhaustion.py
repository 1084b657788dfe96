"""The backend's pools have nothing to give: full of work, of connections that leak, of what is stuck, or nobody knows why.

A pool full of sessions that PostgreSQL sees idle is ``db.pool-saturated``, titled as a leak: evidence and next steps
differ, for ``restart-backend`` helps a leak and refuses for a pool that is merely busy.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pandas as pd

from flowrex_ops.causes import runbook
from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.metrics.pools import FULL_SHARE, summarise_pools
from flowrex_ops.model import Evidence, Reading, Verdict, VerdictKind
from flowrex_ops.postgres import sessions as s
from flowrex_ops.postgres.pools import at_work, count_lost
from flowrex_ops.postgres.slots import is_refused, is_unreachable, share_taken
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.services import impact

Frame = Reading[pd.DataFrame]

_MANY_ERRORS = 3
"""So many requests in a second or so that got no connection are no chance."""
_OTHER_SERVER = runbook("triage", "a standby for reads, or another database? its variables say which; does that run?")
_STILL = timedelta(minutes=1)
"""A line of the log that is older tells of the past."""


@check("db.pool-saturated")
def check_pool_saturated(
    pools: Frame,
    sessions: Frame,
    *,
    idle_after_seconds: float = 10.0,
    long_query_seconds: float = 60.0,
    blocked_after_seconds: float = 2.0,
) -> Verdict:
    """No replica's pool is full; or it is full of sessions that are stuck, which is another cause."""
    cause = "db.pool-saturated"
    if missing(pools) and sessions.available:
        return inconclusive(cause, f"no pool gauges: {pools.error}; {_seen_by_postgres(sessions.require())}")
    if missing(pools):
        return inconclusive(cause, pools)
    summary = summarise_pools(pools.require())
    full = summary[summary["full_share"].ge(FULL_SHARE)]
    if full.empty:
        return _no_full_pool(cause, summary)
    if missing(sessions):
        return inconclusive(cause, sessions)
    if unseen := s.unseen(sessions.require()):
        return inconclusive(cause, f"{len(full)} of {len(summary)} pools are full; {unseen}")
    thresholds = (idle_after_seconds, long_query_seconds, blocked_after_seconds)
    return _judge_full(cause, full, f"{len(full)} of {len(summary)}", sessions.require(), thresholds)


@check("db.unexplained-pool-exhaustion")
def check_unexplained_pool_exhaustion(
    pools: Frame,
    sessions: Frame,
    limits: Reading[ConnectionLimits],
    log: Reading[LogSummary],
    *,
    connections_ratio: float = 0.9,
    idle_after_seconds: float = 10.0,
    long_query_seconds: float = 60.0,
    blocked_after_seconds: float = 2.0,
) -> Verdict:
    """No pool is full or waited for, or another cause says why."""
    cause = "db.unexplained-pool-exhaustion"
    dry = _dry_by_gauges(pools) if pools.available else _dry_by_log(log)
    if not dry:
        return _not_dry(cause, pools, log)
    thresholds = (idle_after_seconds, long_query_seconds, blocked_after_seconds)
    if why := _explained(pools, sessions, limits, connections_ratio, thresholds):
        return ruled_out(cause, f"{dry[0].value}: {why}")
    title = f"The pools have nothing to give ({dry[0].value}), and nothing explains it"
    if elsewhere := _refused_elsewhere(log, sessions):
        title = "The pools have nothing to give: by the log their server cannot be reached, while the one that was asked here answers"
        told = confirmed(
            cause, f"{title}: {elsewhere.value}", [*dry, elsewhere], severity=impact.of_pools(pools), title=title
        )
        return replace(told, next_steps=(_OTHER_SERVER,))
    seen = (
        _seen_by_postgres(sessions.require()) if sessions.available else f"the sessions are not known: {sessions.error}"
    )
    evidence = [*dry, *_states(sessions), *_first_seen(log)]
    return confirmed(cause, f"{title}; {seen}", evidence, severity=impact.of_pools(pools), title=title)


def _dry_by_gauges(pools: Frame) -> list[Evidence]:
    """Replicas whose pool is full, is waited for, or refuses requests; with whom it is most."""
    summary = summarise_pools(pools.require())
    full, waited = summary["full_share"].ge(FULL_SHARE), summary["waiting"].ge(1)
    dry = summary[full | waited | summary["errors"].ge(_MANY_ERRORS)]
    if dry.empty:
        return []
    said = f"{len(dry)} of {len(summary)} pools are full or waited for: {', '.join(dry['replica'].astype(str))}"
    return [Evidence("pools", said, "backend: /metrics"), *_pool_evidence(dry)]


def _dry_by_log(log: Reading[LogSummary]) -> list[Evidence]:
    """Lines about the pool, the last of them written just now."""
    if not log.available or not log.require().pool_errors:
        return []
    last = log.require().last_pool_error
    if last is None or log.taken_at - last > _STILL:
        return []
    said = f"{log.require().pool_errors} lines of the log speak of the pool, the last at {last:%H:%M:%S} UTC"
    return [Evidence("log", said, "logs"), Evidence("such as", log.require().example, "logs")]


def _refused_elsewhere(log: Reading[LogSummary], sessions: Frame) -> Evidence | None:
    """A driver's words, just now, of a server that cannot be reached, while the one that is known here answers."""
    if not log.available or missing(sessions):
        return None
    last = log.require().last_refused
    now = last is not None and log.taken_at - last <= _STILL
    return Evidence("not reached", log.require().refused_example, "logs") if now else None


def _not_dry(cause: str, pools: Frame, log: Reading[LogSummary]) -> Verdict:
    if pools.available:
        return _no_full_pool(cause, summarise_pools(pools.require()))
    if missing(log):
        return inconclusive(cause, pools, log)
    return inconclusive(
        cause, f"no pool gauges: {pools.error}; the log tells of no trouble just now, which a pool need not"
    )


def _explained(
    pools: Frame,
    sessions: Frame,
    limits: Reading[ConnectionLimits],
    connections_ratio: float,
    thresholds: tuple[float, float, float],
) -> str:
    """Which cause says why pools are dry; empty where none does."""
    if is_unreachable(sessions, limits):
        return "PostgreSQL cannot be reached"
    if is_refused(sessions, limits) or (limits.available and share_taken(limits.require()) >= connections_ratio):
        return "PostgreSQL has no slots left"
    if missing(sessions) or s.unseen(sessions.require()):
        return ""
    if missing(pools):
        stuck = len(_stuck(sessions.require(), *thresholds, of=s.application_sessions))
        return f"{stuck} sessions are stuck" if stuck else ""
    summary = summarise_pools(pools.require())
    full = summary[summary["full_share"].ge(FULL_SHARE)]
    if full.empty:
        return ""
    reported = _judge_full("db.pool-saturated", full, f"{len(full)} of {len(summary)}", sessions.require(), thresholds)
    return "" if reported.kind is VerdictKind.INCONCLUSIVE else reported.reason


def _states(sessions: Frame) -> list[Evidence]:
    """The application's sessions by state, with how long the oldest has been in it."""
    if missing(sessions):
        return []
    mine = s.application_sessions(sessions.require())
    reported = mine.assign(state=mine["state"].fillna("hidden"))
    return [
        Evidence(
            f"sessions {state}",
            f"{len(rows)}, the longest for {float(rows['state_age_seconds'].max()):.0f} s"
            if rows["state_age_seconds"].notna().any()
            else f"{len(rows)}, for how long is not known",
            "postgres: pg_stat_activity",
        )
        for state, rows in reported.groupby("state", sort=True)
    ]


def _first_seen(log: Reading[LogSummary]) -> list[Evidence]:
    first = log.require().first_pool_error if log.available else None
    return [Evidence("first seen", f"{first:%H:%M:%S} UTC", "logs")] if first else []


def _seen_by_postgres(sessions: pd.DataFrame) -> str:
    """What the application holds, by replica where its address tells: all that is known of a pool without gauges."""
    mine = s.application_sessions(sessions)
    busy = int(at_work(mine).sum())
    text = f"PostgreSQL sees {len(mine)} connections of the application, {busy} of them at work, or a moment ago"
    counts = mine[mine["replica"].ne("")].groupby("replica").size() if "replica" in mine else pd.Series(dtype=int)
    each = ", ".join(f"{replica}: {count}" for replica, count in counts.items())
    return text + (f" ({each})" if each else "")


def _judge_full(
    cause: str, full: pd.DataFrame, of_all: str, everyone: pd.DataFrame, thresholds: tuple[float, float, float]
) -> Verdict:
    """Full of sessions that are stuck, of connections that leak, or of work."""
    stuck, theirs = (_stuck(everyone, *thresholds, of=of) for of in (s.application_sessions, s.administrator_sessions))
    taken = float(full["in_use"].sum())
    evidence = _pool_evidence(full)
    if len(stuck) * 2 >= taken:
        return ruled_out(
            cause, f"the pools are full because {len(stuck)} sessions are stuck; see the other causes", evidence
        )
    if (len(stuck) + len(theirs)) * 2 >= taken:
        return inconclusive(cause, left_out(theirs))
    idle, lost = _leaked(everyone, taken, thresholds[0]), count_lost(full, everyone)
    if (idle + lost) * 2 >= taken:
        gone = f"no session for {lost} of them, which it has ended and the pools keep" if lost else ""
        seen = " and ".join(part for part in (f"{idle} of them idle" if idle or not lost else "", gone) if part)
        reason = f"connections leak: the pools count {taken:.0f} in use, PostgreSQL sees {seen}"
        leaked = Evidence("leaked", f"{idle + lost} connections", "pools, sessions")
        return confirmed(cause, reason, [*evidence, leaked], title=reason)
    mine = s.application_sessions(everyone)
    working = int(at_work(mine).sum())
    if working * 2 >= taken:
        reason = f"{of_all} pools are full of short queries: too small, or too much traffic"
        return confirmed(cause, reason, evidence, title=reason)
    return inconclusive(cause, f"{of_all} pools are full, but {_seen_by_postgres(everyone)}{s.hidden_text(everyone)}")


def left_out(others: pd.DataFrame) -> Frame:
    """Why sessions that would fit do not count."""
    who = ", ".join(sorted({f"{row['application'] or 'no name'} as {row['role']}" for _, row in others.iterrows()})[:3])
    text = f"{len(others)} sessions would fit but are an administrator's ({who}); if not, set postgres.application_role"
    return Reading("postgres", "owner of every session", error=text)


def _no_full_pool(cause: str, summary: pd.DataFrame) -> Verdict:
    if summary.empty:
        return inconclusive(cause, Reading("backend", "pool of any replica", error="no replica was named"))
    silent = summary[~summary["answered"].astype(bool)]
    if len(silent):
        text = f"{', '.join(silent['replica'])} did not answer"
        return inconclusive(cause, Reading("backend", "pool gauges of every replica", error=text))
    silent_use = summary[summary["in_use"].isna()]
    if len(silent_use):
        text = (
            f"{', '.join(silent_use['replica'])} does not tell how many connections are in use; set metrics.pool_in_use"
        )
        return inconclusive(cause, Reading("backend", "use of every pool", error=text))
    unknown = summary[summary["maximum"].isna()]
    if len(unknown):
        text = f"{', '.join(unknown['replica'])} does not tell its pool's size; set backend.pool_size"
        return inconclusive(cause, Reading("backend", "size of every pool", error=text))
    fullest = summary.assign(share=summary["in_use"] / summary["maximum"]).sort_values("share").iloc[-1]
    return ruled_out(
        cause, f"no pool is full; {fullest['replica']} uses {fullest['in_use']:.0f} of {fullest['maximum']:.0f}"
    )


def _stuck(
    sessions: pd.DataFrame, idle_after: float, long_after: float, blocked_after: float, *, of: s.Selection
) -> pd.DataFrame:
    """Sessions that another cause accounts for: waiting (for a lock or a standby), blocking, idle in transaction, long-running."""
    mine = of(sessions)
    waiting = s.waiting_sessions(sessions)
    stuck = set(waiting[waiting["query_age_seconds"].ge(blocked_after)]["pid"])
    stuck |= set(s.root_pids(sessions)) if stuck else set()
    stuck |= set(s.idle_in_transaction(sessions, after_seconds=idle_after, of=of)["pid"])
    stuck |= set(s.long_running(sessions, after_seconds=long_after, of=of)["pid"])
    stuck |= set(s.awaiting_standby(sessions, of=of)["pid"])
    return mine[mine["pid"].isin(stuck)]


def _leaked(sessions: pd.DataFrame, taken: float, idle_after: float) -> int:
    """Connections that the pools count as taken while PostgreSQL has seen them idle for *idle_after* seconds."""
    mine = s.application_sessions(sessions)
    idle = mine["state"].eq("idle") & mine["state_age_seconds"].ge(idle_after)
    busy = int((~mine["state"].eq("idle")).sum())
    return int(min(idle.sum(), max(0.0, taken - busy)))


def _pool_evidence(full: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(
            f"pool of {row.replica}",
            f"{row.in_use:.0f} of {row.maximum:.0f} in use, {row.queued:.0f} requests queued, {row.errors:.0f} timed out",
            "backend: /metrics",
        )
        for row in full.itertuples()
    ]
