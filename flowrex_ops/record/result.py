"""What a run came to, for the caller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.model import Severity

_FINDING = ("cause", "severity", "title", "evidence", "next_steps")
_VERDICT = ("cause", "verdict", "reason")
_MITIGATION = ("slug", "state", "plan_hash", "targets")


class RunResult(RecordMetadata):
    """A finished run: what its record says of itself, redacted, and where record and page lie (absolute paths)."""

    record: Path
    html: Path

    @classmethod
    def of(cls, metadata: RecordMetadata, record: Path, html: Path) -> Self:
        """The result of the run that *metadata* tells of."""
        return cls(**dict(metadata), record=record, html=html)

    @property
    def folder(self) -> Path:
        """Of the incident, or of the run that belongs to none."""
        return self.record.parent.parent

    @property
    def not_applied(self) -> list[str]:
        """Mitigations that somebody approved and that did not come to their end: ``--approve`` has not done its work."""
        applied = {one.slug for one in self.mitigations if one.applied}
        return [slug for slug in self.approved if slug not in applied]

    @property
    def severity_found(self) -> Severity | None:
        """What ``--fail-on`` counts."""
        return severity_found(self)

    def to_json(self) -> dict[str, Any]:
        """The object that ``flowrex-ops run --json`` prints; ``impact``, ``notify``, ``users`` and ``next_runbooks`` are there only where something is wrong."""
        about = self.to_dict()
        more = {name: about[name] for name in ("impact", "notify", "users", "next_runbooks") if about[name]}
        return {
            **{name: about[name] for name in ("record", "html", "incident", "run")},
            "folder": str(self.folder),
            **{name: about[name] for name in ("runbook", "status", "severity", "diagnosis")},
            "findings": [_only(_FINDING, finding) for finding in about["findings"]],
            "verdicts": [_only(_VERDICT, verdict) for verdict in about["verdicts"]],
            "mitigations": [_only(_MITIGATION, mitigation) for mitigation in about["mitigations"]],
            "seconds": about["seconds"],
            **more,
        }


def severity_found(record: RecordMetadata) -> Severity | None:
    """What ``--fail-on`` counts: the worst finding, not what else is wrong at the moment; of triage, whose answer that is, it is that."""
    if record.runbook == "triage":
        return record.severity
    return min((finding.severity for finding in record.findings if finding.severity), default=None)


def _only(keys: Iterable[str], item: dict[str, Any]) -> dict[str, Any]:
    return {key: item.get(key) for key in keys}
