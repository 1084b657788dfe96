"""Faults that users see as 5xx: defects in the code, replicas that are gone or broken, a dependency that is gone, a flood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from flowrex_sandbox.faults.answers import answers, failures, seconds_since_failure
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.clients import end_clients, start_client
from flowrex_sandbox.faults.outage import halt
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_STOP_SECONDS = 20.0
_ENOUGH = 4
"""Failed requests that a fault must have cost before the runbook is asked."""


@dataclass(frozen=True, slots=True)
class _Defect(Fault):
    """A defect of ``backend/app/defects.py`` at work, in every replica or in the first one."""

    kinds: ClassVar[tuple[str, ...]]
    path: ClassVar[str] = ""
    everywhere: ClassVar[bool] = True

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas()[: None if self.everywhere else 1]:
            for kind in self.kinds:
                sandbox.ask(replica, f"/_sandbox/bugs/{kind}", method="POST")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path=self.path)) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, "/_sandbox/heal", method="POST")


@dataclass(frozen=True, slots=True)
class RouteRaises(_Defect):
    """One route raises on every request: a symbol is listed before it has a price."""

    name = "route-raises"
    kinds = ("delisted-symbol",)
    path = "/api/prices"


@dataclass(frozen=True, slots=True)
class SessionsRaise(_Defect):
    """Another route raises on every request, one that needs no connection to PostgreSQL."""

    name = "sessions-raise"
    kinds = ("visits-as-text",)
    path = "/api/session"


@dataclass(frozen=True, slots=True)
class NewException(_Defect):
    """A share of all requests ends in an exception that was not there before."""

    name = "new-exception"
    kinds = ("audit-trail",)


@dataclass(frozen=True, slots=True)
class NewExceptionInJson(_Defect):
    """The same, by replicas that log in JSON."""

    name = "new-exception-in-json"
    kinds = ("json-logs", "audit-trail")


@dataclass(frozen=True, slots=True)
class BrokenReplica(_Defect):
    """One replica's workers are dead: it is ready by its own account, and fails whatever it is asked."""

    name = "broken-replica"
    kinds = ("dead-workers",)
    everywhere = False


@dataclass(frozen=True, slots=True)
class PastErrorBurst(Fault):
    """Requests failed for a moment, and no longer do."""

    name = "past-error-burst"

    def start(self, sandbox: Sandbox) -> None:
        burst = NewException()
        burst.start(sandbox)
        burst.await_in_place(sandbox, 0, timeout_seconds=30)
        burst.stop(sandbox)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Have the burst, and return once it is no longer recent."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("recent_minutes", 5.0), timeout_seconds=330)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        """Whether it is over."""
        return seconds_since_failure(sandbox) > age_seconds

    def stop(self, sandbox: Sandbox) -> None:
        NewException().stop(sandbox)


@dataclass(frozen=True, slots=True)
class RedisStopped(Fault):
    """Redis was stopped; sessions, which live in it, cannot be had."""

    name = "redis-stopped"

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas("redis"):
            sandbox.stack().stop(replica, timeout_seconds=_STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path="/api/session")) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.stack().get_replicas("redis"):
            if not replica.running:
                sandbox.stack().start(replica, timeout_seconds=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class BackendStopped(Fault):
    """Every replica of the backend was stopped: the proxy answers 502 by itself."""

    name = "backend-stopped"

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.stack().stop(replica, timeout_seconds=_STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="proxy")) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.stack().get_replicas("backend"):
            if replica.state == "exited":
                sandbox.stack().start(replica, timeout_seconds=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class BackendHanging(Fault):
    """Replicas of the backend are halted, all or the first ``only``: they accept, and the proxy gives up with 504."""

    name = "backend-hanging"
    only: int | None = None

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas()[: self.only]:
            halt(sandbox, replica, halted=True)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="proxy")) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.stack().get_replicas("backend"):
            halt(sandbox, replica, halted=False)


@dataclass(frozen=True, slots=True)
class Flood(Fault):
    """Three clients ask for the slowest page as fast as they can, until the pools are exhausted; it ends by itself."""

    name = "flood"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "flood", urls=(sandbox.url,))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path="/api/analytics")) >= 10 * _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "flood")


@dataclass(frozen=True, slots=True)
class MistakenClient(Fault):
    """A client's new version sends orders without a quantity: 400, and rightly so."""

    name = "mistaken-client"
    per_second: float = 10.0

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "mistaken", urls=(sandbox.url,), rate=self.per_second)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return sum(answer.status == 400 for answer in answers(sandbox)) >= 10 * _ENOUGH  # noqa: PLR2004  # Bad Request

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "mistaken")


def await_calm(sandbox: Sandbox, seconds: float) -> None:
    """Return once no request has failed for *seconds*, and the replicas have logged for as long."""
    from datetime import UTC, datetime

    def calm() -> bool:
        ages = [
            (datetime.now(UTC) - replica.started_at).total_seconds()
            for replica in (*sandbox.replicas(), *sandbox.replicas("nginx"))
            if replica.started_at
        ]
        return bool(ages) and min(ages) > seconds and seconds_since_failure(sandbox) > seconds

    await_condition(
        calm,
        "requests were answered again",
        timeout_seconds=seconds + 30,
        poll_seconds=0.3,
        details=lambda: "run 'flowrex-ops drill heal' first",
    )
