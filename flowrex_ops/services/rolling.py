"""Replicas changed one at a time: out of the proxy's rotation, drained, changed, ready, and back in."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence

from flowrex_ops.errors import MitigationRefusedError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.model import Plan, Replica, Target
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import Rotation

_ABANDON_SECONDS = 15.0


class Rolling(Mitigation):
    """The first replica that does not come back ready ends it; that one stays out of rotation, the others as they are."""

    resource = "backend"
    nothing = "no replica needs it"
    undo = (
        "cannot be undone; a replica that does not come back is named and left out of rotation, the rest is not touched"
    )

    def __init__(self, fleet: ReplicaSet, rotation: Rotation | None) -> None:
        """Without *rotation* (a service that NGINX does not send users to) replicas are only drained."""
        self._fleet = fleet
        self._rotation = rotation
        self._current = ""
        self._count = 0
        self._ready_seconds = _ABANDON_SECONDS

    @abstractmethod
    def change(self, replica: Replica) -> str:
        """Stop the replica and start what takes its place; the name of that."""

    def is_unfinished(self) -> bool:
        return bool(self.left_out())

    def left_out(self) -> Sequence[str]:
        """Replicas that a run of this which was killed has left out of rotation."""
        return self._rotation.left_out() if self._rotation else []

    def apply(self, target: Target) -> str:
        replica = self._fleet.require(target)
        started = time.monotonic()
        self._current, self._count = replica.name, len(self._fleet.replicas())
        if self._rotates():
            self.log_step(f"{replica.name}: out of the proxy's rotation")
            self._require_rotation().take_out([replica.name])
        self.log_step(f"{replica.name}: drain, stop and start")
        left = self._fleet.drain(replica)
        name = self._current = self.change(replica)
        if not self._fleet.await_ready(name):
            self._ready_seconds = 0.0
            raise VerificationError(
                f"{name} is not ready {self._fleet.ready_seconds:g} s after its start; the replicas after it were not touched"
            )
        if self._rotates():
            self.log_step(f"{name}: back into the proxy's rotation")
            self._require_rotation().restore()
        self._current = ""
        became = "" if name == replica.name else f" as {name}"
        return f"{replica.name} is ready again{became} after {time.monotonic() - started:.1f} s ({left})"

    def verify(self, plan: Plan) -> str:
        """Every replica is ready, none that was planned runs as before, and none is left out of rotation."""
        unready = [one.name for one in self._fleet.replicas() if one.running and not self._fleet.is_ready(one)]
        for name in unready:
            if not self._fleet.await_ready(name, seconds=10.0):
                raise VerificationError(f"{name} is not ready; see its health endpoint and its log")
        now = {replica.identity for replica in self._fleet.replicas()}
        as_before = [target.identity[0] for target in plan.targets if target.identity[1] in now]
        if as_before:
            raise VerificationError(f"{', '.join(as_before)} still runs as before; look at the stack")
        out = self._rotation.leftover() if self._rotation else None
        if out:
            raise VerificationError(f"the proxy still has a list of its own ({out.about}); run this again")
        return f"verified: all {len(now)} replicas are ready and in rotation"

    def clean_up(self) -> str:
        """Start what was stopped, and put every replica that is ready back into rotation."""
        if not self._current:
            return ""
        replica = self._fleet.named(self._current)
        if replica is None:
            self._fleet.stack.scale(self._fleet.service, self._count, timeout_seconds=_ABANDON_SECONDS)
        elif not replica.running:
            self._fleet.stack.start(replica, timeout_seconds=_ABANDON_SECONDS)
        ready = self._fleet.await_ready(self._current, seconds=self._ready_seconds) if replica else True
        if not self._rotates():
            return "" if ready else f"{self._current} is not ready"
        if ready:
            self._require_rotation().restore()
            return "Every replica is back in rotation"
        self._require_rotation().take_out([self._current])
        return f"{self._current} is left out of rotation, the others serve"

    def cost_of(self, targets: Sequence[Target]) -> str:
        """Whether users notice, and what is found of a run that did not end."""
        fleet = self._fleet
        serving = sum(one.running for one in fleet.replicas())
        if self._rotation is None or self._rotation.missing:
            why = self._rotation.missing if self._rotation else f"{fleet.service} is not behind the proxy's rotation"
            return (
                f"{why}: each is down while it restarts; what is under way there after {fleet.drain_seconds:g} s fails"
            )
        if serving <= 1:
            return f"{fleet.service} has no other replica: users get errors until it is ready again"
        left = self._rotation.leftover()
        return (
            f"no request is lost: each of {len(targets)} replicas leaves the rotation and has up to {fleet.drain_seconds:g} s for requests under"
            f" way; its WebSockets close with 1012 after {fleet.websocket_seconds:g} s and reconnect; meanwhile {serving - 1} of {serving} serve"
        ) + (f"; a run of {left.since} left the rotation at '{left.about}', which this one ends" if left else "")

    def _rotates(self) -> bool:
        """Whether there is a rotation, and another replica to send users to."""
        if self._rotation is None or self._rotation.missing:
            return False
        others = [one for one in self._fleet.replicas() if one.running and one.name != self._current]
        return bool(others)

    def _require_rotation(self) -> Rotation:
        if self._rotation is None:
            raise MitigationRefusedError(f"{self._fleet.service} is not behind the proxy's rotation")
        return self._rotation
