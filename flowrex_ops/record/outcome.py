"""What a run found, gathered from its outputs as they appear.

The closing ``outcome`` output is optional: a run may die before it. A later verdict on a cause replaces the earlier
one, so does a later outcome of a mitigation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flowrex_ops.archive.outcome import Judged, MitigationResult, RunOutcome
from flowrex_ops.causes import ranked
from flowrex_ops.model import OUTCOME_MIME_TYPE, RunStatus, Verdict, VerdictKind
from flowrex_ops.record.events import Event, MitigationSeen, VerdictSeen

_VERDICT: TypeAdapter[Verdict] = TypeAdapter(Judged)


def payloads(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The machine-readable outputs of an executed *notebook* (nbformat 4 as dicts), in its order."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data")
            payload = data.get(OUTCOME_MIME_TYPE) if isinstance(data, dict) else None
            if isinstance(payload, dict):
                yield payload


class Findings:
    """The verdicts and mitigations seen so far, and what the closing outcome says."""

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._mitigations: dict[str, MitigationResult] = {}
        self._closing = RunOutcome()

    def take(self, payload: object) -> Event | None:
        """Note one machine-readable output; what it means as an event, or ``None`` where it is not for anyone, or not as we write it."""
        if not isinstance(payload, Mapping):
            return None
        try:
            return self._take(payload)
        except ValidationError:
            return None

    def _take(self, payload: Mapping[Any, Any]) -> Event | None:
        kind = payload.get("kind")
        if kind == "verdict":
            finding = payload.get("finding")
            # The title and the next steps of a confirmed one stand in its finding.
            verdict = _VERDICT.validate_python({**(finding if isinstance(finding, Mapping) else {}), **payload})
            self._verdicts[verdict.cause] = verdict
            return VerdictSeen(verdict)
        if kind == "mitigation":
            mitigation = MitigationResult.model_validate(payload)
            self._mitigations[mitigation.slug] = mitigation
            return MitigationSeen(mitigation)
        if kind == "outcome":
            self._close(RunOutcome.model_validate(payload))
        return None

    def _close(self, closing: RunOutcome) -> None:
        """The closing outcome is the last word; it replaces what it names."""
        self._closing = closing
        if "verdicts" in closing.model_fields_set:
            self._verdicts = {one.cause: one for one in closing.verdicts}
        if "mitigations" in closing.model_fields_set:
            self._mitigations = {one.slug: one for one in closing.mitigations}

    @property
    def mitigations(self) -> tuple[MitigationResult, ...]:
        """One per mitigation, its last state."""
        return tuple(self._mitigations.values())

    @property
    def status(self) -> RunStatus:
        """Of a run that came to its end: ``partial`` where a verdict is inconclusive."""
        unknown = any(verdict.kind is VerdictKind.INCONCLUSIVE for verdict in self._verdicts.values())
        return RunStatus.PARTIAL if unknown else RunStatus.COMPLETE

    @property
    def outcome(self) -> RunOutcome:
        """All of it. Findings are ranked, the first is the diagnosis, unless the closing outcome says otherwise."""
        confirmed = tuple(ranked(one for one in self._verdicts.values() if one.confirmed))
        findings = self._closing.findings if "findings" in self._closing.model_fields_set else confirmed
        found = {
            "findings": findings,
            "verdicts": tuple(self._verdicts.values()),
            "mitigations": self.mitigations,
            "diagnosis": self._closing.diagnosis or next((one.cause for one in findings), None),
            "severity": self._closing.severity or min((one.severity for one in findings if one.severity), default=None),
        }
        return self._closing.model_copy(update=found)
