"""More replicas of the backend, or fewer, within what PostgreSQL's connection limit can bear.

No cause has it as its cure: it buys time against leaks, limits and floods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Self

import httpx

from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.health_probe import HEALTH_PATHS
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Replica, Target
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import Rotation
from flowrex_ops.services.capacity import ConnectionBudget
from flowrex_ops.waiting import wait_until
from flowrex_ops.web import get

_REACHED_SECONDS = 20.0
_ONE_MORE = 0


class ScaleBackend(Mitigation):
    """Run another number of replicas; new ones get users once they are ready, surplus ones are drained first."""

    slug = "scale-backend"
    resource = "backend"
    causes = ("memory.container-limit", "memory.leak", "http.traffic-flood")
    action = "run another number of replicas"
    cost = "none but reconnecting WebSockets"
    undo = "scale back to the number before"

    def __init__(
        self,
        fleet: ReplicaSet,
        rotation: Rotation,
        *,
        wanted: int,
        get_budget: Callable[[int], ConnectionBudget],
        get_reached: Callable[[], set[str]],
    ) -> None:
        """*wanted* replicas, 0 for one more; *get_budget* sums up for a number, *get_reached* names who just got a request."""
        self._fleet = fleet
        self._rotation = rotation
        self._wanted = wanted
        self._get_budget = get_budget
        self._get_reached = get_reached
        self._before = 0

    @classmethod
    def build(cls, context: Context, *, replicas: int = _ONE_MORE, **bounds: Any) -> Self:
        """*replicas*: how many to run, 0 for one more than now; *bounds* are ``ReplicaSet``'s."""
        fleet = ReplicaSet.of(context, **bounds)
        return cls(
            fleet,
            Rotation.of(context, fleet, cls.slug),
            wanted=replicas,
            get_budget=lambda count: read_budget(context, count),
            get_reached=lambda: _ask_for_reached(context),
        )

    def find_targets(self) -> Sequence[Target]:
        now, wanted = self._numbers()
        if wanted < 1:
            raise MitigationRefusedError(f"{wanted} replicas would serve nobody; ask for at least 1")
        if wanted == now and not self.is_unfinished():
            raise MitigationRefusedError(f"{self._fleet.service} has {now} replicas already; nothing to do")
        if wanted > now:
            budget = self._get_budget(wanted)
            if not budget.fits:
                raise MitigationRefusedError(
                    f"PostgreSQL cannot bear it: {budget}; at most {budget.most_replicas} replicas fit"
                )
        name = self._fleet.service
        return [Target((name, str(now), str(wanted)), f"{name}: {now} replicas now, {wanted} then")]

    def is_unfinished(self) -> bool:
        left = self._rotation.leftover()
        return left is not None and left.by == self.slug

    def action_of(self, _targets: Sequence[Target]) -> str:
        now, wanted = self._numbers()
        if wanted > now:
            return f"run {wanted} replicas instead of {now}; new ones get users once they are ready"
        return f"run {wanted} replicas instead of {now}; the surplus leaves the rotation and is drained before it stops"

    def cost_of(self, _targets: Sequence[Target]) -> str:
        now, wanted = self._numbers()
        budget = f"connections: {self._get_budget(wanted)}"
        without = f"; {self._rotation.missing}: users may meet a replica that starts or stops" * bool(
            self._rotation.missing
        )
        return budget + without + ("; WebSockets of the surplus close with 1012 and reconnect" * (wanted < now))

    def undo_of(self, _targets: Sequence[Target]) -> str:
        return f"scale-backend with replicas={len(self._fleet.replicas())}; the next deployment goes by its own files anyway"

    def apply(self, target: Target) -> str:
        service, now, wanted = target.identity[0], int(target.identity[1]), int(target.identity[2])
        if len(self._fleet.replicas()) != now:
            raise MitigationRefusedError(f"{service} no longer has {now} replicas; nothing was done")
        self._before = now
        surplus = self._newest(now - wanted) if wanted < now else []
        rotates = not self._rotation.missing
        if rotates:
            self.log_step(f"the proxy keeps to {min(now, wanted)} replicas meanwhile")
            self._rotation.take_out([one.name for one in surplus])
        left = [f"{one.name}: {self._fleet.drain(one)}" for one in surplus]
        self.log_step(f"{service}: {now} replicas to {wanted}")
        self._fleet.stack.scale(service, wanted, timeout_seconds=self._fleet.ready_seconds)
        for replica in self._fleet.replicas():
            if not self._fleet.await_ready(replica.name):
                raise VerificationError(f"{replica.name} is not ready after {self._fleet.ready_seconds:g} s")
        if rotates:
            self.log_step("every replica into the proxy's rotation")
            self._rotation.restore()
        self._before = 0
        return f"{service} has {wanted} replicas instead of {now}" + (f" ({'; '.join(left)})" if left else "")

    def verify(self, plan: Plan) -> str:
        """So many run, each is ready, and each gets requests."""
        wanted = int(plan.targets[0].identity[2])
        names = {one.name for one in self._fleet.replicas() if self._fleet.is_ready(one)}
        if len(names) != wanted:
            raise VerificationError(f"{len(names)} replicas are ready, {wanted} are wanted; look at the stack")
        reached: set[str] = set()

        def all_reached() -> bool:
            reached.update(self._get_reached())
            return names <= reached

        if not wait_until(all_reached, seconds=_REACHED_SECONDS, every_seconds=0.5):
            raise VerificationError(f"no request reached {', '.join(sorted(names - reached))} through the proxy")
        return f"verified: all {wanted} are ready, and requests through the proxy reach each"

    def clean_up(self) -> str:
        """Back to the number before, all in rotation."""
        if not self._before:
            return ""
        self._fleet.stack.scale(self._fleet.service, self._before, timeout_seconds=self._fleet.ready_seconds)
        unready = [one.name for one in self._fleet.replicas() if not self._fleet.await_ready(one.name, seconds=15.0)]
        if not self._rotation.missing:
            self._rotation.restore()
        said = f", {', '.join(unready)} not ready" if unready else ", all ready"
        return f"Undone: {self._before} replicas as before{said}"

    def _numbers(self) -> tuple[int, int]:
        now = len(self._fleet.replicas())
        return now, now + 1 if self._wanted == _ONE_MORE else self._wanted

    def _newest(self, count: int) -> list[Replica]:
        """Those that the stack takes away first: with the highest numbers."""
        return sorted(self._fleet.replicas(), key=lambda one: _number(one.name))[-count:]


