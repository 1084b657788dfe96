"""Why memory is high: eight causes told apart, each by one check, so that one trouble gives one finding.

A replica that grows is a leak and not also a limit that is too small. A Redis that is full rejects, evicts or neither;
only one that is not full yet is filling up. Pressure on the machine is attributed to a replica at its limit where there is one.

One trouble gives one finding: a replica that grows is a leak also when it is near its limit; a full Redis is
attributed to what it does then, rejecting before evicting, either before growth. Pressure on the host belongs to a
replica at its limit where there is one, since its reclaim is what makes tasks wait.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, ruled_out, unreported, whole
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.memory import views as m
from flowrex_ops.memory.host import HostMemory
from flowrex_ops.memory.redis_checks import (
    check_redis_evicting,
    check_redis_fragmentation,
    check_redis_growth,
    check_redis_rejecting,
)
from flowrex_ops.memory.redis_service_checks import (
    check_cache_miss_storm,
    check_max_clients,
    check_persistence_failing,
    check_read_only,
    check_replication,
    check_slow_commands,
)
from flowrex_ops.memory.source import KILL_COLUMNS, MEMORY_COLUMNS, SAMPLED
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.services import impact

__all__ = [
    "check_cache_miss_storm",
    "check_container_limit",
    "check_host_pressure",
    "check_leak",
    "check_max_clients",
    "check_oom_killed",
    "check_persistence_failing",
    "check_read_only",
    "check_redis_evicting",
    "check_redis_fragmentation",
    "check_redis_growth",
    "check_redis_rejecting",
    "check_replication",
    "check_slow_commands",
    "check_unexplained_growth",
]

Frame = Reading[pd.DataFrame]
REDIS = ("redis",)
MOST = 0.5
"""From this share of a service's replicas on it is P1."""

_GONE = ("exited", "dead")
_STARTING = timedelta(seconds=40)
"""A replica that was started so lately fills up with what it loads; in some samples that looks like a leak."""
_KILLED = 137
"""128 + SIGKILL, which the kernel sends, and ``docker kill`` too."""


@check("memory.leak")
def check_leak(
    memory: Frame,
    *,
    trend_minutes: float = 30.0,
    leak_hours: float = 6.0,
    leak_mib: float = 4.0,
    not_judged: Collection[str] = REDIS,
    services: Frame | None = None,
) -> Verdict:
    """No replica's memory rises in each quarter of the window so that it reaches its limit within *leak_hours*."""
    cause = "memory.leak"
    if missing(memory):
        return inconclusive(cause, memory)
    trends = _trends(memory, not_judged, trend_minutes=trend_minutes, leak_hours=leak_hours, leak_mib=leak_mib)
    if trends.empty:
        return inconclusive(cause, "no running replica was seen")
    starting = _starting(trends, services)
    growing = trends[trends["grows"].astype(bool) & ~starting].sort_values(["minutes_to_limit", "replica"])
    if growing.empty:
        return _no_leak(cause, trends, trend_minutes, starting)
    first = growing.iloc[0]
    names = _listed(growing["replica"])
    title = f"{names} {'leaks' if len(growing) == 1 else 'leak'} {first['bytes_per_minute'] / 2**20:.1f} MiB a minute{'' if len(growing) == 1 else ' each'}"
    soon = m.minutes_text(first["minutes_to_limit"])
    end = (
        f"reaches its limit of {m.size(first['limit_bytes'])} in {soon}"
        if first["limit_bytes"] > 0
        else f"doubles in {soon}"
    )
    severity = Severity.P1 if first["minutes_to_limit"] <= 10 else Severity.P2  # noqa: PLR2004  # ten minutes to act
    return confirmed(cause, f"{title}; {first['replica']} {end}", _grown(growing), severity=severity, title=title)


def _starting(trends: pd.DataFrame, services: Frame | None) -> pd.Series[bool]:
    """Which replicas were started just now, and are known by a few samples only."""
    if services is None or not services.available:
        return pd.Series(data=False, index=trends.index)
    table = whole(services.require(), REPLICA_COLUMNS)
    young = pd.to_datetime(table["started_at"], utc=True) >= pd.Timestamp(services.taken_at) - _STARTING
    return trends["replica"].isin(table.loc[young, "name"]) & trends["origin"].eq(SAMPLED)


