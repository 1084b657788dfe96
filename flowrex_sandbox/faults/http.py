"""What users see as 5xx: defects in the code, a release, replicas that are gone or broken, a dependency that is gone, a flood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar

from flowrex_ops.errors import SandboxError
from flowrex_ops.metrics.names import read_metrics
from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.answers import answers, failures, seconds_since_failure
from flowrex_sandbox.faults.base import ENOUGH, Fault, Halted, PastFault, ReplicaBug, Stopped, TroubleClient
from flowrex_sandbox.faults.proxy import ProxyConfiguration
from flowrex_sandbox.faults.trades import BrokerStopped
from flowrex_sandbox.faults.websocket import FewerWorkerConnections, FewWorkerConnections
from flowrex_sandbox.health import await_backends, await_front_door
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.state import VERSION, read_state, write_state
from flowrex_sandbox.waiting import await_condition

_READY_SECONDS = 60.0
OPEN_FILES = {"open": ("process_open_fds",), "limit": ("process_max_fds",)}


class _Defect(ReplicaBug):
    """A defect of ``backend/app/defects.py`` at work."""

    path: ClassVar[str] = ""

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path=self.path)) >= ENOUGH


class RouteRaises(_Defect):
    """One route raises.

    A symbol is listed before it has a price.
    """

    bugs = ("delisted-symbol",)
    path = "/api/prices"


class NameGone(_Defect):
    """A name that every replica looks up does not resolve."""

    bugs = ("vendor-renamed",)
    path = "/api/prices"


class SessionsRaise(_Defect):
    """Another route raises, one that needs no connection to PostgreSQL."""

    bugs = ("visits-as-text",)
    path = "/api/session"


class NewException(_Defect):
    """A share of all requests raises something new."""

    bugs = ("audit-trail",)


class NewExceptionInJson(_Defect):
    """A share of all requests raises something new, and the replicas log in JSON."""

    bugs = ("json-logs", "audit-trail")


class BrokenReplica(_Defect):
    """One replica's workers are dead.

    It is ready by its own account, and fails whatever it is asked.
    """

    bugs = ("dead-workers",)
    everywhere = False


class FilesLeftOpen(ReplicaBug):
    """One replica does not close what it opens, and may hardly open any more."""

    bugs = ("files-left-open",)
    everywhere = False
    share: float = 0.9

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        pages = [read_metrics(page, OPEN_FILES) for page in sandbox.read_replicas("/metrics")]
        return any(page["open"] > self.share * page["limit"] for page in pages if len(page) == len(OPEN_FILES))


class FilesHalfOpen(FilesLeftOpen):
    """One replica holds half of the files that it may open."""

    bugs = ("files-half-open",)
    share: float = 0.45


class PastErrorBurst(PastFault):
    """A burst of errors is over."""

    def start(self, sandbox: Sandbox) -> None:
        burst = NewException()
        burst.start(sandbox)
        burst.await_in_place(sandbox)
        burst.stop(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_failure(sandbox) > age_seconds


class RedisStopped(Stopped):
    """Redis is stopped."""

    service = "redis"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path="/api/session")) >= ENOUGH


class BackendStopped(Stopped):
    """Every replica is stopped: 502."""

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="proxy")) >= ENOUGH


class BackendHanging(Halted):
    """Every replica is halted: 504."""

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="proxy")) >= ENOUGH


class Flood(TroubleClient):
    """Three clients exhaust the pools.

    They ask for the slowest page as fast as they can, for a minute and a half.
    """

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "flood", urls=(sandbox.url,))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path="/api/analytics")) >= 10 * ENOUGH


class MistakenClient(TroubleClient):
    """A client's orders lack a quantity: 400."""

    per_second: float = 10.0

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "mistaken", urls=(sandbox.url,), rate=self.per_second)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return sum(answer.status == HTTPStatus.BAD_REQUEST for answer in answers(sandbox)) >= 10 * ENOUGH


