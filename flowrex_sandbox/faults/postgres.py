"""PostgreSQL: what outside clients do to it, gone, or there and silent."""

from __future__ import annotations

import psycopg
from psycopg import errors, sql

from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import STOP_SECONDS, Fault, Halted, PastFault, Stopped, TroubleClient
from flowrex_sandbox.faults.observe import count, last_failure_age
from flowrex_sandbox.faults.pool import FAST
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


class BackupRunning(TroubleClient):
    """A backup takes its time."""

    threshold = "long_query_seconds"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "backup", dsn=sandbox.admin_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        backup = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND state = 'active'"
        return count(sandbox, f"{backup} AND now() - query_start > interval '{age_seconds} seconds'") == 1


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
)
