"""The backend's connection pool: bugs in its replicas that hold connections, and more users than it can serve."""

from __future__ import annotations

from typing import ClassVar

from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import PastFault, ReplicaBug, TroubleClient
from flowrex_sandbox.faults.observe import all_pools, count, is_quiet
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flowrex-backend-%' AND "
_REPORT = "state = 'active' AND query LIKE '%pg_sleep(0.2)%'"
_SUSTAINED_SCRAPES = 3


class _PoolBug(ReplicaBug):
    """A bug that shows as sessions of the backend."""

    shown_by: ClassVar[str]
    """Which sessions, and for how long: a condition and an interval."""
    count: int = 5

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        old = f"{_SESSIONS}{self.shown_by} > interval '{age_seconds} seconds'"
        return count(sandbox, old) >= self.count * sandbox.state.replicas


class OpenTransactions(_PoolBug):
    """Handlers open transactions and never end them."""

    threshold = "idle_after_seconds"
    bugs = ("open-transaction",)
    shown_by = "state = 'idle in transaction' AND now() - state_change"


class HungTransactions(OpenTransactions):
    """Handlers hang inside their transactions, and keep the pool's slots when their sessions are ended."""

    bugs = ("hung-transaction",)


class LeakedConnections(_PoolBug):
    """Connections are taken and never given back, their sessions plainly idle."""

    threshold = "idle_after_seconds"
    bugs = ("leaked-connection",)
    shown_by = "state = 'idle' AND now() - state_change"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        pools = all_pools(sandbox)
        felt = bool(pools) and all(pool.in_use >= self.count and pool.waiting for pool in pools)
        return felt and super().in_place(sandbox, age_seconds)


class SlowReports(_PoolBug):
    """Reports without a limit hold the pool."""

    threshold = "long_query_seconds"
    bugs = ("slow-report",)
    shown_by = f"{_REPORT} AND now() - query_start"

    def stop(self, sandbox: Sandbox) -> None:
        super().stop(sandbox)
        sandbox.query(_SESSIONS.replace("count(*)", "pg_cancel_backend(pid)") + _REPORT)


class Burst(TroubleClient):
    """More users than the pools have connections for; nothing is stuck."""

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "burst", urls=sandbox.backend_urls())

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        scrapes = [all_pools(sandbox) for _ in range(_SUSTAINED_SCRAPES)]
        return all(pools and all(pool.waiting > 0 for pool in pools) for pools in scrapes)


class PastErrors(PastFault):
    """Pool errors in the log are over: transactions leaked, and were ended again."""

    errors: int = 2
    """How many per replica."""

    def start(self, sandbox: Sandbox) -> None:
        """Leak until every replica has had its errors, then end it."""
        before = [pool.errors for pool in all_pools(sandbox)]
        OpenTransactions().start(sandbox)
        await_condition(
            lambda: self._grown(before, sandbox),
            "pool errors in every replica",
            timeout_seconds=30,
            details=lambda: "is the traffic running? look with 'flowrex-ops sandbox status'",
        )
        OpenTransactions().stop(sandbox)

    def _grown(self, before: list[int], sandbox: Sandbox) -> bool:
        now = [pool.errors for pool in all_pools(sandbox)]
        return bool(now) and all(new >= old + self.errors for old, new in zip(before, now, strict=True))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return is_quiet(sandbox)


FAST = {
    "idle_after_seconds": 2,
    "long_query_seconds": 3,
    "blocked_after_seconds": 1,
    "orphan_after_seconds": 2,
    "log_minutes": 0.05,
}
"""Thresholds with which nobody has to wait a minute for a query to count as long, and what PostgreSQL logged in an earlier drill is past."""

drill = drills_of("database_connections", **FAST)
DRILLS = (
    drill("healthy", title="nothing is wrong"),
    drill(
        "idle-in-transaction",
        OpenTransactions(),
        expected="db.idle-in-transaction",
        approve="terminate-idle-in-transaction",
        alerts="DatabasePoolExhausted",
    ),
    drill(
        "hung-transactions",
        HungTransactions(),
        expected="db.idle-in-transaction",
        approve="terminate-idle-in-transaction restart-backend",
        leaves="terminate-idle-in-transaction",
    ),
    drill(
        "long-running-query",
        SlowReports(),
        expected="db.long-running-query",
        approve="cancel-long-queries",
        alerts="DatabasePoolExhausted",
    ),
    drill("pool-saturated", Burst(), expected="db.pool-saturated"),
    drill(
        "pool-leak",
        LeakedConnections(),
        expected="db.pool-saturated",
        approve="restart-backend",
        alerts="DatabasePoolExhausted",
    ),
    drill(
        "leak-and-slow-report",
        OpenTransactions(3),
        SlowReports(2),
        expected="db.idle-in-transaction db.long-running-query",
        approve="terminate-idle-in-transaction cancel-long-queries",
        alerts="DatabasePoolExhausted",
    ),
    drill("old-error-burst", PastErrors()),
)
