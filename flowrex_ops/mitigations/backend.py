"""Rolling restarts: of the replicas that leak, and of all replicas of a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from flowrex_ops.checks.pools import leaking_replicas
from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.mitigations.context import Context
from flowrex_ops.mitigations.fleet import Fleet
from flowrex_ops.mitigations.rolling import Rolling
from flowrex_ops.mitigations.rotation import Rotation
from flowrex_ops.mitigations.waiting import wait_until
from flowrex_ops.model import Plan, Replica, Target


class _Restart(Rolling):
    """Each replica as it is, started anew."""

    action = "restart each replica, one at a time; the next only when the one before is ready and back in rotation"
    cost = "none but reconnecting WebSockets"

    def change(self, replica: Replica) -> str:
        self._fleet.stack.restart(replica, timeout_seconds=self._fleet.ready_seconds)
        return replica.name


class RollingRestart(_Restart):
    """Restart every replica of a service; those that are not ready first, since they have nothing to lose."""

    slug = "rolling-restart"
    causes = ()

    @classmethod
    def build(cls, context: Context, *, service: str = "", **bounds: Any) -> Self:
        """*service* is the backend unless named; *bounds* are ``Fleet``'s (``drain_seconds`` and others)."""
        fleet = Fleet.of(context, service, **bounds)
        mitigation = cls(fleet, Rotation.of(context, fleet, cls.slug) if fleet.port else None)
        mitigation.resource = fleet.service
        return mitigation

    def find_targets(self) -> Sequence[Target]:
        replicas = self._fleet.replicas()
        if not replicas:
            known = sorted({one.service for one in self._fleet.stack.get_replicas()})
            raise MitigationRefusedError(f"there is no service '{self._fleet.service}'; there are {', '.join(known)}")
        return [target_of(one) for one in sorted(replicas, key=self._fleet.is_ready)]


class RestartBackend(_Restart):
    """Restart the replicas that hold connections which nobody uses; a full but busy pool gains nothing from a restart.

    Also the next cure where sessions were ended and the pool keeps their slots, whatever the sessions did.
    """

    slug = "restart-backend"
    causes = ("db.idle-in-transaction", "db.pool-saturated", "db.lock-contention", "db.long-running-query")

    def __init__(self, fleet: Fleet, rotation: Rotation | None, get_leaking: Callable[[], Sequence[str]]) -> None:
        super().__init__(fleet, rotation)
        self._get_leaking = get_leaking

    @classmethod
    def build(cls, context: Context, *, idle_after_seconds: float, **bounds: Any) -> Self:
        """*idle_after_seconds*: a plainly idle session older than this is held by nobody."""
        fleet = Fleet.of(context, **bounds)
        rotation = Rotation.of(context, fleet, cls.slug)
        return cls(fleet, rotation, lambda: _read_leaking(context, idle_after_seconds))

    def find_targets(self) -> Sequence[Target]:
        leaking = set(self._get_leaking())
        return [target_of(one) for one in self._fleet.replicas() if one.running and one.name in leaking]

    def verify(self, plan: Plan) -> str:
        """Besides, no target holds unused connections any more."""
        seen = super().verify(plan)
        names = {target.identity[0] for target in plan.targets}
        if not wait_until(lambda: not names & set(self._get_leaking()), seconds=10.0):
            raise VerificationError("a restarted replica holds unused connections again; the leak is in this version")
        return f"{seen}, and none holds unused connections"


def target_of(replica: Replica) -> Target:
    """The replica by name and identity."""
    since = f"{replica.started_at:%H:%M:%S} UTC" if replica.started_at else "an unknown time"
    state = f"running since {since}" if replica.running else replica.state
    return Target((replica.name, replica.identity), f"{replica.name} ({state})")


def _read_leaking(context: Context, idle_after_seconds: float) -> Sequence[str]:
    pools = context.backend.sample_pools()
    sessions = context.with_replica(context.database.get_sessions())
    for reading in (pools, sessions):
        if not reading.available:
            raise SourceUnavailableError(f"which replicas leak cannot be read: {reading.error}")
    if sessions.truncated:
        raise SourceUnavailableError(
            "which replicas leak cannot be told: there are more sessions than were read; raise limits.rows"
        )
    return leaking_replicas(pools.require(), sessions.require(), idle_after_seconds=idle_after_seconds)
