"""What a drill is: faults, with the causes that the runbook must confirm and must rule out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowrex_ops.causes import causes_by_runbook

if TYPE_CHECKING:
    from flowrex_sandbox.faults.base import Fault

BOTH = ("supervisor", "compose")
COMPOSE_ONLY = ("compose",)


@dataclass(frozen=True, slots=True)
class Drill:
    """A scenario.

    ``expected``: the causes to confirm, the first is the diagnosis. ``approve``: the mitigations that bring recovery
    if ``cures``, or a part of it if not. ``leads_to`` is the runbook that triage must suggest first; ``alerts`` are those
    that must fire. ``leaves`` are those of ``approve`` that do what they plan and are not verified, since users feel it still.
    """

    runbook: str
    scenario: str
    title: str
    faults: tuple[Fault, ...] = ()
    expected: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    cures: bool = True
    stacks: tuple[str, ...] = BOTH
    parameters: Mapping[str, Any] = field(default_factory=dict)
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


def drills_of(runbook: str, **parameters: Any) -> Callable[..., Drill]:
    """A function that makes drills of *runbook*, run with these parameters."""

    def make(
        scenario: str,
        *faults: Fault,
        title: str = "",
        expected: str = "",
        approve: str = "",
        alerts: str = "",
        leaves: str = "",
        cures: bool = True,
        **more: Any,
    ) -> Drill:
        """Causes, mitigations and alerts are words of a text. Without a title, the faults' own words are one."""
        return Drill(
            runbook,
            scenario,
            title or _title(faults, harmless=not expected),
            faults,
            expected=tuple(expected.split()),
            approve=tuple(approve.split()),
            alerts=tuple(alerts.split()),
            leaves=tuple(leaves.split()),
            cures=cures and bool(approve),
            **{"parameters": parameters, **more},
        )

    return make


def _title(faults: tuple[Fault, ...], *, harmless: bool) -> str:
    kind = "red herring: " if harmless else "two at once: " if len(faults) > 1 else ""
    return kind + "; ".join(fault.summary for fault in faults)
