"""What makes answers slow without errors: a route, a replica, a release, a call that blocks, the database; and clients on a bad line."""

from __future__ import annotations

from typing import ClassVar

from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.answers import answers, seconds_since_failure
from flowrex_sandbox.faults.base import ENOUGH, ReplicaBug, TroubleClient
from flowrex_sandbox.faults.http import Release
from flowrex_sandbox.faults.pool import SlowReports
from flowrex_sandbox.sandbox import Sandbox

_SLOW_SECONDS = 1.0
"""As the runbook has it."""


def _felt(sandbox: Sandbox, path: str = "") -> bool:
    """Whether enough answers were slow lately, on one path or any."""
    slow = [one for one in answers(sandbox) if one.seconds >= _SLOW_SECONDS and path in ("", one.path)]
    return len(slow) >= 4 * ENOUGH


class _Slow(ReplicaBug):
    """A defect of ``backend/app/defects.py`` that takes time."""

    path: ClassVar[str] = ""

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _felt(sandbox, self.path)


class RouteSlow(_Slow):
    """One route waits two seconds for a feed."""

    bugs = ("slow-prices",)
    path = "/api/prices"


class ReplicaSlow(_Slow):
    """One replica takes two seconds for whatever it is asked."""

    bugs = ("slow-host",)
    everywhere = False


class LoopBlocked(_Slow):
    """One replica's event loop is held up by a synchronous call."""

    bugs = ("blocking-call",)
    everywhere = False


class SlowRelease(Release):
    """A release takes two seconds for a route."""

    defects: str = "slow-prices"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_failure(sandbox, made_by="proxy") > age_seconds and _felt(sandbox, RouteSlow.path)


class DatabaseWaits(SlowReports):
    """Reports hold the pools, and requests wait for a connection."""

    threshold = ""

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return super().in_place(sandbox, age_seconds) and _felt(sandbox)


class SlowClients(TroubleClient):
    """Clients on a bad line send their orders in three seconds."""

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "drip", urls=(sandbox.url,))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _felt(sandbox, "/api/trades")


drill = drills_of("slow_responses", since="4m", recent_minutes=0.3, baseline_minutes=0.4, deploy_lag_minutes=0.3)
"""Seconds instead of minutes, so that nobody has to wait until a drill's slow requests are old."""

DRILLS = (
    drill("slow-healthy", title="nothing is wrong: no request is slow"),
    drill("slow-route", RouteSlow(), expected="http.slow-route"),
    drill("slow-replica", ReplicaSlow(), expected="http.slow-replica"),
    drill("slow-event-loop", LoopBlocked(), expected="backend.event-loop-blocked"),
    drill("slow-release", SlowRelease(), expected="http.slow-release"),
    drill("slow-database", DatabaseWaits(), expected="http.slow-database"),
    drill(
        "slow-clients",
        SlowClients(),
        title="red herring: clients on a bad line; the platform is as fast as ever",
        expected="http.slow-clients",
    ),
)
