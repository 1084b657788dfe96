"""What is known of an incident: ``incident.json`` as typed data, and the values that its facts may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from flowrex_ops.errors import RecordError
from flowrex_ops.model import Severity

COMMANDER = "commander"


class Status(StrEnum):
    """The playbook's four, in their order."""

    INVESTIGATING = "Investigating"
    IDENTIFIED = "Identified"
    MITIGATING = "Mitigating"
    RESOLVED = "Resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident as its file tells it; texts are empty and times ``None`` while nobody has said them.

    ``started`` is when users began to suffer, ``opened`` when it was noticed. ``roles`` maps a role to a person.
    """

    id: str
    status: Status
    severity: Severity | None
    started: datetime
    opened: datetime
    title: str = ""
    service: str = ""
    impact: str = ""
    root_cause: str = ""
    resolution: str = ""
    eta: str = ""
    channel: str = ""
    resolved: datetime | None = None
    next_update: datetime | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    runbooks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Incident:
        """From ``incident.json``; RecordError where it is damaged."""
        try:
            status = value["status"]
            return cls(
                id=str(value["id"]),
                status=Status.INVESTIGATING if status == "open" else Status(status),  # as the first records said it
                severity=Severity(value["severity"]) if value.get("severity") else None,
                started=datetime.fromisoformat(value["started"]),
                opened=datetime.fromisoformat(value.get("opened") or value["started"]),
                resolved=_moment(value.get("resolved")),
                next_update=_moment(value.get("next_update")),
                roles=dict(value.get("roles") or {}),
                runbooks=dict(value.get("runbooks") or {}),
                channel=str(value.get("channel") or ""),
                **{name: str(value.get(name) or "") for name in TEXTS},
            )
        except (KeyError, ValueError, TypeError) as error:
            text = (
                f"incident '{value.get('id')}' cannot be understood ({error}); restore its incident.json from a backup"
            )
            raise RecordError(text) from None

    @property
    def over(self) -> bool:
        """Whether it is resolved."""
        return self.status is Status.RESOLVED

    @property
    def duration_seconds(self) -> float:
        """From its start to its end, or to now."""
        return ((self.resolved or datetime.now(UTC)) - self.started).total_seconds()


TEXTS = ("title", "service", "impact", "root_cause", "resolution", "eta")
"""The facts that are a line of text."""


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
