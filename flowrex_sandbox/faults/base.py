"""What a fault is: it starts, it can be seen to be in place, it stops; and the kinds that most faults are of."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, dataclass_transform

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.clients import end_clients
from flowrex_sandbox.faults.replicas import halt
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

DEFAULT_THRESHOLDS: Mapping[str, float] = {
    "idle_after_seconds": 10,
    "long_query_seconds": 60,
    "blocked_after_seconds": 2,
    "orphan_after_seconds": 60,
}
"""From which age on the runbook takes something for trouble; its own defaults."""

ENOUGH = 4
"""So many requests, trades or connections must have felt a fault before the runbook is asked."""

STOP_SECONDS = 20.0
_MARGIN_SECONDS = 0.5
_NAMES = ("PostgreSQL", "NGINX", "Redis", "WebSocket")


@dataclass_transform(frozen_default=True)
class Fault(ABC):
    """Something that goes wrong for real. Frozen: what is going on is asked of the platform, not remembered."""

    name: ClassVar[str]
    service: ClassVar[str] = "backend"
    """Whose replicas it strikes."""
    threshold: ClassVar[str] = ""
    """The runbook's parameter that says how old this must be to count; none where age does not matter."""
    rank: ClassVar[int] = 3
    """Those of a lower rank are reset first: services must answer (0 to 2) before anything is asked of them, and replicas can
    be ready (4) only once nothing holds the database."""

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()
        dataclass(frozen=True)(cls)

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        line = (self.__doc__ or self.name).splitlines()[0].rstrip(".")
        return line if line.startswith(_NAMES) else line[0].lower() + line[1:]

    @abstractmethod
    def start(self, sandbox: Sandbox) -> None:
        """Set it off."""

    @abstractmethod
    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        """Whether the platform shows it, and has for *age_seconds*."""

    def stop(self, sandbox: Sandbox) -> None:  # noqa: B027  # what is over by itself needs none
        """Take it away; nothing happens where it is not there."""

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Set it off and return once it is in place and old enough to be noticed."""
        age_seconds = {**DEFAULT_THRESHOLDS, **thresholds}.get(self.threshold, 0.0) + _MARGIN_SECONDS
        self.start(sandbox)
        self.await_in_place(sandbox, age_seconds)

    def await_in_place(self, sandbox: Sandbox, age_seconds: float = 0) -> None:
        """Return once the platform has shown it for *age_seconds*."""
        await_condition(
            lambda: self.in_place(sandbox, age_seconds),
            f"fault '{self.name}' was in place",
            timeout_seconds=age_seconds + 30,
            poll_seconds=0.2,
            details=lambda: (
                "the platform does not show it; run 'flowrex-ops drill reset' and try again, with its traffic running"
            ),
        )


class PastFault(Fault):
    """One that is over: ``in_place`` says for how long."""

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Have it, and return once it is no longer recent."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("recent_minutes", 0.0))


class ReplicaBug(Fault):
    """Bugs in every replica of the backend, or in the first alone; each so many times at once."""

    bugs: ClassVar[tuple[str, ...]]
    everywhere: ClassVar[bool] = True
    count: int = 1

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas()[: None if self.everywhere else 1]:
            for bug in self.bugs:
                sandbox.ask(replica, f"/_sandbox/bugs/{bug}?count={self.count}", method="POST")

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, "/_sandbox/heal", method="POST")


class Stopped(Fault):
    """A service was stopped."""

    rank = 2

    def start(self, sandbox: Sandbox) -> None:
        if not (replicas := sandbox.replicas(self.service)):
            raise SandboxError(f"no '{self.service}' runs in this sandbox; install it and start a new sandbox")
        for replica in replicas:
            sandbox.stack().stop(replica, timeout_seconds=STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not sandbox.replicas(self.service)

    def stop(self, sandbox: Sandbox) -> None:
        exited = [replica for replica in sandbox.stack().get_replicas(self.service) if replica.state == "exited"]
        for replica in exited:
            sandbox.stack().start(replica, timeout_seconds=STOP_SECONDS)
        if exited:
            self.await_answer(sandbox)

    def await_answer(self, sandbox: Sandbox) -> None:
        """Return once the service answers again."""


class Halted(Fault):
    """Every process of a service is halted, or of its first ``only`` replicas: it accepts, and does not answer."""

    rank = 0
    only: int | None = None

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas(self.service)[: self.only]:
            halt(sandbox, replica, halted=True)

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.stack().get_replicas(self.service):
            halt(sandbox, replica, halted=False)


class TroubleClient(Fault):
    """A client that makes trouble, as a process of its own; whichever there are, they are ended together."""

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox)
