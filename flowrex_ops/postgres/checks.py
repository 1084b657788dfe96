"""Why the database's connections run out: the causes told apart, each by one check."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.postgres import sessions as s
from flowrex_ops.postgres.failures import check_corrupted, check_deadlocks, check_restarted, refused_of
from flowrex_ops.postgres.pool_exhaustion import check_pool_saturated, check_unexplained_pool_exhaustion, left_out
from flowrex_ops.postgres.replication import check_replication_lag
from flowrex_ops.postgres.slots import is_refused, is_unreachable, share_taken
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.postgres.upkeep import (
    check_autovacuum_behind,
    check_invalid_index,
    check_stale_statistics,
    check_wal_archive_failing,
)
from flowrex_ops.postgres.writes import check_read_only, check_sequence_exhausted, check_xid_wraparound
from flowrex_ops.reading import TOO_MANY_CONNECTIONS
from flowrex_ops.services import impact

Frame = Reading[pd.DataFrame]

_NOW = timedelta(minutes=1)
"""Of the last refusal in the log: a client that is refused comes again sooner."""

__all__ = [
    "check_autovacuum_behind",
    "check_corrupted",
    "check_deadlocks",
    "check_idle_in_transaction",
    "check_invalid_index",
    "check_lock_contention",
    "check_long_running_query",
    "check_max_connections",
    "check_orphaned_prepared_transaction",
    "check_overlapping_jobs",
    "check_pool_saturated",
    "check_read_only",
    "check_replication_lag",
    "check_restarted",
    "check_sequence_exhausted",
    "check_stale_statistics",
    "check_unexplained_pool_exhaustion",
    "check_unreachable",
    "check_wal_archive_failing",
    "check_xid_wraparound",
]


@check("db.unreachable")
def check_unreachable(sessions: Frame, limits: Reading[ConnectionLimits]) -> Verdict:
    """PostgreSQL answers; a refusal for want of slots is an answer too, a rejected password is no evidence."""
    cause = "db.unreachable"
    answered = next((reading for reading in (sessions, limits) if reading.available), None)
    if answered is not None:
        return ruled_out(cause, f"PostgreSQL answered with its {answered.what} in {answered.seconds:.1f} s")
    if TOO_MANY_CONNECTIONS in (sessions.code, limits.code):
        return ruled_out(cause, "PostgreSQL answers, but refuses new connections for want of slots (SQLSTATE 53300)")
    if is_unreachable(sessions, limits):
        return confirmed(cause, sessions.error or "", [Evidence("error", limits.error or "", "postgres")])
    return inconclusive(cause, sessions, limits)


@check("db.max-connections")
def check_max_connections(
    limits: Reading[ConnectionLimits], sessions: Frame, events: Frame | None = None, *, connections_ratio: float = 0.9
) -> Verdict:
    """Fewer than *connections_ratio* of the slots that an ordinary role can have are taken, and PostgreSQL logs no refusal."""
    cause = "db.max-connections"
    if not limits.available and is_refused(sessions, limits):
        refusal = limits.error if limits.code == TOO_MANY_CONNECTIONS else sessions.error
        reason = "PostgreSQL refuses new connections (SQLSTATE 53300); who holds them cannot be read without a slot"
        return confirmed(cause, reason, [Evidence("refusal", refusal or "", "postgres")])
    if missing(limits):
        return inconclusive(cause, limits)
    slots = limits.require()
    evidence = [_slots(slots), *_holders(sessions)]
    if slots.through_reserve:
        reason = f"PostgreSQL refuses ordinary roles (SQLSTATE 53300): {slots.used} connections, {evidence[0].value}"
        return confirmed(cause, reason, evidence)
    if (share := share_taken(slots)) >= connections_ratio:
        said = f"{slots.used} of {slots.for_applications} usable slots are taken ({share:.0%})"
        return confirmed(cause, said, evidence)
    return _judge_own_limit(cause, limits, events, evidence)


def _judge_own_limit(
    cause: str, limits: Reading[ConnectionLimits], events: Frame | None, evidence: list[Evidence]
) -> Verdict:
    """The server has slots; a role or a database may have none of its own limit left, and what was refused is in the log."""
    slots, (refused, told) = limits.require(), refused_of(events)
    what, used, most = slots.scarcest
    said = f"{used} of {most} {what} are taken ({used / max(1, most):.0%})"
    if refused is not None:
        how = f"{refused['recent']:.0f} refused lately, the last at {refused['last_at']:%H:%M:%S} UTC: {refused['example']}"
        if limits.taken_at - refused["last_at"] <= _NOW:
            title = f"PostgreSQL refuses connections: {refused['example']}"
            return confirmed(cause, f"{said}; {how}", [Evidence("refused", how, "log"), *evidence], title=title)
        said += f"; over is: {how}"
    # A pool that is as large as the limit of its role is refused nothing; one that is smaller may have been, a moment ago.
    if slots.own_name is not None and (used >= most or not told):
        return inconclusive(cause, f"{said}; is any refused? grep its log for 'too many connections for'")
    return ruled_out(cause, said, evidence[:1])


@check("db.lock-contention")
def check_lock_contention(
    sessions: Frame, locks: Frame, pools: Frame | None = None, *, blocked_after_seconds: float = 2.0
) -> Verdict:
    """No session has waited for another session's lock for *blocked_after_seconds* or longer."""
    cause = "db.lock-contention"
    if missing(sessions):
        return inconclusive(cause, sessions)
    seen = sessions.require()
    unseen = s.unseen(seen, "blocked_by", "query_age_seconds")
    waiting = s.waiting_sessions(seen)
    waiting = waiting[waiting["query_age_seconds"].ge(blocked_after_seconds)]
    if unseen and (waiting.empty or seen["pid"].isna().any()):
        return inconclusive(cause, unseen)
    if waiting.empty:
        return ruled_out(cause, f"no session has waited for a lock for {blocked_after_seconds:g} s or longer")
    tree = s.blocking_tree(seen)
    held_up = tree[tree["pid"].isin(waiting["pid"])]
    by_sessions = held_up[held_up["root"].ne(s.PREPARED_TRANSACTION_PID)]
    if by_sessions.empty:
        return ruled_out(
            cause, f"the {len(held_up)} waiting sessions wait for a prepared transaction, not for a session"
        )
    root = int(by_sessions["root"].value_counts().idxmax())
    evidence = _root_evidence(root, sessions.require(), locks, by_sessions)
    return confirmed(
        cause,
        f"{len(by_sessions)} sessions wait behind PID {root} ({evidence[0].value})",
        evidence,
        severity=_grade(pools),
        title=f"{len(by_sessions)} sessions wait behind PID {root}",
    )


