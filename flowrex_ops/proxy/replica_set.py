"""The replicas of one service as mitigations handle them: whether one is ready, and how it is drained before it stops.

Drained is what the replica itself says (no request in progress, three times in a row); one that does not tell gets
the whole bound. WebSockets do not end by themselves: they get a second, then 1012 from the replica.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from flowrex_ops.compose import Stack
from flowrex_ops.errors import MitigationRefusedError
from flowrex_ops.health import judge_answer
from flowrex_ops.health_probe import ask_health
from flowrex_ops.metrics.backend import DEFAULT_METRICS, read_load
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Replica, Target, authority
from flowrex_ops.settings import MetricsSettings
from flowrex_ops.waiting import wait_until

_QUIET_READINGS = 3
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """The replicas of *service*. ``port`` is the one that tells its health; None for a service that has none.

    A replica gets ``drain_seconds`` for requests under way, then ``websocket_seconds`` for WebSockets, and must be ready
    ``ready_seconds`` after its start.
    """

    stack: Stack
    service: str
    port: int | None
    ready_seconds: float = 60.0
    drain_seconds: float = 10.0
    websocket_seconds: float = 1.0
    request_seconds: float = 5.0
    health_path: str = ""
    metrics: MetricsSettings = DEFAULT_METRICS

    @classmethod
    def of(cls, context: Context, service: str = "", **bounds: Any) -> ReplicaSet:
        """The backend, or another service, for which the stack alone tells whether it is healthy."""
        backend = context.settings.backend
        port = backend.port if service in ("", backend.service) else None
        seconds = {"request_seconds": context.settings.limits.reading_seconds, **bounds}
        seconds.setdefault("health_path", backend.health_path)
        seconds.setdefault("metrics", context.settings.metrics)
        return cls(context.endpoints.stack, service or backend.service, port, **seconds)

    def replicas(self) -> Sequence[Replica]:
        """All, stopped ones too."""
        return self.stack.get_replicas(self.service)

    def named(self, name: str) -> Replica | None:
        """The replica of that name as it is now."""
        return next((replica for replica in self.replicas() if replica.name == name), None)

    def require(self, target: Target) -> Replica:
        """The replica that was planned (its name and identity come first in the target's); MitigationRefusedError otherwise."""
        name, identity = target.identity[:2]
        replica = self.named(name)
        if replica is None or replica.identity != identity:
            raise MitigationRefusedError(f"{name} is not the replica that was planned any more; nothing was done to it")
        return replica

    def is_ready(self, replica: Replica) -> bool:
        """By its health endpoint, else by what the stack says."""
        if not replica.running:
            return False
        if self.port is None or self.stack.kind == "replay":
            return replica.health in ("healthy", "none")
        url = self.url(replica)
        if not url:
            return False
        found = ask_health(url, self.health_path, timeout_seconds=self.request_seconds)
        ready, _ = judge_answer({"status": found.status, "error": found.error, "refused": found.refused})
        return replica.health in ("healthy", "none") if ready is None else ready

    def await_ready(self, name: str, *, seconds: float | None = None) -> bool:
        """Whether the replica becomes ready in time."""

        def ready() -> bool:
            replica = self.named(name)
            return replica is not None and self.is_ready(replica)

        return wait_until(ready, seconds=self.ready_seconds if seconds is None else seconds)

    def drain(self, replica: Replica) -> str:
        """Wait until it has nothing more to answer, within the bounds, and say what was left."""
        url = self.url(replica)
        if not url or not replica.running:
            return "nothing to drain"
        left: dict[str, float | None] = {}

        def load() -> dict[str, float | None]:
            left.clear()
            left.update(read_load(url, timeout_seconds=self.request_seconds, metrics=self.metrics))
            return left

        def idle() -> bool:
            for _ in range(_QUIET_READINGS):
                if load()["requests"]:
                    return False
                time.sleep(_POLL_SECONDS)
            return True

        try:
            if load()["requests"] is None:
                time.sleep(self.drain_seconds)  # it does not tell what is under way, so it gets all the time there is
            else:
                wait_until(idle, seconds=self.drain_seconds, every_seconds=_POLL_SECONDS)
            wait_until(lambda: not load()["websockets"], seconds=self.websocket_seconds, every_seconds=_POLL_SECONDS)
        except (httpx.HTTPError, ValueError):
            return "it does not answer, so nothing was drained"
        requests = "unknown" if left["requests"] is None else f"{left['requests']:.0f}"
        return f"requests left {requests}, WebSockets left {left['websockets'] or 0:.0f}"

    @property
    def resolved_by_name(self) -> bool:
        """Whether NGINX finds the replicas by asking for the service's name, so that it follows them by itself."""
        return self.stack.kind == "compose"

    def address_inside(self, replica: Replica) -> str:
        """``host:port`` as NGINX reaches it: in the project's network, or on this machine."""
        if self.resolved_by_name and replica.addresses:
            return authority(replica.addresses[0], self.port or 0)
        return authority(*replica.ports.get(self.port or 0, ("127.0.0.1", self.port or 0)))

    def url(self, replica: Replica) -> str:
        """Where it answers from here; empty where it has no such port."""
        place = replica.reach(self.port) if self.port else None
        return f"http://{authority(*place)}" if place else ""
