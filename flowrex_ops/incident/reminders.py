"""Reminds each role whose time has come, once: on the timeline, and to the receiver that is named like the role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import read_incident
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked
from flowrex_ops.incident.escalation import OVERDUE, Deadline, get_deadlines, key
from flowrex_ops.incident.facts import Incident
from flowrex_ops.incident.lifecycle import find
from flowrex_ops.incident.notify import send
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

KIND = "reminder"
LOCK = ".reminders.lock"
AGAIN = timedelta(minutes=5)
"""A reminder that did not arrive is tried again after this."""


def remind(settings: Settings, *, now: datetime | None = None) -> list[str]:
    """Remind every role that is overdue in an open incident, once for each severity; the lines that were written.

    Several processes may do this at once: one of them reminds. A reminder that did not arrive says so, and is tried again.
    """
    now = now or datetime.now(UTC)
    said = []
    settings.outputs.mkdir(parents=True, exist_ok=True)
    with locked(settings.outputs / LOCK):
        for folder in find(settings.outputs):
            said += _remind_of(folder, settings, now)
    return said


def _remind_of(folder: Path, settings: Settings, now: datetime) -> list[str]:
    if timeline.is_fetched(folder):
        return []  # its own machine does
    try:
        incident = Incident.from_dict(read_incident(folder))
    except RecordError:
        return []  # 'records verify' names a damaged incident; the others must not wait for it
    lines = timeline.read(folder)
    overdue = [
        one for one in get_deadlines(incident, lines, contacts=settings.contacts, now=now) if one.state == OVERDUE
    ]
    said = [_tell(folder, incident, one, settings) for one in overdue if not _reminded(incident, one, lines, now)]
    if said:
        write_manifest(folder)
    return said


def _reminded(incident: Incident, deadline: Deadline, lines: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    mine = [
        line
        for line in lines
        if line.get("kind") == KIND and line.get("role") == deadline.role and line.get("severity") == incident.severity
    ]
    failed_long_ago = mine and not mine[-1].get("arrived", True) and _at(mine[-1]) + AGAIN <= now
    return bool(mine) and not failed_long_ago


def _tell(folder: Path, incident: Incident, deadline: Deadline, settings: Settings) -> str:
    redactor = Redactor(settings.secret_values())
    contact = f" ({deadline.contact})" if deadline.contact else ""
    text = f"{deadline.role}{contact} was to be told of {incident.id} ({incident.severity}) by {deadline.by:%H:%M} UTC"
    receivers = {name: url for name, url in settings.notify.urls.items() if key(name) == key(deadline.role)}
    sent = send(receivers, title=f"{incident.id} escalation", body=text, settings=settings.notify, redactor=redactor)
    arrived = all(delivery.delivered for delivery in sent)
    text += "".join(f"; not sent to {one.receiver}: {one.error}" for one in sent if not one.delivered)
    event = {"kind": KIND, "text": text, "role": deadline.role, "severity": incident.severity, "arrived": arrived}
    timeline.append(folder, redactor.json(event))
    return redactor.text(text)


def _at(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(line["at"]))
