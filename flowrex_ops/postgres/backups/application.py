"""The application stopped and started again around a change of its database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx

from flowrex_ops.errors import VerificationError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Replica
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.waiting import wait_until
from flowrex_ops.web import get

Names = Collection[tuple[str, str]]
"""Replicas, each as (service, name)."""

_STOP_SECONDS = 30.0
_LEAST_READY_SECONDS = 2.0


class Application:
    """The replicas of ``backup.services``. One of the backend is ready when *probe_path* answers 200, too."""

    def __init__(self, fleets: Sequence[ReplicaSet], probe_path: str) -> None:
        self._fleets = {fleet.service: fleet for fleet in fleets}
        self._probe_path = probe_path

    @classmethod
    def of(cls, context: Context, *, ready_seconds: float) -> Self:
        backup = context.settings.backup
        return cls(
            [ReplicaSet.of(context, service, ready_seconds=ready_seconds) for service in backup.services],
            backup.probe_path,
        )

    def running(self) -> list[tuple[str, str]]:
        """What runs now."""
        return [(r.service, r.name) for fleet in self._fleets.values() for r in fleet.replicas() if r.running]

    def stop(self, names: Names) -> None:
        """Stop those of *names* that run, all at once: one that is left writes to what is about to be replaced."""
        found = [replica for replica in self._named(names) if replica.running]
        with ThreadPoolExecutor(max(1, len(found))) as pool:
            list(pool.map(lambda one: self._fleets[one.service].stack.stop(one, timeout_seconds=_STOP_SECONDS), found))

    def require_ready(self, names: Names, *, seconds: float | None = None, start: bool = False) -> int:
        """How many there are, once all are ready; VerificationError names the others when time is up.

        With *start* those that do not run are started, also one that a run that was killed had just told to stop.
        """
        left: list[str] = []

        def ready() -> bool:
            if start:
                self._start(names)
            replicas = self._named(names)
            missing = {name for _, name in names} - {replica.name for replica in replicas}
            left[:] = [*missing, *(replica.name for replica in replicas if not self._is_ready(replica))]
            return not left

        bound = max((fleet.ready_seconds for fleet in self._fleets.values()), default=_LEAST_READY_SECONDS)
        if not wait_until(ready, seconds=bound if seconds is None else seconds):
            raise VerificationError(f"not ready: {', '.join(sorted(left))}; read their logs")
        return len(names)

    def _start(self, names: Names) -> None:
        """Start those of *names* that do not run."""
        found = [replica for replica in self._named(names) if not replica.running]
        with ThreadPoolExecutor(max(1, len(found))) as pool:
            list(pool.map(lambda one: self._fleets[one.service].stack.start(one, timeout_seconds=_STOP_SECONDS), found))

    def _is_ready(self, replica: Replica) -> bool:
        fleet = self._fleets[replica.service]
        if not fleet.is_ready(replica):
            return False
        url = fleet.url(replica)
        if not url:
            return True
        try:
            answer = get(f"{url}{self._probe_path}", seconds=fleet.request_seconds, verified=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _named(self, names: Names) -> list[Replica]:
        return [r for fleet in self._fleets.values() for r in fleet.replicas() if (r.service, r.name) in names]
