"""What an incident's timeline is told of alerts and of the runs that they led to: asked first, so that nothing stands there twice."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.incident.incident import note_alert
from flowrex_ops.jobs.table import NOT_STARTED, Job, Outcome
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.webhook.deduplication import Decision, Kind, Transition
from flowrex_ops.webhook.payload import Alert, Payload

_syncing = threading.Lock()
_reported_in: dict[Path, tuple[int, set[tuple[Any, ...]]]] = {}
"""Of each timeline how far it was read, and what it tells: a storm of thousands would read all of it for each alert."""


def sync_alerts(folder: Path, payload: Payload, decision: Decision, redactor: Redactor) -> None:
    """Tell of each episode's begin and end, once, however often it is sent. RecordError where that cannot be written."""
    with _syncing:
        offset, reported = _reported_in.get(folder, (0, set()))
        lines, offset = timeline.read_since(folder, offset)
        reported |= {(line.get("fingerprint"), line.get("starts_at"), line.get("state")) for line in lines}
        _reported_in[folder] = (offset, reported)
        for alert, transition in zip(payload.alerts, decision.transitions, strict=True):
            state, about = _state(alert, transition, decision), _about(alert)
            mark = (alert.fingerprint, about["starts_at"], state)
            if mark not in reported:
                note_alert(folder, about, state=state, redactor=redactor)
                reported.add(mark)


def sync_outcome(job: Job, outcome: Outcome) -> None:
    """Tell of a run that could not be made, and after a resolved alert whether the runbook still finds something."""
    if outcome.status == NOT_STARTED:
        text = f"{job.trigger}: {job.slug} could not be run: {outcome.reason}"
        _append_once(job.folder, {"kind": "run-not-started", "text": text})
    elif job.kind == Kind.VERIFICATION:
        nothing = f"finds nothing any more ({outcome.status})"
        said = f"still finds {outcome.diagnosis}" if outcome.diagnosis else nothing
        text = f"after resolved alerts {job.slug} {said}"
        _append_once(job.folder, {"kind": "verification", "text": text, "record": outcome.record_id})


def _state(alert: Alert, transition: Transition, decision: Decision) -> str:
    """``firing`` or ``resolved``, also where it is sent again; ``told late`` for what is over, or of an older episode."""
    known = decision.group.alerts[alert.fingerprint]
    over = not known.firing if alert.status == "firing" else alert.starts_at < known.starts_at
    return "told late" if over and transition is Transition.STALE else alert.status


def _append_once(folder: Path, event: Mapping[str, Any]) -> None:
    if not any(event.items() <= line.items() for line in timeline.read(folder)):
        timeline.append(folder, event)


def _about(alert: Alert) -> dict[str, Any]:
    return {
        "alertname": alert.name,
        "fingerprint": alert.fingerprint,
        "severity": alert.rank or alert.severity,
        "starts_at": alert.starts_at.isoformat(),
        "ends_at": alert.ends_at.isoformat() if alert.ends_at and alert.status == "resolved" else None,
        "summary": alert.summary,
    }
