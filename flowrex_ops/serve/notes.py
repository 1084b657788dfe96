"""What an incident's timeline is told of alerts and of the runs that they led to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import ensure_incident
from flowrex_ops.errors import RecordError
from flowrex_ops.incident.lifecycle import note_alert
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.serve.decisions import Kind, Meaning
from flowrex_ops.serve.queue import Delivery, Job, Queue

_WORDS = {
    Meaning.NEW: "firing",
    Meaning.REPEATED: "firing",
    Meaning.RESOLVED: "resolved",
    Meaning.STALE: "told late",
}


def note_deliveries(queue: Queue, outputs: Path, redactor: Redactor) -> None:
    """Write onto the timelines what they lack of accepted alerts; what a crash wrote already is not written twice.

    RecordError where a timeline cannot be written: the rest is tried again with the next call.
    """
    for delivery in queue.to_note():
        folder = ensure_incident(outputs, delivery.incident, title=delivery.title)
        if not _stands_there(folder, delivery.id):
            note_alert(folder, _about(delivery), state=_WORDS[delivery.meaning], redactor=redactor)
        queue.noted(delivery)


def note_end(folder: Path, job: Job, record: str, result: Mapping[str, Any]) -> None:
    """After a resolved alert: whether the runbook still finds something."""
    if job.kind is Kind.VERIFICATION:
        found = result.get("diagnosis")
        said = f"still finds {found}" if found else f"finds nothing any more ({result.get('status')})"
        _append(
            folder, {"kind": "verification", "text": f"after resolved alerts {job.runbook} {said}", "record": record}
        )


def note_failure(folder: Path, job: Job, reason: str) -> None:
    """A run that could not be made."""
    _append(folder, {"kind": "run-not-started", "text": f"{job.trigger}: {job.runbook} could not be run: {reason}"})


def _append(folder: Path, event: Mapping[str, Any]) -> None:
    try:
        timeline.append(folder, event)
    except RecordError:
        return  # the queue has it too; a disk that is full costs no other run


def _about(delivery: Delivery) -> dict[str, Any]:
    alert = delivery.alert
    return {
        "alertname": alert.name,
        "fingerprint": alert.fingerprint,
        "severity": alert.rank or alert.severity,
        "starts_at": alert.starts_at.isoformat(),
        "ends_at": alert.ends_at.isoformat() if alert.ends_at and alert.status == "resolved" else None,
        "summary": alert.summary,
        "delivery": delivery.id,
    }


def _stands_there(folder: Path, delivery: int) -> bool:
    return any(line.get("kind") == "alert" and line.get("delivery") == delivery for line in timeline.read(folder))
