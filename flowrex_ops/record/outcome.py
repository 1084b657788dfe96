"""What a run found, gathered from its outputs as they appear.

The closing ``outcome`` output is optional: a run may die before it. A later verdict on a cause replaces the earlier
one, so does a later outcome of a mitigation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowrex_ops.causes import worst_first
from flowrex_ops.model import OUTCOME_MIME_TYPE, RunStatus, VerdictKind
from flowrex_ops.record.events import Event, MitigationSeen, ReadingSeen, VerdictSeen

_SAID = ("platform", "stack", "operator", "configuration")


def payloads(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The machine-readable outputs of an executed *notebook* (nbformat 4 as dicts), in its order."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data")
            payload = data.get(OUTCOME_MIME_TYPE) if isinstance(data, dict) else None
            if isinstance(payload, dict):
                yield payload


class Findings:
    """The verdicts, findings, mitigations and readings seen so far; all plain JSON as in ``run --json``."""

    def __init__(self) -> None:
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._findings: dict[str, dict[str, Any]] = {}
        self._mitigations: dict[str, dict[str, Any]] = {}
        self.readings: list[dict[str, Any]] = []
        self._closing: dict[str, Any] = {}

    def take(self, payload: object) -> Event | None:
        """Note one machine-readable output; what it means as an event, or ``None`` where it is not for anyone."""
        if not isinstance(payload, Mapping):
            return None
        data = {str(key): value for key, value in payload.items()}
        kind = data.pop("kind", None)
        if kind == "verdict" and isinstance(data.get("cause"), str):
            return self._take_verdict(data)
        if kind == "mitigation" and isinstance(data.get("slug"), str):
            self._mitigations[data["slug"]] = data
            return MitigationSeen(data)
        if kind == "reading":
            self.readings.append(data)
            return ReadingSeen(data)
        if kind == "outcome":
            self._take_outcome(data)
        return None

    def _take_verdict(self, data: dict[str, Any]) -> Event:
        cause, finding = data["cause"], data.pop("finding", None)
        self._verdicts[cause] = data
        self._findings.pop(cause, None)
        if isinstance(finding, dict) and data.get("verdict") == VerdictKind.CONFIRMED:
            self._findings[cause] = finding
            return VerdictSeen(data, finding)
        return VerdictSeen(data, None)

    def _take_outcome(self, data: dict[str, Any]) -> None:
        """The closing outcome is the last word; it replaces what it names."""
        self._closing = data
        for name, key, into in (
            ("verdicts", "cause", self._verdicts),
            ("findings", "cause", self._findings),
            ("mitigations", "slug", self._mitigations),
        ):
            items = [item for item in _dicts(data.get(name)) if isinstance(item.get(key), str)]
            if isinstance(data.get(name), list):
                into.clear()
                into.update({item[key]: item for item in items})
        if isinstance(data.get("readings"), list):
            self.readings = _dicts(data["readings"])

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One per cause, in the order in which the causes were first judged."""
        return list(self._verdicts.values())

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Confirmed causes, the most severe first; among equals what explains the most, then the nearest to the root."""
        if isinstance(self._closing.get("findings"), list):
            return list(self._findings.values())
        share = {cause: float(verdict.get("share") or 0) for cause, verdict in self._verdicts.items()}
        return sorted(
            self._findings.values(),
            key=lambda f: worst_first(VerdictKind.CONFIRMED, f.get("severity"), share.get(f["cause"], 0), f["cause"]),
        )

    @property
    def mitigations(self) -> list[dict[str, Any]]:
        """One per mitigation, its last state."""
        return list(self._mitigations.values())

    @property
    def diagnosis(self) -> str | None:
        """The cause of the first finding."""
        closing: str | None = self._closing.get("diagnosis")
        return closing or next((str(finding["cause"]) for finding in self.findings), None)

    @property
    def severity(self) -> str | None:
        """The worst severity of all findings."""
        closing: str | None = self._closing.get("severity")
        return closing or min((str(f["severity"]) for f in self.findings if f.get("severity")), default=None)

    @property
    def status(self) -> RunStatus:
        """Of a run that came to its end: ``partial`` where a verdict is inconclusive."""
        unknown = any(verdict.get("verdict") == VerdictKind.INCONCLUSIVE for verdict in self.verdicts)
        return RunStatus.PARTIAL if unknown else RunStatus.COMPLETE

    def to_metadata(self) -> dict[str, Any]:
        """``{severity, impact, diagnosis, findings, verdicts, mitigations, readings, next_runbooks}``; ``platform``, ``stack``, ``operator``, ``configuration``."""
        said = {key: self._closing[key] for key in _SAID if self._closing.get(key)}
        return {
            "severity": self.severity,
            "impact": str(self._closing.get("impact") or ""),
            "diagnosis": self.diagnosis,
            "findings": self.findings,
            "verdicts": self.verdicts,
            "mitigations": self.mitigations,
            "readings": self.readings,
            "next_runbooks": list(self._closing.get("next_runbooks") or ()),
            **said,
        }


def _dicts(value: object) -> list[dict[str, Any]]:
    return [dict(item) for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
