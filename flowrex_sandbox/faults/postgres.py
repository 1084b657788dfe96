"""PostgreSQL: what outside clients do to it, gone, or there and silent."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import errors, sql

from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import STOP_SECONDS, Fault, Halted, PastFault, Stopped, TroubleClient
from flowrex_sandbox.faults.observe import count, is_quiet, last_failure_age
from flowrex_sandbox.faults.pool import FAST
from flowrex_sandbox.faults.replicas import run_inside
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_WAITING = """
SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
WHERE a.application_name LIKE '{application}' AND now() - l.waitstart > interval '{seconds} seconds'
"""
_ORPHANS = "SELECT count(*) FROM pg_prepared_xacts WHERE now() - prepared > interval '{seconds} seconds'"
_END_BACKENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'flowrex-backend-%'"
_JUST_NOW_SECONDS = 3.0
_SILENCE_SECONDS = 2
"""How long a connection must go unanswered; libpq knows no shorter limit."""


def _backends_waiting(sandbox: Sandbox, seconds: float) -> int:
    return count(sandbox, _WAITING.format(application="flowrex-backend-%", seconds=seconds))


class LockChain(TroubleClient):
    """A migration holds a row, and a chain of sessions waits behind it."""

    threshold = "blocked_after_seconds"
    victims: int = 4

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "lock", dsn=sandbox.app_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        settlement = count(sandbox, _WAITING.format(application="settlement", seconds=age_seconds))
        return settlement >= 1 and _backends_waiting(sandbox, age_seconds) >= self.victims


class PastLock(PastFault):
    """Everybody waited six seconds for a lock that is gone."""

    waiting_seconds: float = 5.5

    def start(self, sandbox: Sandbox) -> None:
        with psycopg.connect(sandbox.app_dsn, application_name="migration") as session:
            session.execute("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE")
            await_condition(
                lambda: _backends_waiting(sandbox, self.waiting_seconds) >= 1,
                "sessions waited for the lock",
                timeout_seconds=30,
                poll_seconds=0.1,
                details=lambda: "is the traffic running? look with 'flowrex-ops sandbox status'",
            )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _backends_waiting(sandbox, 0) == 0


class NoSlotsLeft(TroubleClient):
    """An outside client takes every connection slot."""

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "connections", dsn=sandbox.reporting_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        try:
            psycopg.connect(sandbox.app_dsn, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            # libpq gives a refused connection no SQLSTATE, only the text
            return isinstance(error, errors.TooManyConnections) or "connection slots" in str(error)
        return False


class OrphanedPreparedTransaction(Fault):
    """A prepared transaction without an owner keeps a row locked."""

    threshold = "orphan_after_seconds"

    def start(self, sandbox: Sandbox) -> None:
        with psycopg.connect(sandbox.app_dsn, autocommit=True, application_name="settlement") as session:
            session.execute("BEGIN")
            session.execute("UPDATE accounts SET balance = balance WHERE id = 3")
            session.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal("flowrex-settlement-0001")))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        orphans = count(sandbox, _ORPHANS.format(seconds=age_seconds))
        return orphans >= 1 and _backends_waiting(sandbox, 0) >= 1

    def stop(self, sandbox: Sandbox) -> None:
        for (gid,) in sandbox.query("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'flowrex-settlement-%'"):
            sandbox.execute(f"ROLLBACK PREPARED '{gid}'")


class DatabaseReadOnly(Fault):
    """Somebody has set the database to read-only."""

    rank = 2

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute("ALTER DATABASE flowrex SET default_transaction_read_only = on")
        sandbox.query(_END_BACKENDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return last_failure_age(sandbox, "database") < _JUST_NOW_SECONDS

    def stop(self, sandbox: Sandbox) -> None:
        """The sessions that were opened meanwhile would keep it."""
        if count(sandbox, "SELECT count(*) FROM pg_db_role_setting WHERE setrole = 0"):
            sandbox.execute(
                "SET transaction_read_only = off; ALTER DATABASE flowrex RESET default_transaction_read_only"
            )
            sandbox.query(_END_BACKENDS)


class ReportingReadOnly(Fault):
    """Role reporting may only read."""

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute("ALTER ROLE reporting SET default_transaction_read_only = on")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, "SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = 0") >= 1

    def stop(self, sandbox: Sandbox) -> None:
        sandbox.execute("ALTER ROLE reporting RESET default_transaction_read_only")


class SequenceNearlyUsedUp(Fault):
    """An audit table's integer id nears its end."""

    columns: str = "id integer GENERATED ALWAYS AS IDENTITY (START WITH 2147480000)"

    def start(self, sandbox: Sandbox) -> None:
        with psycopg.connect(sandbox.app_dsn, autocommit=True) as session:
            session.execute(f"CREATE TABLE audit_log ({self.columns}, what text)".encode())
            session.execute("INSERT INTO audit_log (what) SELECT 'login' FROM generate_series(1, 10)")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, "SELECT count(*) FROM pg_class WHERE relname = 'audit_log'") == 1

    def stop(self, sandbox: Sandbox) -> None:
        sandbox.execute("DROP TABLE IF EXISTS audit_log")


