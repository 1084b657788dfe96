"""Readings on the left, the verdict on the right: what the runbook says of a database whose connections run out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from database_examples import (
    NOW,
    ages,
    archiver,
    idle_in_transaction,
    indexes,
    limits,
    locks,
    log_settings,
    pools,
    prepared,
    read_only,
    running,
    sequences,
    server_log,
    session,
    sessions,
    silent,
    standbys,
    table,
    upkeep,
    waiting,
)

from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.postgres import checks
from flowrex_ops.postgres.pools import leaking_replicas
from flowrex_ops.postgres.sessions import blocking_tree, root_pids, with_replica

REFUSED = 'FATAL:  too many connections for role "shop"'
STARTED = "LOG:  database system is ready to accept connections"
CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
ADMINISTRATOR = {"application_role": False, "role": "postgres", "application": "psql", "client": "local"}
CHECKPOINT = "LOG:  checkpoint starting: time"
CRASH = (
    "LOG:  client backend (PID 5893) was terminated by signal 9: Killed",
    "DETAIL:  Failed process was running: SELECT 1",
    "LOG:  terminating any other active server processes",
    "LOG:  all server processes terminated; reinitializing",
    "LOG:  database system was not properly shut down; automatic recovery in progress",
)
RESTART = (
    "LOG:  received fast shutdown request",
    "FATAL:  terminating connection due to administrator command",
    'LOG:  background worker "logical replication launcher" (PID 31) exited with exit code 1',
    "LOG:  database system is shut down",
    "LOG:  starting PostgreSQL 18.6 on x86_64-pc-linux-gnu",
    "LOG:  database system was shut down at 2026-01-31 04:11:00 UTC",
)
DEADLOCKS = ("ERROR:  deadlock detected",) * 3
DAMAGE = 'ERROR:  invalid page in block 7 of relation "base/16387/24576"'
PG_DUMP = {
    "application": "pg_dump",
    "role": "backup",
    "application_role": False,
    "query": "COPY public.trades TO stdout",
}
REPORT = {"application": "nightly-report", "client": "10.0.0.9", "query": "SELECT sum(quantity) FROM trades"}
EARLIER, LATER = {"backend_start": NOW - timedelta(hours=2)}, {"backend_start": NOW - timedelta(minutes=5)}
HIDDEN = session(9, state=None, backend_type="client backend", query="<insufficient privilege>")


def jobs(*rows: dict[str, Any]) -> Verdict:
    """Whether a job runs twice; the backend's own sessions are told by the application's name."""
    found = sessions(*rows)
    return checks.check_overlapping_jobs(replace(found, value=with_replica(found.require(), {})))


def of_backend(pid: int, **facts: Any) -> dict[str, Any]:
    return running(pid, 900, **{"application": "flowrex-backend-1", **facts})


def dump_by_workers(pid: int, leader: dict[str, Any]) -> list[dict[str, Any]]:
    """``pg_dump --jobs 2``: the leader, and two workers that it connected a minute later."""
    later = {"backend_start": leader["backend_start"] + timedelta(minutes=1)}
    workers = [running(pid + n, 60, **PG_DUMP, **later) for n in (1, 2)]
    return [idle_in_transaction(pid, 60, **PG_DUMP, **leader), *workers]


def superuser(kind: Callable[..., dict[str, Any]], pid: int, **facts: Any) -> dict[str, Any]:
    """A session as *kind* makes it, 15 minutes old, of a role with all rights."""
    return kind(pid, 900, superuser=True, replication=True, **facts)


def of_replicas(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    """Sessions that each come from a replica's own address."""
    found = sessions(*rows)
    return replace(found, value=found.require().assign(replica="backend-1"))


def pool_log(*, ago: float, refused: str = "") -> Reading[LogSummary]:
    """Seven lines about the pool, the last so many seconds ago; *refused* tells of a server that was not reached then."""
    last = NOW - timedelta(seconds=ago)
    summary = LogSummary(lines=99, pool_errors=7, first_pool_error=last - timedelta(seconds=60), last_pool_error=last)
    summary.last_refused, summary.refused_example = last if refused else None, refused
    return Reading("logs", "backend log", summary, taken_at=NOW)


def unexplained(
    gauges: Reading[Any], seen: Reading[Any], log: Reading[Any] | None = None, slots: Reading[Any] | None = None
) -> Verdict:
    return checks.check_unexplained_pool_exhaustion(gauges, seen, slots or limits(10), log or silent("backend log"))


