"""The end of a record, whether it was run here or brought in: page, incident, timeline, manifest; then it is immutable."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import note_run
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.archive.records import Slot
from flowrex_ops.archive.search import seen_before
from flowrex_ops.files import READ_ONLY, write_atomic
from flowrex_ops.model import MitigationState
from flowrex_ops.record.events import OnEvent, RunFinished
from flowrex_ops.record.recorder import Recorder
from flowrex_ops.record.result import RunResult
from flowrex_ops.redaction.redactor import Redactor

_ENDED = "run-finished"


def finish_record(recorder: Recorder, redactor: Redactor, on_event: OnEvent) -> RunResult:
    """Close *recorder*'s record; the open lock of its slot still has to be given back. RecordError where it cannot be written."""
    slot = recorder.slot
    for payload in _cut_off(recorder, {one.slug for one in recorder.findings.mitigations}):
        recorder.take(payload)
    recorder.seen_before = tuple(seen_before(slot.incident.parent, recorder.metadata()))
    record = seal(slot, recorder.finish(), redactor)
    on_event(RunFinished(record.status, record.reason))
    return RunResult.of(record, slot.notebook, slot.html)


def _cut_off(recorder: Recorder, reported: Collection[str]) -> Iterator[dict[str, Any]]:
    """Mitigations that began in this record and of which no output tells: the timeline has their intent, on disk before the deed."""
    slot, incident = recorder.slot, recorder.slot.belongs_to["incident"]
    within = f" --incident {incident}" if incident else ""
    mine = [line for line in timeline.read(slot.incident) if line.get("record") == slot.id and "slug" in line]
    for slug in dict.fromkeys(str(line["slug"]) for line in mine if line["slug"] not in reported):
        lines = [line for line in mine if line["slug"] == slug]
        after = next((str(line["text"]) for line in reversed(lines) if line["kind"] == "mitigation-step"), "its intent")
        again = f"'flowrex-ops run {recorder.runbook}{within} --approve {slug} --operator NAME'"
        undo = lines[0].get("undo")
        reason = (
            f"the run ended while this was under way, after: {after}; the timeline has every step. To finish it: {again},"
            f" which plans what is left{f'; undo: {undo}' if undo else ''}"
        )
        result: dict[str, Any] = next((one for one in reversed(lines) if one["kind"] == "mitigation-result"), {})
        yield {
            "kind": "mitigation",
            "slug": slug,
            "state": result.get("state") or MitigationState.FAILED.value,
            "reason": result.get("reason") or reason,
            "plan_hash": lines[0].get("plan_hash"),
            "action": lines[0].get("action"),
            "undo": undo,
            "targets": list(lines[0].get("targets") or ()),
        }


def seal(slot: Slot, notebook: dict[str, Any], redactor: Redactor) -> RecordMetadata:
    """What belongs to a record beside its finished *notebook*; returns what it says of itself."""
    from flowrex_ops.record.index_page import refresh_index
    from flowrex_ops.record.page import render_page

    record = RecordMetadata.model_validate(notebook["metadata"]["flowrex_ops"]["record"])
    write_atomic(slot.html, render_page(notebook), mode=READ_ONLY)
    note_run(slot.incident, runbook=record.runbook, title=record.title, severity=record.severity)
    _note_end(slot, redactor, record)
    write_manifest(slot.incident, finished=slot.notebook)
    refresh_index(slot.incident.parent)
    return record


def note(slot: Slot, redactor: Redactor, kind: str, text: str, **more: Any) -> None:
    """One line about a record on its incident's timeline."""
    timeline.append(slot.incident, {"kind": kind, "text": redactor.text(text), "record": slot.id, **more})


def _note_end(slot: Slot, redactor: Redactor, record: RecordMetadata) -> None:
    if any(line["kind"] == _ENDED and line.get("record") == slot.id for line in timeline.read(slot.incident)):
        return  # it was killed right after
    found = record.diagnosis or "no diagnosis"
    said = f"{slot.name} {record.status}: {found}" + (f" ({record.reason})" if record.reason else "")
    digest = hashlib.sha256(slot.notebook.read_bytes()).hexdigest()
    note(slot, redactor, _ENDED, said, status=record.status, diagnosis=record.diagnosis, sha256=digest)