class TransactionIdsUsed(Fault):
    """A job without a batch uses up two hundred thousand transaction ids."""

    number: int = 200_000

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute(
            f"DO $$ BEGIN FOR i IN 1..{self.number} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, "SELECT max(age(datfrozenxid)) FROM pg_database") >= self.number


class _OwnTable(Fault):
    """A table of quotes, badly looked after."""

    made_by: str = ""
    """Its columns and options, after ``CREATE TABLE quotes``."""
    then: tuple[str, ...] = ()
    """What is done with it; one that is refused leaves what it leaves."""
    shown_by: ClassVar[str]

    def start(self, sandbox: Sandbox) -> None:
        # A session each, which tells what it has changed when it ends: ANALYZE would else come before that.
        for statement in (f"CREATE TABLE quotes {self.made_by}", *self.then):
            with psycopg.connect(sandbox.app_dsn, autocommit=True) as session, suppress(errors.UniqueViolation):
                session.execute(statement.encode())

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, self.shown_by) == 1

    def stop(self, sandbox: Sandbox) -> None:
        sandbox.execute("DROP TABLE IF EXISTS quotes")


class NeglectedTable(_OwnTable):
    """Autovacuum is off for a table whose rows are written over and over."""

    made_by: str = "(id integer, bid integer) WITH (autovacuum_enabled = off)"
    then: tuple[str, ...] = (
        "INSERT INTO quotes SELECT n, n FROM generate_series(1, 20000) n",
        # in one transaction, or each would tidy up after the one before
        "BEGIN; " + "UPDATE quotes SET bid = bid + 1; " * 4 + "COMMIT",
        "ANALYZE quotes",
    )
    shown_by = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'quotes' AND n_dead_tup > 60000"


class UnanalyzedTable(_OwnTable):
    """A table was loaded that autovacuum is off for, and nobody has analyzed it."""

    made_by: str = "WITH (autovacuum_enabled = off) AS SELECT n AS id FROM generate_series(1, 30000) n"
    shown_by = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'quotes' AND n_live_tup = 30000"


class InvalidIndex(_OwnTable):
    """A unique index was to be built without a lock, and there were duplicates."""

    made_by: str = "AS SELECT 1 AS id FROM generate_series(1, 2)"
    then: tuple[str, ...] = ("CREATE UNIQUE INDEX CONCURRENTLY ON quotes (id)",)
    shown_by = "SELECT count(*) FROM pg_index WHERE indrelid = 'quotes'::regclass AND NOT indisvalid"


class ArchiveFails(Fault):
    """PostgreSQL's archive command fails."""

    command: str = "/bin/false"
    """What it is set to after that."""

    def start(self, sandbox: Sandbox) -> None:
        self._set(sandbox, "/bin/false")
        sandbox.query("SELECT pg_logical_emit_message(false, 'drill', 'for one more file')")
        sandbox.query("SELECT pg_switch_wal()")
        await_condition(
            lambda: count(sandbox, "SELECT failed_count FROM pg_stat_archiver") > 0,
            "archiving failed",
            timeout_seconds=30,
        )
        self._set(sandbox, self.command)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        archived = count(sandbox, "SELECT count(*) FROM pg_stat_archiver WHERE last_archived_time > last_failed_time")
        return bool(archived) == (self.command == _ARCHIVED)

    def stop(self, sandbox: Sandbox) -> None:
        if count(sandbox, f"SELECT (current_setting('archive_command') <> '{_ARCHIVED}')::int"):
            self._set(sandbox, _ARCHIVED)

    def _set(self, sandbox: Sandbox, command: str) -> None:
        sandbox.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        sandbox.query("SELECT pg_reload_conf()")


_ARCHIVED = "/bin/true"
"""The sandbox's own archive command."""