STREAMING = ("standby", "reports", "streaming", "async")
EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "a backup begins while the one before goes on": (
        lambda: jobs(running(7, 900, **PG_DUMP, **EARLIER), running(8, 90, **PG_DUMP, **LATER)),
        CONFIRMED,
        "pg_dump runs 2 times at once",
    ),
    "and each has workers": (
        lambda: jobs(*dump_by_workers(1, EARLIER), *dump_by_workers(11, LATER)),
        CONFIRMED,
        "pg_dump runs 2 times at once",
    ),
    "one backup by workers that its leader waits for": (
        lambda: jobs(*dump_by_workers(1, EARLIER)),
        RULED_OUT,
        "no backup",
    ),
    "backups of two databases": (
        lambda: jobs(running(7, 900, **PG_DUMP, **EARLIER), running(8, 90, **PG_DUMP, **LATER, database="audit")),
        RULED_OUT,
        "no backup",
    ),
    "a report takes longer than its interval": (
        lambda: jobs(of_backend(1), running(7, 4000, **REPORT, **EARLIER), running(8, 300, **REPORT, **LATER)),
        CONFIRMED,
        "nightly-report runs 2 times at once",
    ),
    "one report": (lambda: jobs(of_backend(1), running(7, 4000, **REPORT, **EARLIER)), RULED_OUT, "runs twice"),
    "two reports of one program": (
        lambda: jobs(running(7, 4000, **REPORT, **EARLIER), running(8, 300, **REPORT | {"query": "SELECT 2"}, **LATER)),
        RULED_OUT,
        "runs twice",
    ),
    "workers of one program, each with its own parameters": (
        lambda: jobs(
            of_backend(1),
            *(
                running(7 + n, 90, **REPORT | {"query": "SELECT f($1)"}, **one)
                for n, one in enumerate((EARLIER, LATER))
            ),
        ),
        INCONCLUSIVE,
        "2 sessions of nightly-report run one statement: one job twice, workers, or users?",
    ),
    "parallel workers of one query": (
        lambda: jobs(
            running(7, 900, **REPORT, **EARLIER), running(8, 90, **REPORT, **LATER, backend_type="parallel worker")
        ),
        RULED_OUT,
        "runs twice",
    ),
    "two users of the backend ask for one report": (
        lambda: jobs(of_backend(1, query="SELECT 1", **EARLIER), of_backend(2, query="SELECT 1", **LATER)),
        RULED_OUT,
        "runs twice",
    ),
    "whose sessions they are is not known": (
        lambda: jobs(running(7, 4000, **REPORT, **EARLIER), running(8, 300, **REPORT, **LATER)),
        INCONCLUSIVE,
        "one job twice, workers, or users?",
    ),
    "a session hides what it does": (lambda: jobs(session(1), HIDDEN), INCONCLUSIVE, "pg_read_all_stats"),
    "a standby that has not applied 300 MB": (
        lambda: checks.check_replication_lag(standbys((*STREAMING, 300 * 1024 * 1024.0, 4.0))),
        CONFIRMED,
        "standby reports is 300.0 MB behind",
    ),
    "a standby that is two minutes behind": (
        lambda: checks.check_replication_lag(standbys((*STREAMING, 2048.0, 120.0))),
        CONFIRMED,
        "standby reports is 0.0 MB behind",
    ),
    "a slot that nobody reads from": (
        lambda: checks.check_replication_lag(standbys(("slot", "old", "nobody connected", None, 9e9, None))),
        CONFIRMED,
        "slot old is 8,583.1 MB behind",
    ),
    "commits that wait for a standby": (
        lambda: checks.check_replication_lag(standbys(("commit", "backend-1", "waits for a standby", None, None, 7.0))),
        CONFIRMED,
        "1 commit waits for a standby, for up to 7 s",
    ),
    "a standby that keeps up": (
        lambda: checks.check_replication_lag(standbys((*STREAMING, 2048.0, None))),
        RULED_OUT,
        "none of 1 standbys and slots",
    ),
    "no standby at all": (lambda: checks.check_replication_lag(standbys()), RULED_OUT, "no standby follows"),
    "a standby whose state may not be seen": (
        lambda: checks.check_replication_lag(standbys(("standby", "reports", None, None, None, None))),
        INCONCLUSIVE,
        "GRANT pg_monitor",
    ),
    "an integer key that nears its end": (
        lambda: checks.check_sequence_exhausted(sequences(0.9, 0.1)),
        CONFIRMED,
        "public.audit_0_id_seq has used 90% of what audit_0.id (integer) can hold: 214,748,365 numbers are left",
    ),
    "an integer key at its end": (
        lambda: checks.check_sequence_exhausted(sequences(1.0, None)),
        CONFIRMED,
        "each further insert fails",
    ),
    "sequences far from their end": (
        lambda: checks.check_sequence_exhausted(sequences(0.7, 0.1)),
        RULED_OUT,
        "the fullest of 2 sequences, public.audit_0_id_seq, has used 70%",
    ),
    "a sequence that may not be read": (
        lambda: checks.check_sequence_exhausted(sequences(0.1, None)),
        INCONCLUSIVE,
        "1 of 2 sequences may not be read; GRANT SELECT ON ALL SEQUENCES",
    ),
    "no sequence at all": (lambda: checks.check_sequence_exhausted(sequences()), RULED_OUT, "no sequence"),
    "a database that was not frozen for a billion transactions": (
        lambda: checks.check_xid_wraparound(ages(flowrex=1200, postgres=90)),
        CONFIRMED,
        "Database flowrex has used 56% of its transaction ids: 947 million are left; vacuum is held back by replication slot old",
    ),
    "an age at which autovacuum freezes, as every week": (
        lambda: checks.check_xid_wraparound(ages(flowrex=210, postgres=190)),
        RULED_OUT,
        "the oldest of 2 databases has used 9.8%",
    ),
    "a database set to read-only": (
        lambda: checks.check_read_only(read_only(by="ALTER DATABASE flowrex", source="database")),
        CONFIRMED,
        "PostgreSQL takes no writes: set by ALTER DATABASE flowrex",
    ),
    "a server set to read-only, asked by another role": (
        lambda: checks.check_read_only(read_only(source="configuration file", own=False)),
        CONFIRMED,
        "set by configuration file",
    ),
    "the application's role set to read-only, asked by another": (
        lambda: checks.check_read_only(read_only(by="ALTER ROLE flowrex", own=False)),
        CONFIRMED,
        "set by ALTER ROLE flowrex",
    ),
    "a standby": (lambda: checks.check_read_only(read_only(recovery=True)), CONFIRMED, "it is a standby in recovery"),
    "a database that takes writes": (lambda: checks.check_read_only(read_only()), RULED_OUT, "may write"),
    "asked by a role that is read-only itself": (
        lambda: checks.check_read_only(read_only(source="user", own=False)),
        INCONCLUSIVE,
        "the role that asks is read-only itself",
    ),
    "dead rows in a table that autovacuum is off for": (
        lambda: checks.check_autovacuum_behind(upkeep(table(dead=900_000.0, autovacuum="off for this table"))),
        CONFIRMED,
        "public.trades has 900,000 dead rows: autovacuum: off for this table",
    ),
    "dead rows that an old snapshot holds": (
        lambda: checks.check_autovacuum_behind(upkeep(table(dead=4e5, held_by="session of report", held_seconds=4e3))),
        CONFIRMED,
        "vacuum may not remove them, held back by session of report for 1 h 6 min",
    ),
    "dead rows that a vacuum left behind, for a snapshot was there": (
        lambda: checks.check_autovacuum_behind(
            upkeep(table(dead=4e5, held_by="session of report", held_seconds=90.0, vacuumed_seconds=20.0))
        ),
        CONFIRMED,
        "held back by session of report for 1 min 30 s",
    ),
    "dead rows that a slot nobody uses holds": (
        lambda: checks.check_autovacuum_behind(
            upkeep(table(dead=4e5, held_by="replication slot old", held_seconds=float("inf")))
        ),
        CONFIRMED,
        "held back by replication slot old",
    ),
    "dead rows while all workers are busy": (
        lambda: checks.check_autovacuum_behind(upkeep(table(dead=4e5, autovacuum="all workers busy"))),
        CONFIRMED,
        "all workers busy",
    ),
    "dead rows that a vacuum has worked on for an hour": (
        lambda: checks.check_autovacuum_behind(upkeep(table(dead=4e5, vacuuming_seconds=3600.0))),
        CONFIRMED,
        "a vacuum of it runs for 1 h 0 min already",
    ),
    "a burst of updates, a moment ago": (
        lambda: checks.check_autovacuum_behind(
            upkeep(table(dead=4e5, held_by="session of flowrex", held_seconds=0.2, vacuuming_seconds=3.0))
        ),
        INCONCLUSIVE,
        "look again in some minutes",
    ),
    "dead rows, but fewer than autovacuum begins at": (
        lambda: checks.check_autovacuum_behind(
            upkeep(table(dead=90_000.0, held_by="session of report", held_seconds=9e3)), dead_rows_factor=3
        ),
        RULED_OUT,
        "no table has both 50,000 dead rows and 3 times as many as autovacuum begins at (1 tables, at most 90,000)",
    ),
    "a small table, dead many times over": (
        lambda: checks.check_autovacuum_behind(upkeep(table(rows=5.0, dead=4e3, vacuum_at=51.0, autovacuum="off"))),
        RULED_OUT,
        "at most 4,000",
    ),
    "dead rows of a large table after a crash": (
        lambda: checks.check_autovacuum_behind(upkeep(table(dead=0.0, counters_lost=True))),
        INCONCLUSIVE,
        "counters of public.trades were lost",
    ),
    "no row is counted": (
        lambda: checks.check_autovacuum_behind(upkeep(table(autovacuum="off: track_counts"))),
        INCONCLUSIVE,
        "track_counts is off",
    ),
    "a table that was loaded and never analyzed": (
        lambda: checks.check_stale_statistics(
            upkeep(table(has_statistics=False, changed=2e5, analyzed_seconds=None, autovacuum="off for this table"))
        ),
        CONFIRMED,
        "it was never analyzed, and has about 200,000 rows; autovacuum: off for this table",
    ),
    "tables after an upgrade, whose changes nobody has counted": (
        lambda: checks.check_stale_statistics(
            upkeep(table(has_statistics=False, changed=0.0, analyze_at=50.0, analyzed_seconds=None))
        ),
        CONFIRMED,
        "autovacuum counts too few changes to analyze it",
    ),
    "a table that was rewritten since": (
        lambda: checks.check_stale_statistics(upkeep(table(changed=9e5, autovacuum="off for the server"))),
        CONFIRMED,
        "900,000 of its rows have changed since",
    ),
    "a table that was loaded a moment ago": (
        lambda: checks.check_stale_statistics(upkeep(table(has_statistics=False, changed=2e5))),
        INCONCLUSIVE,
        "due to be analyzed",
    ),
    "a table whose counters a crash has lost, with its statistics": (
        lambda: checks.check_stale_statistics(upkeep(table(analyzed_seconds=None, changed=0.0, counters_lost=True))),
        INCONCLUSIVE,
        "were lost",
    ),
    "a table whose statistics may not be seen": (
        lambda: checks.check_stale_statistics(upkeep(table(has_statistics=None))),
        INCONCLUSIVE,
        "whether public.trades has statistics may not be seen; GRANT SELECT",
    ),
    "tables that are analyzed, and a small one that is not": (
        lambda: checks.check_stale_statistics(upkeep(table(), table("public.flags", rows=9.0, has_statistics=False))),
        RULED_OUT,
        "among 1 that have 10,000 rows or more",
    ),
    "an index whose build failed": (
        lambda: checks.check_invalid_index(indexes(None)),
        CONFIRMED,
        "Index public.trades_0_idx of trades is invalid, and nobody builds it",
    ),
    "an index whose build failed, and its table is vacuumed": (
        lambda: checks.check_invalid_index(indexes("PID 7, VACUUM trades", ready=False)),
        CONFIRMED,
        "nobody builds it",
    ),
    "an index that is being built": (
        lambda: checks.check_invalid_index(indexes("PID 7, create index concurrently on trades (symbol)")),
        RULED_OUT,
        "is under construction (PID 7",
    ),
    "an index that somebody may build": (
        lambda: checks.check_invalid_index(indexes("PID 7, <insufficient privilege>")),
        INCONCLUSIVE,
        "may be under construction",
    ),
    "no invalid index": (lambda: checks.check_invalid_index(indexes()), RULED_OUT, "no index of this database"),
    "an archive that takes nothing any more": (
        lambda: checks.check_wal_archive_failing(archiver(4000.0, 20.0, waiting=31)),
        CONFIRMED,
        "No WAL is archived: 12 tries failed, the last 20 s ago, and the last that succeeded 1 h 6 min ago",
    ),
    "an archive that never took anything": (
        lambda: checks.check_wal_archive_failing(archiver(None, 20.0, waiting=None)),
        CONFIRMED,
        "the last that succeeded never",
    ),
    "an archive without a command": (
        lambda: checks.check_wal_archive_failing(archiver(None, None, waiting=80, configured=False)),
        CONFIRMED,
        "an archive that nothing writes to",
    ),
    "an archive that was down for a while": (
        lambda: checks.check_wal_archive_failing(archiver(10.0, 300.0, waiting=2)),
        RULED_OUT,
        "archived 10 s ago, and no try failed since",
    ),
    "an archive that hangs": (
        lambda: checks.check_wal_archive_failing(archiver(9000.0, None, waiting=31)),
        INCONCLUSIVE,
        "does archive_command hang",
    ),
    "a server that archives nothing": (
        lambda: checks.check_wal_archive_failing(archiver(None, 20.0, mode="off")),
        RULED_OUT,
        "archive_mode is off",
    ),
    "a standby that archives nothing": (
        lambda: checks.check_wal_archive_failing(archiver(None, None, in_recovery=True)),
        RULED_OUT,
        "a standby archives nothing",
    ),
    "a new server that has written no whole file yet": (
        lambda: checks.check_wal_archive_failing(archiver(None, None)),
        RULED_OUT,
        "no WAL file waits",
    ),
    "a server of which that is not known": (
        lambda: checks.check_wal_archive_failing(archiver(None, None, waiting=None)),
        INCONCLUSIVE,
        "was nothing written yet?",
    ),
    "a process of PostgreSQL was killed": (
        lambda: checks.check_restarted(server_log(*CRASH), log_settings()),
        CONFIRMED,
        "PostgreSQL crashed and threw out all sessions at 04:11:00 UTC: LOG: client backend (PID 5893) was terminated by signal 9",
    ),
    "PostgreSQL was killed as a whole": (
        lambda: checks.check_restarted(server_log(CRASH[-1]), silent()),
        CONFIRMED,
        "PostgreSQL was killed, or its machine was, and recovered at 04:11:00 UTC",
    ),
    "an orderly restart": (
        lambda: checks.check_restarted(server_log(*RESTART), log_settings()),
        RULED_OUT,
        "neither a crash nor a recovery",
    ),
    "a crash twenty minutes ago": (
        lambda: checks.check_restarted(server_log(*CRASH, CHECKPOINT, ago=20), log_settings()),
        RULED_OUT,
        "neither a crash nor a recovery in that time, the last at 03:52:00 UTC",
    ),
    "a crash at a time that is not known": (
        lambda: checks.check_restarted(server_log(*CRASH, ago=None), log_settings()),
        INCONCLUSIVE,
        "put %m into log_line_prefix",
    ),
    "a log that goes elsewhere": (
        lambda: checks.check_restarted(server_log(*RESTART), log_settings(collector="on")),
        INCONCLUSIVE,
        "into files of its own or to syslog (log_destination stderr, logging_collector on)",
    ),
    "a log that says it goes elsewhere, of a server that does not answer": (
        lambda: checks.check_deadlocks(
            server_log(*RESTART, "LOG:  redirecting log output to logging collector process"), silent()
        ),
        INCONCLUSIVE,
        "into files of its own",
    ),
    "a log in another language": (
        lambda: checks.check_deadlocks(server_log("LOG:  Checkpoint beginnt: time"), log_settings()),
        INCONCLUSIVE,
        "no line of it in English",
    ),
    "a log without a line": (lambda: checks.check_corrupted(server_log(), log_settings()), INCONCLUSIVE, "no line"),
    "no log": (
        lambda: checks.check_restarted(silent("PostgreSQL's log"), log_settings()),
        INCONCLUSIVE,
        "no PostgreSQL's",
    ),
    "three deadlocks": (
        lambda: checks.check_deadlocks(server_log(*DEADLOCKS), log_settings()),
        CONFIRMED,
        "3 sessions were ended by a deadlock lately, the last at 04:11:00 UTC",
    ),
    "one deadlock": (
        lambda: checks.check_deadlocks(server_log(DEADLOCKS[0]), log_settings()),
        RULED_OUT,
        "1 deadlock lately, fewer than 3",
    ),
    "deadlocks that are quoted": (
        lambda: checks.check_deadlocks(
            server_log(CHECKPOINT, *["STATEMENT:  SELECT 'ERROR:  deadlock detected'"] * 9), log_settings()
        ),
        RULED_OUT,
        "no deadlock",
    ),
    "errors that are not logged": (
        lambda: checks.check_deadlocks(server_log(CHECKPOINT), log_settings(least="fatal")),
        INCONCLUSIVE,
        "log_min_messages is fatal",
    ),
    "a damaged page, half an hour ago": (
        lambda: checks.check_corrupted(server_log(DAMAGE, ago=29), log_settings()),
        CONFIRMED,
        "PostgreSQL cannot read a page of its data, last at 03:43:00 UTC: ERROR: invalid page in block 7",
    ),
    "a damaged page that is quoted": (
        lambda: checks.check_corrupted(server_log(CHECKPOINT, f"STATEMENT:  SELECT '{DAMAGE}'"), log_settings()),
        RULED_OUT,
        "no damaged page",
    ),
    "a commit that waits for a standby is no long query": (
        lambda: checks.check_long_running_query(sessions(running(1, 90, wait_event="SyncRep"))),
        RULED_OUT,
        "no application query",
    ),
    "a pool full of commits that wait for a standby": (
        lambda: checks.check_pool_saturated(
            pools(5), sessions(*(running(n, 9, wait_event="SyncRep") for n in range(5)))
        ),
        RULED_OUT,
        "5 sessions are stuck",
    ),
    "it answers": (lambda: checks.check_unreachable(sessions(), limits(5)), RULED_OUT, "answered"),
    "it hangs": (lambda: checks.check_unreachable(silent(), silent()), CONFIRMED, "did not answer in 5 s"),
    "it is starting up": (
        lambda: checks.check_unreachable(silent(code="57P03"), silent(code="57P03")),
        CONFIRMED,
        "did not answer",
    ),
    "a refusal for want of slots is an answer": (
        lambda: checks.check_unreachable(silent(code="53300"), silent(code="53300")),
        RULED_OUT,
        "53300",
    ),
    "a rejected password is no evidence that it is down": (
        lambda: checks.check_unreachable(silent(code="28P01"), silent(code="28P01")),
        INCONCLUSIVE,
        "no sessions",
    ),
    "an address that nobody knows is no evidence either": (
        lambda: checks.check_unreachable(silent(code=None), silent(code=None)),
        INCONCLUSIVE,
        "no sessions",
    ),
    "a role has no connections left of its own limit, and the server many": (
        lambda: checks.check_max_connections(
            limits(12, own=("role shop", 6, 5)), sessions(), server_log(REFUSED, ago=0.2)
        ),
        CONFIRMED,
        "5 of 6 connections that role shop may have are taken (83%); 1 refused lately, the last at",
    ),
    "a role's limit is as large as its pool, and nobody is refused": (
        lambda: checks.check_max_connections(limits(12, own=("role shop", 6, 6)), sessions(), server_log(STARTED)),
        INCONCLUSIVE,
        "is any refused? grep its log",
    ),
    "connections were refused minutes ago": (
        lambda: checks.check_max_connections(limits(12), sessions(), server_log(REFUSED, ago=5)),
        RULED_OUT,
        "12 of 37 usable slots are taken (32%); over is: 1 refused lately",
    ),
    "a role is far from its limit, the server is full": (
        lambda: checks.check_max_connections(limits(36, own=("role shop", 6, 6)), sessions()),
        CONFIRMED,
        "36 of 37 usable slots are taken",
    ),
    "half of the slots are taken": (
        lambda: checks.check_max_connections(limits(18), sessions()),
        RULED_OUT,
        "18 of 37",
    ),
    "nearly all slots are taken": (
        lambda: checks.check_max_connections(limits(36), sessions(*(session(n) for n in range(36)))),
        CONFIRMED,
        "36 of 37",
    ),
    "ordinary roles are refused, a superuser's slot tells who": (
        lambda: checks.check_max_connections(limits(37, through_reserve=True), sessions(session(1))),
        CONFIRMED,
        "53300",
    ),
    "everybody is refused": (
        lambda: checks.check_max_connections(silent(code="53300"), silent(code="53300")),
        CONFIRMED,
        "53300",
    ),
    "limits that cannot be read say nothing about slots": (
        lambda: checks.check_max_connections(silent("connection limits"), silent()),
        INCONCLUSIVE,
        "no connection limits",
    ),
    "nobody waits": (lambda: checks.check_lock_contention(sessions(running(1, 90)), locks()), RULED_OUT, "no session"),
    "one waits for an instant": (
        lambda: checks.check_lock_contention(sessions(running(1, 9), waiting(2, 0.3, 1)), locks()),
        RULED_OUT,
        "no session",
    ),
    "a chain of two behind one root": (
        lambda: checks.check_lock_contention(
            sessions(idle_in_transaction(1, 30), waiting(2, 20, 1), waiting(3, 10, 2)), locks()
        ),
        CONFIRMED,
        "2 sessions wait behind PID 1",
    ),
    "all wait for a prepared transaction, which no session holds": (
        lambda: checks.check_lock_contention(sessions(waiting(2, 20, 0), waiting(3, 10, 2)), locks()),
        RULED_OUT,
        "prepared transaction",
    ),
    "a root that has ended since": (
        lambda: checks.check_lock_contention(sessions(waiting(2, 20, 77)), locks()),
        CONFIRMED,
        "PID 77",
    ),
    "locks that cannot be read cost evidence, not the verdict": (
        lambda: checks.check_lock_contention(sessions(running(1, 9), waiting(2, 9, 1)), silent("locks")),
        CONFIRMED,
        "PID 1",
    ),
    "idle in transaction for a moment": (
        lambda: checks.check_idle_in_transaction(sessions(idle_in_transaction(1, 0.2))),
        RULED_OUT,
        "no application session",
    ),
    "idle in transaction for long": (
        lambda: checks.check_idle_in_transaction(sessions(idle_in_transaction(1, 40), idle_in_transaction(2, 20))),
        CONFIRMED,
        "2 sessions are idle in a transaction, the oldest for 40 s",
    ),
    "an idle root blocker is attributed to lock contention": (
        lambda: checks.check_idle_in_transaction(sessions(idle_in_transaction(1, 40), waiting(2, 20, 1))),
        RULED_OUT,
        "no application session",
    ),
    "a backup may take its time": (
        lambda: checks.check_idle_in_transaction(sessions(idle_in_transaction(1, 900, application="pg_dump"))),
        RULED_OUT,
        "no application session",
    ),
    "the application's role is a superuser, as the official image makes it": (
        lambda: checks.check_idle_in_transaction(sessions(*(superuser(idle_in_transaction, n) for n in range(1, 21)))),
        CONFIRMED,
        "20 sessions are idle in a transaction, the oldest for 900 s",
    ),
    "pools full of a superuser's stuck sessions are not too small": (
        lambda: checks.check_pool_saturated(
            pools(5, 5), sessions(*(superuser(idle_in_transaction, n) for n in range(1, 11)))
        ),
        RULED_OUT,
        "10 sessions are stuck",
    ),
    "a superuser who comes from a replica, by whatever role": (
        lambda: checks.check_idle_in_transaction(
            sessions(superuser(idle_in_transaction, 1, application_role=False, role="postgres"))
        ),
        CONFIRMED,
        "1 sessions are idle",
    ),
    "an administrator's session is perhaps the application's after all": (
        lambda: checks.check_idle_in_transaction(sessions(superuser(idle_in_transaction, 1, **ADMINISTRATOR))),
        INCONCLUSIVE,
        "1 sessions would fit but are an administrator's (psql as postgres)",
    ),
    "an administrator's long query is perhaps the application's after all": (
        lambda: checks.check_long_running_query(sessions(superuser(running, 1, **ADMINISTRATOR))),
        INCONCLUSIVE,
        "1 sessions would fit but are an administrator's (psql as postgres)",
    ),
    "pools are full, and stuck sessions are perhaps theirs": (
        lambda: checks.check_pool_saturated(
            pools(5), sessions(*(superuser(idle_in_transaction, n, **ADMINISTRATOR) for n in range(1, 6)))
        ),
        INCONCLUSIVE,
        "5 sessions would fit",
    ),
    "an administrator who does nothing": (
        lambda: checks.check_idle_in_transaction(sessions(session(1, superuser=True, **ADMINISTRATOR))),
        RULED_OUT,
        "no application session",
    ),
    "a superuser's backup and our own session stay out": (
        lambda: checks.check_idle_in_transaction(
            sessions(
                superuser(idle_in_transaction, 1, application="pg_dump"), superuser(idle_in_transaction, 2, own=True)
            )
        ),
        RULED_OUT,
        "no application session",
    ),
    "sessions that hide could be anything": (
        lambda: checks.check_idle_in_transaction(sessions(HIDDEN)),
        INCONCLUSIVE,
        "pg_read_all_stats",
    ),
    "a query runs for minutes": (
        lambda: checks.check_long_running_query(sessions(running(1, 200), running(2, 0.1))),
        CONFIRMED,
        "1 queries have run for over 60 s, the longest for 200 s",
    ),
    "waiting for a lock is not running": (
        lambda: checks.check_long_running_query(sessions(idle_in_transaction(1, 300), waiting(2, 200, 1))),
        RULED_OUT,
        "no application query",
    ),
    "replication runs for ever": (
        lambda: checks.check_long_running_query(sessions(running(1, 9e5, backend_type="walsender", replication=True))),
        RULED_OUT,
        "no application query",
    ),
    "nothing is prepared": (lambda: checks.check_orphaned_prepared_transaction(prepared()), RULED_OUT, "0 in all"),
    "prepared a moment ago": (
        lambda: checks.check_orphaned_prepared_transaction(prepared(("settle-1", 0.5, 0))),
        RULED_OUT,
        "1 in all",
    ),
    "prepared an hour ago": (
        lambda: checks.check_orphaned_prepared_transaction(prepared(("settle-1", 3600, 0))),
        CONFIRMED,
        "'settle-1' is 3600 s old",
    ),
    "prepared a moment ago, and somebody waits": (
        lambda: checks.check_orphaned_prepared_transaction(prepared(("settle-1", 3, 2))),
        CONFIRMED,
        "'settle-1'",
    ),
    "pools with room": (lambda: checks.check_pool_saturated(pools(2, 3, 1), sessions()), RULED_OUT, "uses 3 of 5"),
    "a full pool of short queries": (
        lambda: checks.check_pool_saturated(pools(5), sessions(*(running(n, 0.2) for n in range(5)))),
        CONFIRMED,
        "1 of 1 pools are full of short queries",
    ),
    "a full pool of leaked transactions is another cause": (
        lambda: checks.check_pool_saturated(pools(5), sessions(*(idle_in_transaction(n, 30) for n in range(5)))),
        RULED_OUT,
        "5 sessions are stuck",
    ),
    "a full pool whose sessions PostgreSQL sees idle": (
        lambda: checks.check_pool_saturated(
            pools(5), sessions(*(session(n, state_age_seconds=30.0) for n in range(5)))
        ),
        CONFIRMED,
        "connections leak: the pools count 5 in use, PostgreSQL sees 5 of them idle",
    ),
    "a full pool whose sessions the server has ended": (
        lambda: checks.check_pool_saturated(pools(5), of_replicas(*(running(n, 0.2) for n in (1, 2)))),
        CONFIRMED,
        "the pools count 5 in use, PostgreSQL sees no session for 3 of them, which it has ended and the pools keep",
    ),
    "full pools, and no session at all": (
        lambda: checks.check_pool_saturated(pools(5, 5), of_replicas(session(9, own=True))),
        CONFIRMED,
        "PostgreSQL sees no session for 10 of them",
    ),
    "few sessions at work behind a pooler are not lost": (
        lambda: checks.check_pool_saturated(pools(5, 5), sessions(running(1, 0.2), running(2, 0.2))),
        INCONCLUSIVE,
        "2 of 2 pools are full, but PostgreSQL sees 2 connections of the application, 2 of them at work",
    ),
    "a full pool whose sessions have been idle for a while": (
        lambda: checks.check_pool_saturated(pools(5), sessions(*(session(n, state_age_seconds=5.0) for n in range(5)))),
        INCONCLUSIVE,
        "PostgreSQL sees 5 connections of the application, 0 of them at work",
    ),
    "a full pool, and sessions that hide": (
        lambda: checks.check_pool_saturated(pools(5), sessions(*(HIDDEN | {"pid": n} for n in range(5)))),
        INCONCLUSIVE,
        "5 sessions hide from the role that asked; grant it pg_read_all_stats",
    ),
    "a pool that does not tell its use": (
        lambda: checks.check_pool_saturated(pools(float("nan")), sessions()),
        INCONCLUSIVE,
        "backend-1 does not tell how many",
    ),
    "dry pools that nothing explains": (
        lambda: unexplained(pools(5, 2), sessions(*(session(n, state_age_seconds=5.0) for n in range(5)))),
        CONFIRMED,
        "(1 of 2 pools are full or waited for: backend-1), and nothing explains it; PostgreSQL sees 5 connections",
    ),
    "requests wait for a pool that is not full": (
        lambda: unexplained(pools(0, waiting_requests=3), sessions()),
        CONFIRMED,
        "1 of 1 pools are full or waited for",
    ),
    "dry pools, and sessions that may not be read": (
        lambda: unexplained(pools(5), silent(code="28P01")),
        CONFIRMED,
        "the sessions are not known: postgres did not answer",
    ),
    "the pool of another server, a standby for reads, has nothing to give": (
        lambda: unexplained(
            silent("pool gauges"), sessions(session(1)), pool_log(ago=5, refused="standby: Connection refused")
        ),
        CONFIRMED,
        "while the one that was asked here answers: standby: Connection refused",
    ),
    "no gauges, and a log that speaks of the pool": (
        lambda: unexplained(silent("pool gauges"), sessions(), pool_log(ago=2)),
        CONFIRMED,
        "7 lines of the log speak of the pool, the last at 04:11:58 UTC",
    ),
    "no gauges, and a log that spoke of the pool an hour ago": (
        lambda: unexplained(silent("pool gauges"), sessions(), pool_log(ago=3600)),
        INCONCLUSIVE,
        "no pool gauges",
    ),
    "no gauges, pool errors, and sessions that are stuck": (
        lambda: unexplained(silent("pool gauges"), sessions(idle_in_transaction(1, 60)), pool_log(ago=2)),
        RULED_OUT,
        "1 sessions are stuck",
    ),
    "dry pools full of short queries": (
        lambda: unexplained(pools(5), sessions(*(running(n, 0.2) for n in range(5)))),
        RULED_OUT,
        "full of short queries",
    ),
    "dry pools of stuck sessions": (
        lambda: unexplained(pools(5), sessions(*(idle_in_transaction(n, 60) for n in range(5)))),
        RULED_OUT,
        "5 sessions are stuck",
    ),
    "dry pools, and one stuck session among many that are not": (
        lambda: unexplained(
            pools(5), sessions(idle_in_transaction(9, 60), *(session(n, state_age_seconds=5.0) for n in range(4)))
        ),
        CONFIRMED,
        "nothing explains it",
    ),
    "dry pools, and no slots": (
        lambda: unexplained(pools(5), sessions(), slots=limits(37)),
        RULED_OUT,
        "PostgreSQL has no slots left",
    ),
    "dry pools, and PostgreSQL gone": (
        lambda: unexplained(pools(5), silent(), slots=silent()),
        RULED_OUT,
        "PostgreSQL cannot be reached",
    ),
    "pools with room leave nothing unexplained": (
        lambda: unexplained(pools(2, 3), sessions()),
        RULED_OUT,
        "no pool is full",
    ),
    "a pool that does not tell its size": (
        lambda: checks.check_pool_saturated(pools(5, maximum=None), sessions()),
        INCONCLUSIVE,
        "set backend.pool_size",
    ),
    "full pools, and PostgreSQL silent": (
        lambda: checks.check_pool_saturated(pools(5), silent()),
        INCONCLUSIVE,
        "no sessions",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_reading_to_verdict(example: str) -> None:
    """Each example gets its verdict, with a reason that names the number."""
    ask, kind, words = EXAMPLES[example]
    verdict = ask()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason


class TestLeakingReplicas:
    """Whom restart-backend restarts."""

    def test_a_replica_whose_sessions_were_ended(self) -> None:
        """Its pool counts them still; the other replica's sessions are there."""
        rows = [*(running(n, 0.1) for n in range(5)), session(9)]
        seen = sessions(*rows).require().assign(replica=["backend-2"] * 5 + ["backend-1"])
        assert leaking_replicas(pools(5, 5).require(), seen, idle_after_seconds=10) == ["backend-1"]

    def test_a_pool_that_is_busy(self) -> None:
        seen = of_replicas(*(running(n, 0.1) for n in range(5))).require()
        assert leaking_replicas(pools(5).require(), seen, idle_after_seconds=10) == []

    def test_few_sessions_of_a_pooler_at_work(self) -> None:
        seen = sessions(running(1, 0.1)).require().assign(replica="")
        assert leaking_replicas(pools(5, 5).require(), seen, idle_after_seconds=10) == []


class TestFinding:
    def test_what_is_known_of_dry_pools_is_told(self) -> None:
        """Which replicas, how many, in which states, for how long, and since when."""
        seen = sessions(*(session(n, state_age_seconds=5.0) for n in range(5)), HIDDEN)
        values = {one.name: one.value for one in unexplained(pools(5, 2), seen, pool_log(ago=2)).evidence}
        assert values["pool of backend-1"].startswith("5 of 5 in use")
        assert values["sessions idle"] == "5, the longest for 5 s"
        assert values["sessions hidden"] == "1, the longest for 0 s"
        assert values["first seen"] == "04:10:58 UTC"

    def test_a_root_blocker_that_hides_what_it_does_says_so(self) -> None:
        """A superuser's psql, seen by a role that may not look: its state is no number that is none."""
        hidden = session(1, application="psql", state=None, xact_age_seconds=None, query="<insufficient privilege>")
        found = checks.check_lock_contention(sessions(hidden, waiting(2, 30, 1)), locks())
        assert "psql, what it does hides from the role that asked; grant it pg_read_all_stats" in str(found.evidence)

    def test_root_blocker_is_named_with_what_it_holds(self) -> None:
        """The evidence tells who the root is, what it holds, and whom it holds up."""
        verdict = checks.check_lock_contention(
            sessions(idle_in_transaction(1, 30, application="migration", query="UPDATE trades"), waiting(2, 9, 1)),
            locks((1, "relation", "trades", "RowExclusiveLock", 0)),
        )
        values = {evidence.name: evidence.value for evidence in verdict.evidence}
        assert "migration" in values["root blocker PID 1"]
        assert values["holds"] == "trades (RowExclusiveLock)"
        assert values["held up"] == "PID 2"

    def test_severity_follows_what_users_feel(self) -> None:
        """The same leak is P1 when a pool is full, P2 while every pool has room, P1 when nobody can tell."""
        leak = sessions(idle_in_transaction(1, 40))
        graded = [
            checks.check_idle_in_transaction(leak, reading).severity for reading in (pools(5), pools(1), silent())
        ]
        assert graded == [Severity.P1, Severity.P2, Severity.P1]

    def test_every_finding_says_what_to_do(self) -> None:
        """Each confirmed example carries a title and at least one next step."""
        confirmed = [verdict for ask, kind, _ in EXAMPLES.values() if kind is CONFIRMED and (verdict := ask())]
        assert all(verdict.title and verdict.next_steps and verdict.severity for verdict in confirmed)

    def test_holders_are_named_largest_first(self) -> None:
        """Who holds the connections stands in the evidence of a finding about slots."""
        held = sessions(*(session(n, application="reporting") for n in range(30)), session(99, application="web"))
        verdict = checks.check_max_connections(limits(36), held)
        assert verdict.evidence[1].name == "held by reporting"
        assert verdict.evidence[1].value.startswith("30 idle from 10.0.0.1")


def test_a_queue_of_thousands_behind_one_lock_is_one_tree() -> None:
    """Each session waits for the one before it; the tree is read in one walk over them."""
    queue = sessions(running(1, 90), *(waiting(pid, 50, pid - 1) for pid in range(2, 5001)))
    tree = blocking_tree(queue.require())
    assert root_pids(queue.require()) == [1]
    assert tree["depth"].tolist() == list(range(5000))
    assert set(tree["root"]) == {1}