@check("db.idle-in-transaction")
def check_idle_in_transaction(
    sessions: Frame, pools: Frame | None = None, *, idle_after_seconds: float = 10.0
) -> Verdict:
    """No application session sits idle inside an open transaction for *idle_after_seconds* or longer."""
    cause = "db.idle-in-transaction"
    if missing(sessions):
        return inconclusive(cause, sessions)
    idle = s.idle_in_transaction(sessions.require(), after_seconds=idle_after_seconds)
    if idle.empty:
        reason = f"no application session is idle in a transaction for {idle_after_seconds:g} s or longer"
        others = s.idle_in_transaction(
            sessions.require(), after_seconds=idle_after_seconds, of=s.administrator_sessions
        )
        said = reason + _apart_from_roots(sessions.require())
        return _nothing_found(cause, sessions, said, others, "state_age_seconds")
    oldest = float(idle["state_age_seconds"].max())
    reason = f"{len(idle)} sessions are idle in a transaction, the oldest for {oldest:.0f} s"
    return confirmed(cause, reason, _session_evidence(idle, "state_age_seconds"), severity=_grade(pools), title=reason)


@check("db.long-running-query")
def check_long_running_query(
    sessions: Frame, pools: Frame | None = None, *, long_query_seconds: float = 60.0
) -> Verdict:
    """No application query has run for *long_query_seconds* or longer; waiting for a lock is not running."""
    cause = "db.long-running-query"
    if missing(sessions):
        return inconclusive(cause, sessions)
    long = s.long_running(sessions.require(), after_seconds=long_query_seconds)
    if long.empty:
        others = s.long_running(sessions.require(), after_seconds=long_query_seconds, of=s.administrator_sessions)
        reason = f"no application query has run for {long_query_seconds:g} s or longer"
        return _nothing_found(cause, sessions, reason, others, "query_age_seconds")
    longest = float(long["query_age_seconds"].max())
    reason = f"{len(long)} queries have run for over {long_query_seconds:g} s, the longest for {longest:.0f} s"
    return confirmed(cause, reason, _session_evidence(long, "query_age_seconds"), severity=_grade(pools), title=reason)


