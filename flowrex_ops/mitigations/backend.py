"""Restart the backend's replicas, one at a time, each healthy before the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import httpx

from flowrex_ops.checks.pools import leaking_replicas
from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.mitigations.context import Context
from flowrex_ops.mitigations.guard import Mitigation
from flowrex_ops.mitigations.waiting import wait_until
from flowrex_ops.model import Plan, Replica, Target
from flowrex_ops.stack import Stack


class RestartBackend(Mitigation):
    """A rolling restart: a replica that does not come back ready stops it, and the others are left as they are."""

    slug = "restart-backend"
    resource = "backend"
    causes = ("db.idle-in-transaction", "db.pool-saturated")
    action = "restart each replica, one at a time; the next only when the one before is ready (/health/ready)"
    cost = "requests in flight on the replica being restarted fail, and its WebSockets close; the others serve on"
    undo = "cannot be undone; a replica that does not come back is named, and the rest is left untouched"

    def __init__(
        self,
        *,
        stack: Stack,
        service: str,
        port: int,
        get_leaking: Callable[[], Sequence[str]],
        ready_seconds: float = 60.0,
        request_seconds: float = 5.0,
    ) -> None:
        self._stack = stack
        self._service = service
        self._port = port
        self._get_leaking = get_leaking
        self._ready_seconds = ready_seconds
        self._request_seconds = request_seconds

    @classmethod
    def build(cls, context: Context, *, idle_after_seconds: float) -> Self:
        """*idle_after_seconds*: a plainly idle session older than this is held by nobody."""
        return cls(
            stack=context.endpoints.stack,
            service=context.settings.backend.service,
            port=context.settings.backend.port,
            get_leaking=lambda: _read_leaking(context, idle_after_seconds),
            request_seconds=context.settings.limits.reading_seconds,
        )

    def find_targets(self) -> Sequence[Target]:
        """Replicas that hold connections which nobody uses; a full but busy pool gains nothing from a restart."""
        leaking = set(self._get_leaking())
        return [
            Target((replica.name, replica.identity), f"{replica.name} (running since {_since(replica)})")
            for replica in self._stack.get_replicas(self._service)
            if replica.running and replica.name in leaking
        ]

    def apply(self, target: Target) -> str:
        name, identity = target.identity
        replica = self._replicas().get(name)
        if replica is None or replica.identity != identity:
            raise MitigationRefusedError(f"{name} is not the replica that was planned any more; nothing was done to it")
        self._stack.restart(replica, timeout_seconds=self._ready_seconds)
        if not wait_until(lambda: self._ready(name), seconds=self._ready_seconds):
            raise VerificationError(
                f"{name} was restarted and is not ready after {self._ready_seconds:g} s; the replicas after it were not touched"
            )
        return f"restarted {name}, ready again"

    def verify(self, plan: Plan) -> str:
        """Every target runs under a new identity, answers ready, and leaks no connection."""
        replicas = self._replicas()
        for target in plan.targets:
            name, identity = target.identity
            if name not in replicas or replicas[name].identity == identity:
                raise VerificationError(f"{name} still runs as before; look at the stack")
        if not wait_until(lambda: all(self._ready(t.identity[0]) for t in plan.targets), seconds=self._ready_seconds):
            raise VerificationError("not every restarted replica is ready; see /health/ready")
        names = {target.identity[0] for target in plan.targets}
        if not wait_until(lambda: not names & set(self._get_leaking()), seconds=10.0):
            raise VerificationError("a restarted replica holds unused connections again; the leak is in this version")
        return f"read again: all {len(names)} are ready, and none holds unused connections"

    def _replicas(self) -> Mapping[str, Replica]:
        return {replica.name: replica for replica in self._stack.get_replicas(self._service)}

    def _ready(self, name: str) -> bool:
        replica = self._replicas().get(name)
        if replica is None or not replica.running or self._port not in replica.ports:
            return False
        host, port = replica.ports[self._port]
        try:
            return (
                httpx.get(f"http://{host}:{port}/health/ready", timeout=self._request_seconds).status_code
                == httpx.codes.OK
            )
        except httpx.HTTPError:
            return False


def _read_leaking(context: Context, idle_after_seconds: float) -> Sequence[str]:
    pools = context.backend.sample_pools()
    sessions = context.with_replica(context.database.get_sessions())
    for reading in (pools, sessions):
        if not reading.available:
            raise SourceUnavailableError(f"which replicas leak cannot be read: {reading.error}")
    return leaking_replicas(pools.require(), sessions.require(), idle_after_seconds=idle_after_seconds)


def _since(replica: Replica) -> str:
    return f"{replica.started_at:%H:%M:%S} UTC" if replica.started_at else "an unknown time"
