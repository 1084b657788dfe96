"""Reminds each role whose time has come, once: on the timeline, and to the receiver that is named like the role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked
from flowrex_ops.incident.events import at
from flowrex_ops.incident.incident import Incident, find, read_incident
from flowrex_ops.incident.messages import deliver
from flowrex_ops.incident.severity import OVERDUE, Deadline, get_deadlines, key
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
        incident = read_incident(folder)
    except RecordError:
        return []  # 'records verify' names a damaged incident; the others must not wait for it
    lines = timeline.read(folder)
    deadlines = get_deadlines(incident, lines, contacts=settings.contacts, now=now)
    overdue = [one for one in deadlines if one.state == OVERDUE and not _reminded(incident, one, lines, now)]
    said = [_notify(folder, incident, one, settings) for one in overdue]
    if said:
        write_manifest(folder)
    return said


def _reminded(incident: Incident, deadline: Deadline, lines: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    wanted = (KIND, deadline.role, incident.severity)
    mine = [line for line in lines if (line.get("kind"), line.get("role"), line.get("severity")) == wanted]
    return bool(mine) and (mine[-1].get("arrived", True) or at(mine[-1]) + AGAIN > now)


def _notify(folder: Path, incident: Incident, deadline: Deadline, settings: Settings) -> str:
    redactor = Redactor(settings.secret_values())
    contact = f" ({deadline.contact})" if deadline.contact else ""
    text = (
        f"{deadline.role}{contact} was to be notified of {incident.id} ({incident.severity}) by {deadline.by:%H:%M} UTC"
    )
    receivers = {name: url for name, url in settings.notify.urls.items() if key(name) == key(deadline.role)}
    sent = deliver(receivers, title=f"{incident.id} escalation", body=text, settings=settings.notify, redactor=redactor)
    failed = [one for one in sent if not one.delivered]
    text = redactor.text("; ".join([text, *(f"not sent to {one.receiver}: {one.error}" for one in failed)]))
    event = {"kind": KIND, "text": text, "role": deadline.role, "severity": incident.severity, "arrived": not failed}
    timeline.append(folder, redactor.json(event))
    return text
