"""Faults at the database that come from outside the backend."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.clients import end_clients, start_client
from flowrex_sandbox.faults.observe import count
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_WAITING = """
SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
WHERE a.application_name LIKE '{application}' AND now() - l.waitstart > interval '{seconds} seconds'
"""

_ORPHANS = "SELECT count(*) FROM pg_prepared_xacts WHERE now() - prepared > interval '{seconds} seconds'"

GID = "flowrex-settlement-0001"


@dataclass(frozen=True, slots=True)
class LockChain(Fault):
    """A migration holds a row and idles; a settlement waits for it and holds another; the backend waits for both."""

    name = "lock-chain"
    threshold = "blocked_after_seconds"
    victims: int = 4

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "lock", dsn=sandbox.app_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        settlement = _WAITING.format(application="settlement", seconds=age_seconds)
        backends = _WAITING.format(application="flowrex-backend-%", seconds=age_seconds)
        return count(sandbox, settlement) >= 1 and count(sandbox, backends) >= self.victims

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "lock")


@dataclass(frozen=True, slots=True)
class PastLock(Fault):
    """A session held a table until whoever came first had waited for more than five seconds, and let go."""

    name = "past-lock"
    waiting_seconds: float = 5.5

    def start(self, sandbox: Sandbox) -> None:
        waiting = _WAITING.format(application="flowrex-backend-%", seconds=self.waiting_seconds)
        with psycopg.connect(sandbox.app_dsn, application_name="migration") as session:
            session.execute("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE")
            await_condition(
                lambda: count(sandbox, waiting) >= 1,
                "sessions waited for the lock",
                timeout_seconds=30,
                poll_seconds=0.1,
                details=lambda: "is the traffic running? look with 'flowrex-ops sandbox status'",
            )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _WAITING.format(application="flowrex-backend-%", seconds=0)) == 0

    def stop(self, sandbox: Sandbox) -> None:
        """Nothing: it is over."""


@dataclass(frozen=True, slots=True)
class NoSlotsLeft(Fault):
    """An outside client, ``reporting``, holds every slot that an ordinary role can get."""

    name = "no-slots-left"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "connections", dsn=sandbox.reporting_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        try:
            psycopg.connect(sandbox.app_dsn, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            # libpq gives a refused connection no SQLSTATE, only the text
            return isinstance(error, errors.TooManyConnections) or "connection slots" in str(error)
        return False

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "connections")


@dataclass(frozen=True, slots=True)
class OrphanedPreparedTransaction(Fault):
    """A settlement prepared its transaction and was never heard of again; the row it updated stays locked."""

    name = "orphaned-prepared-transaction"
    threshold = "orphan_after_seconds"

    def start(self, sandbox: Sandbox) -> None:
        with psycopg.connect(sandbox.app_dsn, autocommit=True, application_name="settlement") as session:
            session.execute("BEGIN")
            session.execute("UPDATE accounts SET balance = balance WHERE id = 3")
            session.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(GID)))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        orphans = _ORPHANS.format(seconds=age_seconds)
        waiting = _WAITING.format(application="flowrex-backend-%", seconds=0)
        return count(sandbox, orphans) >= 1 and count(sandbox, waiting) >= 1

    def stop(self, sandbox: Sandbox) -> None:
        for (gid,) in sandbox.query("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'flowrex-settlement-%'"):
            sandbox.execute(f"ROLLBACK PREPARED '{gid}'")


@dataclass(frozen=True, slots=True)
class BackupRunning(Fault):
    """A backup at work: long, and no fault at all."""

    name = "backup-running"
    threshold = "long_query_seconds"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "backup", dsn=sandbox.admin_dsn)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        backup = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND state = 'active'"
        return count(sandbox, f"{backup} AND now() - query_start > interval '{age_seconds} seconds'") == 1

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "backup")