class SessionsEnded(Fault):
    """An administrator has ended every session of the backend."""

    def start(self, sandbox: Sandbox) -> None:
        sandbox.query(_END_BACKENDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return is_quiet(sandbox)


class BackendCrashed(SessionsEnded):
    """PostgreSQL's process of one session is killed, and it throws out all the others."""

    def start(self, sandbox: Sandbox) -> None:
        with closing(psycopg.connect(sandbox.app_dsn)) as session:
            pid = session.info.backend_pid
            if sandbox.state.stack == "compose":
                run_inside(sandbox.replicas("postgres")[0], "sh", "-c", f"kill -KILL {pid}")
            else:
                os.kill(pid, signal.SIGKILL)
            await_condition(lambda: not _lives(session), "the session ended", timeout_seconds=STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return answers(sandbox) and super().in_place(sandbox, age_seconds)


def _lives(session: psycopg.Connection[Any]) -> bool:
    with suppress(psycopg.OperationalError):
        session.execute("SELECT 1")
    return not session.closed


class Deadlocks(Fault):
    """Two sessions wait for one another, again and again."""

    times: int = 3

    def start(self, sandbox: Sandbox) -> None:
        for _ in range(self.times):
            with (
                closing(psycopg.connect(sandbox.app_dsn)) as first,
                closing(psycopg.connect(sandbox.app_dsn)) as second,
            ):
                for session, key in ((first, 1), (second, 2)):
                    session.execute(_LOCK, [key])
                with ThreadPoolExecutor() as both:
                    asked = [both.submit(session.execute, _LOCK, [key]) for session, key in ((first, 2), (second, 1))]
                    [one.exception() for one in asked]

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, "SELECT sum(deadlocks) FROM pg_stat_database") >= self.times


_LOCK = "SELECT pg_advisory_xact_lock(%s)"


class LogWordsQuoted(Fault):
    """Statements fail that quote what PostgreSQL logs of deadlocks, crashes and damage."""

    def start(self, sandbox: Sandbox) -> None:
        for words in ("ERROR:  deadlock detected", "LOG:  terminating any other active server processes", _DAMAGED):
            for _ in range(5):
                with suppress(errors.DivisionByZero):
                    sandbox.execute(f"SELECT 1/0\n/*\n{words}\n*/")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # it is there at once
        return True


_DAMAGED = "ERROR:  invalid page in block "


class DamagedPage(_OwnTable):
    """A page of a table is garbage."""

    made_by: str = "AS SELECT n AS id FROM generate_series(1, 100) n"

    def start(self, sandbox: Sandbox) -> None:
        super().start(sandbox)
        sandbox.execute("CHECKPOINT")
        ((file,),) = sandbox.query("SELECT pg_relation_filepath('quotes')")
        with Path(sandbox.state.data_dir, file).open("ab") as heap:
            heap.write(b"garbage." * 1024)
        with suppress(errors.DataCorrupted):
            sandbox.query("SELECT count(*) FROM quotes")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _DAMAGED in _log(sandbox).read_text(encoding="utf-8", errors="replace")

    def stop(self, sandbox: Sandbox) -> None:
        """Damage counts for as long as the log tells of it, so that goes too."""
        if sandbox.state.stack == "supervisor" and self.in_place(sandbox, 0):
            super().stop(sandbox)
            os.truncate(_log(sandbox), 0)
            sandbox.query("SELECT pg_reload_conf()")  # which is logged: a log of no line tells nothing


def _log(sandbox: Sandbox) -> Path:
    return sandbox.home / "log" / "postgres.log"


class BackupRunning(TroubleClient):
    """A backup takes its time."""

    threshold = "long_query_seconds"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "backup", dsn=sandbox.admin_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return count(sandbox, f"{_COPYING} AND now() - query_start > interval '{age_seconds} seconds'") == 1


class BackupsOverlap(BackupRunning):
    """A backup is started while the one before it goes on."""

    def start(self, sandbox: Sandbox) -> None:
        super().start(sandbox)
        time.sleep(_LATER_SECONDS)
        super().start(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _COPYING) > 1


class BackupByWorkers(BackupsOverlap):
    """A backup is made by several workers."""

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "backup-jobs", dsn=sandbox.admin_dsn)


_LATER_SECONDS = 6
_COPYING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND state = 'active'"


class PostgresStopped(Stopped):
    """PostgreSQL is stopped."""

    service = "postgres"
    rank = 1

    def await_answer(self, sandbox: Sandbox) -> None:
        await_condition(lambda: answers(sandbox), "PostgreSQL answered", timeout_seconds=STOP_SECONDS)


