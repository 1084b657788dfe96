"""A rolling restart: every replica of a service as it is, started anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from flowrex_ops.errors import MitigationRefusedError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Replica, Target
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import Rotation
from flowrex_ops.services.rolling import Rolling


class Restart(Rolling):
    """Each replica as it is, started anew."""

    action = "restart each replica, one at a time; the next only when the one before is ready and back in rotation"
    cost = "none but reconnecting WebSockets"

    def change(self, replica: Replica) -> str:
        self._fleet.stack.restart(replica, timeout_seconds=self._fleet.ready_seconds)
        return replica.name


class RollingRestart(Restart):
    """Restart every replica of a service; those that are not ready first, since they have nothing to lose."""

    slug = "rolling-restart"
    causes = ()

    @classmethod
    def build(cls, context: Context, *, service: str = "", **bounds: Any) -> Self:
        """*service* is the backend unless named; *bounds* are ``ReplicaSet``'s (``drain_seconds`` and others)."""
        fleet = ReplicaSet.of(context, service, **bounds)
        mitigation = cls(fleet, Rotation.of(context, fleet, cls.slug) if fleet.port else None)
        mitigation.resource = fleet.service
        return mitigation

    def find_targets(self) -> Sequence[Target]:
        replicas = self._fleet.replicas()
        if not replicas:
            known = sorted({one.service for one in self._fleet.stack.get_replicas()})
            raise MitigationRefusedError(f"there is no service '{self._fleet.service}'; there are {', '.join(known)}")
        return [target_of(one) for one in sorted(replicas, key=self._fleet.is_ready)]


def target_of(replica: Replica) -> Target:
    """The replica by name and identity."""
    since = f"{replica.started_at:%H:%M:%S} UTC" if replica.started_at else "an unknown time"
    state = f"running since {since}" if replica.running else replica.state
    return Target((replica.name, replica.identity), f"{replica.name} ({state})")
