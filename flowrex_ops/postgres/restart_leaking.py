"""A rolling restart of the replicas that hold connections which nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from flowrex_ops.errors import SourceUnavailableError, VerificationError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.postgres.pools import leaking_replicas
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import Rotation
from flowrex_ops.services.restart import Restart, target_of
from flowrex_ops.waiting import wait_until


class RestartBackend(Restart):
    """Restart the replicas that hold connections which nobody uses; a full but busy pool gains nothing from a restart.

    Also the next cure where sessions were ended and the pool keeps their slots, whatever the sessions did.
    """

    slug = "restart-backend"
    causes = ("db.idle-in-transaction", "db.pool-saturated", "db.lock-contention", "db.long-running-query")

    def __init__(self, fleet: ReplicaSet, rotation: Rotation | None, get_leaking: Callable[[], Sequence[str]]) -> None:
        super().__init__(fleet, rotation)
        self._get_leaking = get_leaking

    @classmethod
    def build(cls, context: Context, *, idle_after_seconds: float, **bounds: Any) -> Self:
        """*idle_after_seconds*: a plainly idle session older than this is held by nobody."""
        fleet = ReplicaSet.of(context, **bounds)
        rotation = Rotation.of(context, fleet, cls.slug)
        return cls(fleet, rotation, lambda: _read_leaking(context, idle_after_seconds))

    def find_targets(self) -> Sequence[Target]:
        due = {*self._get_leaking(), *self.left_out()}
        return [target_of(one) for one in self._fleet.replicas() if one.running and one.name in due]

    def verify(self, plan: Plan) -> str:
        """Besides, no target holds unused connections any more."""
        seen = super().verify(plan)
        names = {target.identity[0] for target in plan.targets}
        if not wait_until(lambda: not names & set(self._get_leaking()), seconds=10.0):
            raise VerificationError("a restarted replica holds unused connections again; the leak is in this version")
        return f"{seen}, and none holds unused connections"


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