class PostgresHanging(Halted):
    """PostgreSQL accepts connections and never answers."""

    service = "postgres"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not answers(sandbox)


def answers(sandbox: Sandbox) -> bool:
    """Whether PostgreSQL answers a new connection within two seconds."""
    try:
        psycopg.connect(sandbox.admin_dsn, connect_timeout=_SILENCE_SECONDS).close()
    except psycopg.OperationalError:
        return False
    return True


drill = drills_of("database_connections", **FAST)
of_log = drills_of("database_connections", **{**FAST, "log_minutes": 0.5})
"""What PostgreSQL logged is recent for a while: each comes after those that it must not see."""
DRILLS = (
    drill(
        "lock-chain",
        LockChain(),
        expected="db.lock-contention",
        approve="terminate-root-blocker",
        alerts="DatabasePoolErrors",
    ),
    drill("max-connections", NoSlotsLeft(), expected="db.max-connections"),
    drill("orphaned-prepared-transaction", OrphanedPreparedTransaction(), expected="db.orphaned-prepared-transaction"),
    drill("postgres-stopped", PostgresStopped(), expected="db.unreachable"),
    drill("postgres-hanging", PostgresHanging(), expected="db.unreachable"),
    drill(  # nothing is approved: whether users are well once one of two is gone is a matter of moments
        "prepared-and-lock",
        OrphanedPreparedTransaction(),
        LockChain(),
        expected="db.orphaned-prepared-transaction db.lock-contention",
    ),
    drill("backup-running", BackupRunning()),
    drill("backups-overlap", BackupsOverlap(), expected="job.overlapping"),
    drill("backup-by-workers", BackupByWorkers()),
    drill("database-read-only", DatabaseReadOnly(), expected="db.read-only"),
    drill("reporting-read-only", ReportingReadOnly()),
    drill("sequence-nearly-used-up", SequenceNearlyUsedUp(), expected="db.sequence-exhausted"),
    drill(
        "sequences-far-along",
        SequenceNearlyUsedUp(
            "id bigint GENERATED ALWAYS AS IDENTITY (START WITH 3000000000),"
            " turn smallint GENERATED ALWAYS AS IDENTITY (START WITH 32000 CYCLE)"
        ),
        title="red herring: a bigint id is past three billion, and a sequence that begins again is near its end",
    ),
    drill(
        "transaction-ids-used",
        TransactionIdsUsed(),
        expected="db.xid-wraparound",
        parameters={**FAST, "xid_share": 190_000 / 2**31},
    ),
    drill(
        "many-transactions",
        TransactionIdsUsed(20_000),
        title="red herring: twenty thousand transactions in a moment, of two billion",
    ),
    drill("autovacuum-off", NeglectedTable(), expected="db.autovacuum-behind"),
    drill(
        "many-dead-rows",
        NeglectedTable("(id integer, bid integer) WITH (autovacuum_vacuum_threshold = 100000)"),
        title="red herring: eighty thousand dead rows, in a table that is to be vacuumed from a hundred thousand on",
    ),
    drill("table-never-analyzed", UnanalyzedTable(), expected="db.stale-statistics"),
    drill(
        "table-analyzed-by-hand",
        UnanalyzedTable(then=("ANALYZE quotes",)),
        title="red herring: autovacuum is off for a table, and who loads it has it analyzed",
    ),
    drill("index-build-failed", InvalidIndex(), expected="db.invalid-index"),
    drill(
        "index-of-partitions",
        InvalidIndex(
            "(id integer) PARTITION BY RANGE (id)",
            (
                "CREATE TABLE quotes_1 PARTITION OF quotes FOR VALUES FROM (0) TO (9)",
                "CREATE INDEX ON ONLY quotes (id)",
            ),
        ),
        title="red herring: an index of a partitioned table, invalid until its partitions have theirs",
    ),
    drill("wal-archive-failing", ArchiveFails(), expected="db.wal-archive-failing"),
    drill(
        "wal-archive-failed-once",
        ArchiveFails(_ARCHIVED),
        title="red herring: archiving failed, and has succeeded since",
    ),
    of_log("sessions-ended", SessionsEnded()),
    of_log("log-words-quoted", LogWordsQuoted()),
    of_log("deadlock-once", Deadlocks(1), title="red herring: one deadlock, as happens now and then"),
    of_log("deadlocks", Deadlocks(), expected="db.deadlocks"),
    of_log("backend-crashed", BackendCrashed(), expected="db.restarted"),
    of_log("page-damaged", DamagedPage(), expected="db.corrupted", stacks=("supervisor",)),
)
