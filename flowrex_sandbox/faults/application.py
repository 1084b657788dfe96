"""Faults inside the backend: bugs switched on in its replicas, and more users than it can serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.clients import end_clients, start_client
from flowrex_sandbox.faults.observe import all_pools, count, is_quiet
from flowrex_sandbox.sandbox import BACKEND_PORT, Sandbox
from flowrex_sandbox.waiting import await_condition

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flowrex-backend-%'"
_SUSTAINED_SCRAPES = 3


@dataclass(frozen=True, slots=True)
class _Bug(Fault):
    """A bug in every replica, ``per_replica`` times at once."""

    kind: ClassVar[str]
    per_replica: int = 5

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, f"/_sandbox/bugs/{self.kind}?count={self.per_replica}", method="POST")

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, "/_sandbox/heal", method="POST")

    def _expected(self, sandbox: Sandbox) -> int:
        return self.per_replica * sandbox.state.replicas


@dataclass(frozen=True, slots=True)
class OpenTransactions(_Bug):
    """Handlers that open a transaction and never end it."""

    name = "open-transactions"
    threshold = "idle_after_seconds"
    kind = "open-transaction"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        old = f" AND state = 'idle in transaction' AND now() - state_change > interval '{age_seconds} seconds'"
        return count(sandbox, _SESSIONS + old) >= self._expected(sandbox)


@dataclass(frozen=True, slots=True)
class HungTransactions(OpenTransactions):
    """Handlers that hang inside their transaction: whoever ends their sessions does not get the pool's slots back."""

    name = "hung-transactions"
    kind = "hung-transaction"


@dataclass(frozen=True, slots=True)
class LeakedConnections(_Bug):
    """A path that takes connections and forgets them; in PostgreSQL their sessions are plainly idle."""

    name = "leaked-connections"
    threshold = "idle_after_seconds"
    kind = "leaked-connection"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        old = f" AND state = 'idle' AND now() - state_change > interval '{age_seconds} seconds'"
        pools = all_pools(sandbox)
        felt = bool(pools) and all(pool.in_use >= self.per_replica and pool.waiting for pool in pools)
        return felt and count(sandbox, _SESSIONS + old) >= self._expected(sandbox)


@dataclass(frozen=True, slots=True)
class SlowReports(_Bug):
    """Reports that run for minutes, each on a pooled connection."""

    name = "slow-reports"
    threshold = "long_query_seconds"
    kind = "slow-report"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        old = f" AND state = 'active' AND now() - query_start > interval '{age_seconds} seconds'"
        return count(sandbox, _SESSIONS + old + " AND query LIKE '%pg_sleep(0.2)%'") >= self._expected(sandbox)

    def stop(self, sandbox: Sandbox) -> None:
        _Bug.stop(self, sandbox)
        sandbox.query(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state = 'active'"
            " AND application_name LIKE 'flowrex-backend-%' AND query LIKE '%pg_sleep(0.2)%'"
        )


@dataclass(frozen=True, slots=True)
class Burst(Fault):
    """Short queries, and more of them at once than the pools have connections for."""

    name = "burst"

    def start(self, sandbox: Sandbox) -> None:
        addresses = [replica.ports[BACKEND_PORT] for replica in sandbox.replicas() if BACKEND_PORT in replica.ports]
        start_client(sandbox, "burst", urls=tuple(f"http://{host}:{port}" for host, port in addresses))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        scrapes = [all_pools(sandbox) for _ in range(_SUSTAINED_SCRAPES)]
        return all(pools and all(pool.waiting > 0 for pool in pools) for pools in scrapes)

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "burst")


@dataclass(frozen=True, slots=True)
class PastErrors(Fault):
    """Pool errors in the log and in the counters that are over: transactions leaked, and were ended again."""

    name = "past-errors"
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
        self.stop(sandbox)

    def _grown(self, before: list[int], sandbox: Sandbox) -> bool:
        now = [pool.errors for pool in all_pools(sandbox)]
        return bool(now) and all(new >= old + self.errors for old, new in zip(before, now, strict=True))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        """Whether it is over."""
        return is_quiet(sandbox)

    def stop(self, sandbox: Sandbox) -> None:
        OpenTransactions().stop(sandbox)