class BodiesTooLarge(ProxyConfiguration):
    """NGINX takes bodies of ten bytes at most: 413 for whoever trades."""

    def rewrite(self, sound: str) -> str:
        return sound.replace("proxy_connect_timeout 2s;", "proxy_connect_timeout 2s; client_max_body_size 10;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        refused = sum(one.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE for one in answers(sandbox))
        return refused >= 10 * ENOUGH


class Release(Fault):
    """Another release was deployed; it may bring defects with it (names of ``backend/app/defects.py``)."""

    rank = 4
    version: str = "1.5.0"
    defects: str = ""

    def start(self, sandbox: Sandbox) -> None:
        deploy(sandbox, self.version, self.defects)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Deploy, and return once what the proxy could not reach meanwhile is no longer recent."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("recent_minutes", 0.0))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        quiet = seconds_since_failure(sandbox, made_by="proxy") > age_seconds
        return quiet and (not self.defects or len(failures(sandbox, made_by="backend")) >= ENOUGH)

    def stop(self, sandbox: Sandbox) -> None:
        """The replicas that the sandbox began with, of the release that it began with; nothing where they are there."""
        state = read_state(sandbox.home)
        replicas = sandbox.stack().get_replicas("backend")
        expected = [(f"backend-{number}", VERSION) for number in range(1, sandbox.state.replicas + 1)]
        found = [(replica.name, replica.version) for replica in replicas]
        if found != expected or (state and (state.version, state.defects) != (VERSION, "")):
            deploy(sandbox, VERSION)


def deploy(sandbox: Sandbox, version: str, defects: str = "") -> None:
    """Replace the backend's replicas, as this platform's deployments do, and return once they serve."""
    state = read_state(sandbox.home)
    if state is None:
        raise SandboxError(f"there is no sandbox at '{sandbox.home}'; start one with 'flowrex-ops sandbox up'")
    state = replace(state, version=version, defects=defects)
    write_state(state)
    if state.stack == "compose":
        from flowrex_sandbox.stacks.compose import lifecycle as compose

        compose.deploy(Sandbox(state))
    else:
        from flowrex_sandbox.stacks.embedded import lifecycle as embedded

        embedded.deploy(Sandbox(state))
    await_backends(sandbox, timeout_seconds=_READY_SECONDS)
    await_front_door(sandbox, timeout_seconds=_READY_SECONDS)


def await_calm(sandbox: Sandbox, seconds: float) -> None:
    """Return once no request has failed for *seconds*, and the replicas have logged for as long."""

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
        details=lambda: "run 'flowrex-ops drill reset' first",
    )


_BAD_RELEASE = Release(defects="equity-in-floats")

FAST = {"since": "4m", "recent_minutes": 0.2, "baseline_minutes": 0.3, "deploy_lag_minutes": 0.3}
_LONGER = {**FAST, "baseline_minutes": 1.5}
"""For what is compared with the time before, which is to be much longer than the fault has been there when it is looked at."""
drill = drills_of("error_rate", **FAST)
"""Seconds instead of minutes, so that nobody has to wait until a drill's failures are old."""

DRILLS = (
    drill("errors-healthy", title="nothing is wrong: no request fails"),
    drill(
        "bad-deploy",
        _BAD_RELEASE,
        title="release 1.5.0 adds money to a float",
        expected="http.bad-deploy",
        approve="rollback-bad-deploy",
        alerts="HighErrorRate",
    ),
    drill("single-replica", BrokenReplica(), expected="http.single-replica"),
    drill("single-route", RouteRaises(), expected="http.single-route"),
    drill("redis-failing", RedisStopped(), expected="http.dependency-failing"),
    drill("backend-stopped", BackendStopped(), expected="http.upstream-unreachable"),
    drill("backend-hanging", BackendHanging(), expected="http.upstream-unreachable"),
    drill("new-exception", NewException(), expected="http.new-exception"),
    drill("new-exception-json", NewExceptionInJson(), expected="http.new-exception"),
    drill("traffic-flood", Flood(), expected="http.traffic-flood", approve="block-client", alerts="HighErrorRate"),
    drill("route-and-flood", SessionsRaise(), Flood(), expected="http.traffic-flood http.single-route"),
    drill(
        "bad-deploy-and-hanging-replica",
        _BAD_RELEASE,
        BackendHanging(only=1),
        title="two at once: a bad release, and one replica that hangs",
        expected="http.bad-deploy http.upstream-unreachable",  # most failures are the release's
    ),
    drill("files-left-open", FilesLeftOpen(), expected="backend.fd-exhausted", alerts="OpenFilesHigh"),
    drill("files-half-open", FilesHalfOpen()),
    drill("worker-connections", FewWorkerConnections(), expected="http.worker-connections"),
    drill("worker-connections-enough", FewerWorkerConnections()),
    drill(
        "bodies-too-large",
        BodiesTooLarge(),
        expected="http.client-errors",
        parameters=_LONGER,
    ),
    drill("redis-and-broker", RedisStopped(), BrokerStopped(), expected="http.dependency-failing"),
    drill("old-error-burst-http", PastErrorBurst()),
    drill(
        "clean-deploy-beside-errors",
        RedisStopped(),
        Release("1.4.3"),
        title="red herring: a clean release, while Redis was stopped before it",
        expected="http.dependency-failing",
    ),
    drill("client-mistake", MistakenClient(), parameters=_LONGER),
)