@check("job.overlapping")
def check_overlapping_jobs(sessions: Frame, *, long_query_seconds: float = 60.0) -> Verdict:
    """No backup of one database, and no program's one statement, is under way twice, started at different times."""
    cause = "job.overlapping"
    if missing(sessions):
        return inconclusive(cause, sessions)
    seen = sessions.require()
    rows = s.overlapping_jobs(seen, after_seconds=long_query_seconds)
    if rows.empty:
        unseen = s.unseen(seen, "application", "backend_start", "query")
        perhaps = s.overlapping_jobs(seen, after_seconds=long_query_seconds, sure=False)
        if len(perhaps):
            unseen = f"{len(perhaps)} sessions of {perhaps['job'].iloc[0]} run one statement: one job twice, workers, or users?"
        nothing = "no backup, and no statement of another program than the backend, runs twice"
        return (
            inconclusive(cause, unseen)
            if unseen
            else _nothing_found(cause, sessions, nothing, rows, "query_age_seconds")
        )
    names = " and ".join(sorted(set(rows["job"])))
    title = f"{names} runs {rows.groupby('job')['run'].max().max() + 1:.0f} times at once"
    evidence = [
        Evidence(
            f"PID {row.pid}, run {row.run + 1}",
            f"{row.job} of {row.role} from {row.client}, since {row.backend_start:%H:%M:%S} UTC: {row.query[:120]}",
            "postgres: pg_stat_activity",
        )
        for row in rows.sort_values(["job", "run"]).head(6).itertuples()
    ]
    return confirmed(cause, title, evidence, title=title)


# pg_blocking_pids() names a prepared transaction as pid 0: there is no session to end, so it is no lock contention.
@check("db.orphaned-prepared-transaction")
def check_orphaned_prepared_transaction(prepared: Frame, *, orphan_after_seconds: float = 60.0) -> Verdict:
    """No prepared transaction is older than *orphan_after_seconds*, and none makes a session wait."""
    cause = "db.orphaned-prepared-transaction"
    if missing(prepared):
        return inconclusive(cause, prepared)
    all_prepared = prepared.require()
    if len(all_prepared) and blank(all_prepared, "age_seconds"):
        return inconclusive(cause, f"how old {len(all_prepared)} prepared transactions are is not known")
    orphans = all_prepared[all_prepared["age_seconds"].ge(orphan_after_seconds) | all_prepared["waiting"].gt(0)]
    if orphans.empty:
        return ruled_out(
            cause, f"no prepared transaction is older than {orphan_after_seconds:g} s ({len(all_prepared)} in all)"
        )
    evidence = [
        Evidence(
            f"transaction '{row.gid}'",
            f"prepared {row.age_seconds:.0f} s ago by {row.role}, holds {row.locks or 'no relation'}, {row.waiting} wait",
            "postgres: pg_prepared_xacts",
        )
        for row in orphans.head(5).itertuples()
    ]
    oldest = orphans.iloc[0]
    reason = f"prepared transaction '{oldest['gid']}' is {oldest['age_seconds']:.0f} s old and was never finished"
    return confirmed(cause, reason, evidence, title=reason)