def _no_leak(cause: str, trends: pd.DataFrame, trend_minutes: float, starting: pd.Series[bool]) -> Verdict:
    """Ruled out for those of which enough was seen, as long as none of the others rises."""
    seen = _seen_enough(trends[~starting], trend_minutes)
    rising = trends[trends["rises"].astype(bool) & ~trends["replica"].isin(seen["replica"])]
    settles = "look again in some minutes, or have Prometheus scrape it"
    if len(rising):
        first = rising.sort_values(["bytes_per_minute", "replica"]).iloc[-1]
        but = ", while it starts" if starting[first.name] else ""
        return inconclusive(cause, f"{first['replica']} rises by {_seen(first)}{but}; {settles}")
    if seen.empty:
        longest = trends.sort_values(["minutes", "replica"]).iloc[-1]
        text = f"no replica was seen long enough: {longest['replica']} moved by {_seen(longest)}"
        return inconclusive(cause, f"{text}, in which a slow rise does not show; {settles}")
    steepest = seen.sort_values(["bytes_per_minute", "replica"]).iloc[-1]
    text = f"none of {len(seen)} replicas rises all the time; {steepest['replica']} moves most"
    others = len(trends) - len(seen)
    but = f"; {others} others were seen for some seconds only, without a steep rise" if others else ""
    return ruled_out(cause, f"{text}, by {steepest['bytes_per_minute'] / 2**20:+.1f} MiB a minute{but}")


def _seen_enough(trends: pd.DataFrame, trend_minutes: float) -> pd.DataFrame:
    """The replicas that were seen often and long enough for a slow rise to show."""
    return trends[trends["points"].ge(m.FEW_POINTS) & trends["minutes"].ge(m.ENOUGH_OF_WINDOW * trend_minutes)]


def _seen(row: pd.Series[object]) -> str:
    per_minute, points, minutes = (float(str(row[name])) for name in ("bytes_per_minute", "points", "minutes"))
    return f"{per_minute / 2**20:+.1f} MiB a minute, seen {points:.0f} times in {60 * minutes:.0f} s"


@check("memory.unexplained-growth")
def check_unexplained_growth(
    memory: Frame,
    *,
    trend_minutes: float = 30.0,
    leak_hours: float = 6.0,
    leak_mib: float = 4.0,
    not_judged: Collection[str] = REDIS,
    services: Frame | None = None,
) -> Verdict:
    """No replica's memory rises on the whole so that it reaches its limit within *leak_hours*, but for one that leaks."""
    cause = "memory.unexplained-growth"
    if missing(memory):
        return inconclusive(cause, memory)
    trends = _trends(memory, not_judged, trend_minutes=trend_minutes, leak_hours=leak_hours, leak_mib=leak_mib)
    starting = _starting(trends, services)
    rising = trends[trends["rises"].astype(bool) & ~trends["grows"].astype(bool) & ~starting]
    if len(rising):
        return _grows_unexplained(cause, rising.sort_values(["minutes_to_limit", "replica"]))
    reason = _why_growth_is_unseen(trends, starting, trend_minutes)
    return (
        inconclusive(cause, reason)
        if reason
        else ruled_out(cause, f"none of {len(trends)} replicas rises, but for what is explained")
    )


def _why_growth_is_unseen(trends: pd.DataFrame, starting: pd.Series[bool], trend_minutes: float) -> str:
    """Why a rise may be there that was not seen; empty where it would have been."""
    if trends.empty:
        return "no running replica was seen"
    if len(loading := trends[trends["rises"].astype(bool) & starting]):
        return f"{_listed(loading['replica'])} {_verb(loading, 'rises while it starts', 'rise while they start')}; look again in a minute"
    few = trends[trends["points"].lt(m.FEW_POINTS)]
    if len(few):
        was = _verb(few, "was", "were")
        return f"{_listed(few['replica'])} {was} seen {few['points'].min():.0f} times only; raise sample_seconds"
    standing = trends[~trends["grows"].astype(bool)]
    if len(standing) and _seen_enough(trends, trend_minutes).empty:
        longest = standing.sort_values(["minutes", "replica"]).iloc[-1]
        return f"{longest['replica']} moved by {_seen(longest)}, in which a slow rise does not show"
    return ""


def _grows_unexplained(cause: str, rising: pd.DataFrame) -> Verdict:
    first = rising.iloc[0]
    title = f"{_listed(rising['replica'])} {_verb(rising, 'rises', 'rise')} by {first['bytes_per_minute'] / 2**20:.1f} MiB a minute, unexplained"
    few = first["points"] < m.FEW_POINTS
    why = f"seen {first['points']:.0f} times only" if few else "though not all the time, as a leak does"
    reason = f"{title}: {why}; it would reach its limit in {m.minutes_text(first['minutes_to_limit'])}"
    severity = impact.of_memory(float(first["share"]))
    return confirmed(cause, reason, _grown(rising), severity=severity, title=title)


