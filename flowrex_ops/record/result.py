"""What a run came to, for the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrex_ops.model import MitigationState, RunStatus, Severity
from flowrex_ops.record.words import do_next, what_was_done

_FINDING = ("cause", "severity", "title", "evidence", "next_steps")
_VERDICT = ("cause", "verdict", "reason")
_MITIGATION = ("slug", "state", "plan_hash", "targets")


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run. ``record`` and ``html`` are absolute paths; everything is redacted.

    ``incident`` is ``None`` for a run that belongs to none; ``id`` is what people call the record; ``reason`` says why it failed or was interrupted.
    ``next_runbooks`` is what explains the symptoms that were seen, the first first; ``impact`` is the worst of these, in words.
    """

    id: str
    record: Path
    html: Path
    incident: str | None
    runbook: str
    status: RunStatus
    reason: str | None
    severity: Severity | None
    diagnosis: str | None
    findings: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]
    mitigations: tuple[dict[str, Any], ...]
    seconds: float
    next_runbooks: tuple[str, ...] = ()
    impact: str = ""
    done: str = ""
    do_next: tuple[tuple[str, str], ...] = ()
    approved: tuple[str, ...] = ()

    @classmethod
    def from_metadata(cls, record: dict[str, Any], notebook: Path, html: Path) -> RunResult:
        """The result as ``metadata.flowrex_ops.record`` of the finished *notebook* tells it."""
        known = {level.value for level in Severity}
        return cls(
            id=record["id"],
            record=notebook,
            html=html,
            incident=record["incident"],
            runbook=record["runbook"],
            status=RunStatus(record["status"]),
            reason=record["reason"],
            severity=Severity(record["severity"]) if record["severity"] in known else None,
            diagnosis=record["diagnosis"],
            findings=tuple(record["findings"]),
            verdicts=tuple(record["verdicts"]),
            mitigations=tuple(record["mitigations"]),
            seconds=record["seconds"],
            next_runbooks=tuple(record.get("next_runbooks") or ()),
            impact=str(record.get("impact") or ""),
            approved=tuple(str(one).partition("@")[0] for one in record["parameters"].get("approve") or ()),
            done=what_was_done(record["mitigations"]),
            do_next=tuple(do_next(record)),
        )

    @property
    def folder(self) -> Path:
        """Of the incident, or of the run that belongs to none."""
        return self.record.parent.parent

    @property
    def not_applied(self) -> list[str]:
        """Mitigations that somebody approved and that did not come to their end: ``--approve`` has not done its work."""
        told = {str(one["slug"]): str(one["state"]) for one in self.mitigations}
        applied = (MitigationState.VERIFIED, MitigationState.APPLIED_UNVERIFIED)
        return [slug for slug in self.approved if told.get(slug) not in applied]

    @property
    def severity_found(self) -> Severity | None:
        """What ``--fail-on`` counts."""
        found = severity_found(self.runbook, self.severity, self.findings)
        return Severity(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """The object that ``flowrex-ops run --json`` prints; ``impact`` and ``next_runbooks`` are there only where something is wrong."""
        return {
            "record": str(self.record),
            "html": str(self.html),
            "incident": self.incident,
            "run": None if self.incident else self.folder.name,
            "folder": str(self.folder),
            "runbook": self.runbook,
            "status": self.status.value,
            "severity": self.severity.value if self.severity else None,
            "diagnosis": self.diagnosis,
            "findings": [_only(_FINDING, finding) for finding in self.findings],
            "verdicts": [_only(_VERDICT, verdict) for verdict in self.verdicts],
            "mitigations": [_only(_MITIGATION, mitigation) for mitigation in self.mitigations],
            "seconds": self.seconds,
            **({"impact": self.impact} if self.impact else {}),
            **({"next_runbooks": list(self.next_runbooks)} if self.next_runbooks else {}),
        }


def severity_found(runbook: str, severity: str | None, findings: Iterable[Mapping[str, Any]]) -> str | None:
    """What ``--fail-on`` counts: the worst finding, not what else is wrong at the moment; of triage, whose answer that is, it is that."""
    if runbook == "triage":
        return severity
    return min((str(finding["severity"]) for finding in findings if finding.get("severity")), default=None)


def _only(keys: tuple[str, ...], item: dict[str, Any]) -> dict[str, Any]:
    return {key: item.get(key) for key in keys}