def _grade(pools: Frame | None) -> Severity:
    return impact.of_pools(pools)


def _nothing_found(cause: str, sessions: Frame, reason: str, others: pd.DataFrame, age: str) -> Verdict:
    """Ruled out, unless sessions hide from the role that asks, or *others* fit that may be the application's after all."""
    if unseen := s.unseen(sessions.require(), age):
        return inconclusive(cause, unseen)
    hidden = int(sessions.require()["query"].eq("<insufficient privilege>").sum())
    if not hidden and len(others):
        return inconclusive(cause, left_out(others))
    if not hidden:
        return ruled_out(cause, reason)
    text = f"{hidden} sessions hide from the role that asked; grant it pg_read_all_stats"
    return inconclusive(cause, Reading("postgres", "full view of the sessions", error=text))


def _apart_from_roots(sessions: pd.DataFrame) -> str:
    """Said where it would otherwise look like a contradiction: an idle root is attributed to lock contention."""
    roots = sessions[sessions["pid"].isin(s.root_pids(sessions)) & sessions["state"].isin(s.IDLE_IN_TRANSACTION)]
    return f", apart from {len(roots)} that others wait for (lock contention)" if len(roots) else ""


def _slots(limits: ConnectionLimits) -> Evidence:
    kept = limits.superuser_reserved + limits.reserved
    return Evidence("connections", f"{limits.used} of {limits.max_connections}, {kept} slots kept back", "postgres")


def _holders(sessions: Frame) -> Iterable[Evidence]:
    if missing(sessions):
        return []
    holders = s.count_holders(sessions.require()).head(5)
    return [
        Evidence(
            f"held by {row.application or row.role or 'unknown'}",
            f"{row.connections} {row.state or 'hidden'} from {row.client}, longest for {row.oldest_seconds or 0:.0f} s",
            "postgres: pg_stat_activity",
        )
        for row in holders.itertuples()
    ]


def _session_evidence(rows: pd.DataFrame, age: str) -> list[Evidence]:
    oldest = rows.sort_values(age, ascending=False).head(5)
    return [
        Evidence(
            f"PID {row['pid']}",
            f"{row['application'] or row['role']}, {row['state']} for {row[age]:.0f} s: {str(row['query'])[:120]}",
            "postgres: pg_stat_activity",
        )
        for _, row in oldest.iterrows()
    ]


def _root_evidence(root: int, sessions: pd.DataFrame, locks: Frame, held_up: pd.DataFrame) -> list[Evidence]:
    known = sessions[sessions["pid"].eq(root)]
    if known.empty:
        return [Evidence(f"root blocker PID {root}", "its session has ended since", "postgres")]
    row = known.iloc[0]
    does = f"{row['state']}, transaction open for {row['xact_age_seconds'] or 0:.0f} s"
    if pd.isna(row["state"]):
        does = "what it does hides from the role that asked; grant it pg_read_all_stats"
    who = f"{row['application'] or row['role']}, {does}"
    evidence = [Evidence(f"root blocker PID {root}", who, "postgres: pg_stat_activity")]
    evidence.append(Evidence("its last query", str(row["query"])[:200], "postgres: pg_stat_activity"))
    evidence.append(
        Evidence("held up", ", ".join(f"PID {pid}" for pid in held_up["pid"].head(10)), "pg_blocking_pids()")
    )
    if locks.available:
        held = locks.require()
        names = held[held["pid"].eq(root) & held["relation"].ne("")]
        texts = [f"{row.relation} ({row.mode})" for row in names.head(5).itertuples()]
        evidence.append(Evidence("holds", ", ".join(texts) or "no relation lock", "postgres: pg_locks"))
    return evidence