@check("memory.container-limit")
def check_container_limit(
    memory: Frame,
    *,
    limit_share: float = 0.85,
    trend_minutes: float = 30.0,
    leak_hours: float = 6.0,
    leak_mib: float = 4.0,
    not_judged: Collection[str] = REDIS,
) -> Verdict:
    """No replica that stands still uses *limit_share* of its limit or more; page cache does not count."""
    cause = "memory.container-limit"
    if missing(memory):
        return inconclusive(cause, memory)
    trends = _trends(memory, not_judged, trend_minutes=trend_minutes, leak_hours=leak_hours, leak_mib=leak_mib)
    limited = trends[trends["share"].notna()]
    if limited.empty:
        return inconclusive(cause, "no replica with a memory limit was seen; give containers a mem_limit")
    near = limited[limited["share"].ge(limit_share)]
    still = near[~near["grows"].astype(bool)]
    unreported = trends[trends["limit_bytes"].notna() & trends["share"].isna()]
    if still.empty and len(unreported):
        return inconclusive(
            cause,
            f"{_listed(unreported['replica'])} {_verb(unreported, 'does not tell what it uses', 'do not tell what they use')}",
        )
    if still.empty:
        fullest = limited.iloc[0]
        text = f"{fullest['replica']} is the fullest, at {fullest['share']:.0%} of {m.size(fullest['limit_bytes'])}"
        return ruled_out(cause, text + ("; it grows, which is a leak" if len(near) else ""))
    first = still.iloc[0]
    title = f"{_listed(still['replica'])} near the memory limit: {first['share']:.0%} of {m.size(first['limit_bytes'])}"
    severity = impact.of_memory(float(first["share"]))
    return confirmed(cause, f"{title}, {_moving(first)}", _standing(still), severity=severity, title=title)


def _moving(row: pd.Series[Any]) -> str:
    """How a replica near its limit moves, as far as was seen."""
    if row["rises"]:
        return f"and growing by {row['bytes_per_minute'] / 2**20:.1f} MiB a minute"
    few = row["points"] < m.FEW_POINTS
    return "and whether it grows was not seen" if few else "and not growing"


# It ranks behind the leak that led to it, and both are named: the leak is nearer to the root.
@check("memory.oom-killed")
def check_oom_killed(services: Frame, kills: Frame, *, recent_minutes: float = 30.0) -> Verdict:
    """The kernel killed no replica, and no process inside one, for its memory within *recent_minutes*.

    A container that Docker restarted keeps the mark of its kill; it counts while the restart is recent.
    """
    cause = "memory.oom-killed"
    if missing(services):
        return inconclusive(cause, services)
    inside = _killed_inside(kills)
    rows, severity = killed_replicas(services, inside, recent_minutes=recent_minutes)
    if rows.empty:
        return _no_kill(services, kills, inside, recent_minutes)
    evidence = [_kill_evidence(row, inside) for _, row in rows.iterrows()]
    title = f"The kernel killed {_listed(rows['name'])} for want of memory"
    return confirmed(cause, f"{title}: {evidence[0].value}", evidence, severity=severity, title=title)


def killed_replicas(
    services: Frame, inside: Collection[str] = (), *, recent_minutes: float = 30.0
) -> tuple[pd.DataFrame, Severity]:
    """Replicas that the kernel killed lately, or that are gone since, and how severe that is; *inside* by their own cgroups."""
    table = whole(services.require(), REPLICA_COLUMNS)
    earliest = pd.Timestamp(services.taken_at) - timedelta(minutes=recent_minutes)
    lately = pd.to_datetime(table["started_at"], utc=True) >= earliest
    marked = table["oom_killed"].eq(True)  # noqa: FBT003  # a comparison: what is not told is no kill
    hit = table[
        (marked & (table["state"].isin(_GONE) | (lately & table["restarts"].gt(0))))
        | (lately & table["name"].isin(list(inside)))
    ]
    rows = hit.sort_values(["name", "state"]).drop_duplicates("name")
    shares = [len(part) / max(1, int(table["service"].eq(name).sum())) for name, part in rows.groupby("service")]
    worst = max(shares, default=0.0) >= MOST or rows["state"].isin(_GONE).any()
    return rows, Severity.P1 if worst else Severity.P2


def _no_kill(services: Frame, kills: Frame, inside: Collection[str], recent_minutes: float) -> Verdict:
    cause = "memory.oom-killed"
    table = whole(services.require(), REPLICA_COLUMNS)
    if missing(kills):
        return inconclusive(cause, kills)
    if table.empty or unreported(table, "name", "state", "oom_killed", "restarts") or blank(table, "started_at"):
        return inconclusive(cause, "the stack does not tell of every replica how it ended and when it started")
    unread = whole(kills.require(), KILL_COLUMNS)
    unread = unread[unread["oom_kills"].isna()]
    if len(unread):
        return inconclusive(cause, f"{_listed(unread['replica'])}: {unread['error'].iloc[0]}")
    old = table[table["oom_killed"].astype(bool) | table["name"].isin(list(inside))]
    past = f"; {_listed(old['name'])} {_verb(old, 'was', 'were')}, longer ago" if len(old) else ""
    return ruled_out(cause, f"none of {len(table)} replicas was killed in the last {recent_minutes:g} minutes{past}")