def read_budget(context: Context, replicas: int) -> ConnectionBudget:
    """The sum for *replicas* replicas. SourceUnavailableError where a term of it cannot be read."""
    limits = context.database.get_connection_limits()
    sessions = context.with_replica(context.database.get_sessions())
    pools = context.backend.sample_pools()
    for reading in (limits, sessions, pools):
        if not reading.available:
            raise SourceUnavailableError(f"the sum of connections cannot be made: {reading.error}", code=reading.code)
    sizes = pools.require()["maximum"].dropna()
    if sizes.empty:
        raise SourceUnavailableError("no replica tells the size of its pool; set backend.pool_size")
    clients = sessions.require()
    others = clients[clients["backend_type"].eq("client backend") & clients["replica"].eq("")]
    found = limits.require()
    return ConnectionBudget(
        replicas, int(sizes.max()), len(others), found.max_connections, found.superuser_reserved, found.reserved
    )


def _ask_for_reached(context: Context) -> set[str]:
    """Send a few requests through the proxy and read from its log which replicas answered lately."""
    url = f"{context.endpoints.front_door_url}{context.settings.front_door.path or HEALTH_PATHS[0]}"
    for _ in range(10):
        try:
            get(url, seconds=context.settings.limits.reading_seconds, verified=False)
        except httpx.HTTPError:
            break
    reading = context.access.get_requests(since=timedelta(seconds=10), recent_minutes=1.0)
    if not reading.available:
        raise VerificationError(f"whether requests reach each replica cannot be read: {reading.error}")
    return set(reading.require().requests["replica"])


def _number(name: str) -> int:
    digits = re.search(r"(\d+)$", name)
    return int(digits[1]) if digits else 0
