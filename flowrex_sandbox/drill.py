"""What a drill is: faults, with the causes that the runbook must confirm and must rule out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrex_ops.causes import causes_by_runbook
from flowrex_sandbox import faults as f

FAST: Mapping[str, float] = {
    "idle_after_seconds": 2,
    "long_query_seconds": 3,
    "blocked_after_seconds": 1,
    "orphan_after_seconds": 2,
}
"""Thresholds with which nobody has to wait a minute for a query to count as long."""

BOTH = ("supervisor", "compose")


@dataclass(frozen=True, slots=True)
class Drill:
    """A scenario.

    ``expected``: the causes to confirm, the first is the diagnosis. ``approve``: the mitigations that bring recovery
    if ``cures``, or a part of it if not. ``leads_to`` is the runbook that triage must suggest first; ``alerts`` are those
    that must fire. ``leaves`` are those of ``approve`` that do what they plan and are not verified, since users feel it still.
    """

    scenario: str
    title: str
    faults: tuple[f.Fault, ...] = ()
    expected: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    cures: bool = False
    runbook: str = "database_connections"
    stacks: tuple[str, ...] = BOTH
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(FAST))
    leads_to: str = ""
    alerts: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Causes that would be false: all of the runbook's that are not expected."""
        return tuple(cause for cause in causes_by_runbook()[self.runbook] if cause not in self.expected)

    def to_dict(self) -> dict[str, Any]:
        """``{scenario, title, runbook, expected, forbidden, stacks, …}`` as ``drill list --json`` prints it."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "runbook": self.runbook,
            "faults": [fault.name for fault in self.faults],
            "expected": list(self.expected),
            "forbidden": list(self.forbidden),
            "stacks": list(self.stacks),
            "parameters": dict(self.parameters),
            "approve": list(self.approve),
            "cures": self.cures,
            "leads_to": self.leads_to,
            "alerts": list(self.alerts),
        }
