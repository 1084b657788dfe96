"""What a fault is: it starts, it can be seen to be in place, it stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

DEFAULT_THRESHOLDS: Mapping[str, float] = {
    "idle_after_seconds": 10,
    "long_query_seconds": 60,
    "blocked_after_seconds": 2,
    "orphan_after_seconds": 60,
}
"""From which age on the runbook takes something for trouble; its own defaults."""

_MARGIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Fault(ABC):
    """Something that goes wrong for real. Frozen: what is going on is asked of the platform, not remembered."""

    name: ClassVar[str]
    threshold: ClassVar[str] = ""
    """The runbook's parameter that says how old this must be to count; none where age does not matter."""

    @abstractmethod
    def start(self, sandbox: Sandbox) -> None:
        """Set it off."""

    @abstractmethod
    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        """Whether the platform shows it, and has for *age_seconds*."""

    @abstractmethod
    def stop(self, sandbox: Sandbox) -> None:
        """Take it away; nothing happens where it is not there."""

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Set it off and return once it is in place and old enough to be noticed."""
        age_seconds = {**DEFAULT_THRESHOLDS, **thresholds}.get(self.threshold, 0.0) + _MARGIN_SECONDS
        self.start(sandbox)
        self.await_in_place(sandbox, age_seconds, timeout_seconds=age_seconds + 30)

    def await_in_place(self, sandbox: Sandbox, age_seconds: float, *, timeout_seconds: float) -> None:
        """Return once the platform has shown it for *age_seconds*."""
        await_condition(
            lambda: self.in_place(sandbox, age_seconds),
            f"fault '{self.name}' was in place",
            timeout_seconds=timeout_seconds,
            poll_seconds=0.2,
            details=lambda: "the platform does not show it; run 'flowrex-ops drill heal' and try again",
        )