@check("memory.host-pressure")
def check_host_pressure(
    host: Reading[HostMemory],
    memory: Frame,
    *,
    pressure_percent: float = 10.0,
    available_share: float = 0.05,
    limit_share: float = 0.85,
) -> Verdict:
    """The machine has memory left, and tasks do not wait for it *pressure_percent* of the time or more."""
    cause = "memory.host-pressure"
    if missing(host):
        return inconclusive(cause, host)
    found = host.require()
    some = found.some_avg10
    waits = some is not None and some >= pressure_percent
    short = found.available_share <= available_share
    left = f"{m.size(found.available_bytes)} of {m.size(found.total_bytes)} available"
    waiting = (
        "pressure is not measured by this kernel" if some is None else f"tasks waited {some:.0f} % of the last 10 s"
    )
    own = _at_limit(memory, limit_share) if waits and not short else ""
    if own:
        return ruled_out(cause, f"{left}; tasks wait for memory since {own} is at its own limit")
    if not waits and not short:
        return ruled_out(cause, f"{left}; {waiting}")
    swapped = found.swap_total_bytes - found.swap_free_bytes
    evidence = [Evidence("available", left, "/proc/meminfo"), Evidence("pressure", waiting, "/proc/pressure/memory")]
    evidence.append(
        Evidence("swap used", m.size(swapped) if found.swap_total_bytes else "there is none", "/proc/meminfo")
    )
    title = (
        f"The machine is short of memory: {left}"
        if short
        else f"Tasks on the machine wait for memory: {some:.0f} % of the time"
    )
    severity = Severity.P1 if short else Severity.P2
    return confirmed(cause, f"{left}; {waiting}", evidence, severity=severity, title=title)


def _trends(memory: Frame, not_judged: Collection[str], **thresholds: float) -> pd.DataFrame:
    """Of the replicas of which is told whose, when and how much; what is not counts as not seen."""
    table = whole(memory.require(), MEMORY_COLUMNS)
    table = table[
        table[["at", "service", "replica", "used_bytes", "origin"]].notna().all(axis=1) & table["replica"].ne("")
    ]
    return m.get_trends(table[~table["service"].isin(list(not_judged))], **thresholds)


def _grown(growing: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(
            row.replica,
            f"{m.size(row.used_bytes)}, {row.bytes_per_minute / 2**20:+.1f} MiB a minute, limit in {m.minutes_text(row.minutes_to_limit)}",
            f"{row.origin}",
        )
        for row in growing.head(8).itertuples()
    ]


def _standing(still: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(row.replica, f"{m.size(row.used_bytes)} of {m.size(row.limit_bytes)} ({row.share:.0%})", row.origin)
        for row in still.head(8).itertuples()
    ]


def _killed_inside(kills: Frame) -> dict[str, int]:
    """Replicas in which the kernel killed a process since they started, by their own cgroup."""
    if not kills.available:
        return {}
    table = whole(kills.require(), KILL_COLUMNS)
    counts = pd.to_numeric(table["oom_kills"], errors="coerce")
    return {str(name): int(count) for name, count in zip(table["replica"], counts, strict=True) if count > 0}


def _kill_evidence(row: pd.Series[object], inside: dict[str, int]) -> Evidence:
    code = row["exit_code"]
    parts = ["OOMKilled by its container's state" if row["oom_killed"] else "", str(row["state"])]
    parts += [f"exit code {code:.0f}" if not pd.isna(code) else "", f"{row['restarts']} restarts"]
    parts += [f"{inside[str(row['name'])]} kills inside since it started" if row["name"] in inside else ""]
    parts += [f"started {row['started_at']:%H:%M:%S} UTC" if not pd.isna(row["started_at"]) else ""]
    return Evidence(str(row["name"]), ", ".join(part for part in parts if part), "stack")


def _at_limit(memory: Frame, limit_share: float) -> str:
    """A replica that the kernel must take pages from, since it has reached its own limit; empty where there is none."""
    if not memory.available:
        return ""
    trends = m.get_trends(memory.require())
    full = trends[trends["share"].ge(limit_share)]
    return str(full["replica"].iloc[0]) if len(full) else ""


def _verb(rows: pd.DataFrame, of_one: str, of_many: str) -> str:
    return of_one if len(rows) == 1 else of_many


def _listed(names: pd.Series[str]) -> str:
    known = sorted({str(name) for name in names})
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if known[4:] else "")
