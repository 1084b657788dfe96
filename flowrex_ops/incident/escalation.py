"""Roles that this tool notifies by itself: who is due when an incident is opened, and who is overdue, once for each severity.

A role is notified through the receivers that are named like it (``notify.urls``); the timeline says what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import MissingExtraError, RecordError, SettingsError
from flowrex_ops.extras import require
from flowrex_ops.files import locked
from flowrex_ops.incident.events import at
from flowrex_ops.incident.incident import COMMANDER, Incident, find, read_incident
from flowrex_ops.incident.messages import Delivery, deliver
from flowrex_ops.incident.severity import (
    DUE,
    KIND,
    OVERDUE,
    ROLES,
    SECONDARY,
    Deadline,
    get_contacts,
    get_deadlines,
    key,
    respond_by,
    update_due,
)
from flowrex_ops.model import Severity
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

REMINDER = "reminder"
TOOL = "flowrex-ops"
"""Who notified: a word of this tool is nobody's acknowledgement."""
_UPDATE = "Next message"
_LOCK = ".reminders.lock"
_UNANSWERED = timedelta(minutes=5)
"""So long after somebody should have answered the secondary on-call is called (PagerDuty's guide: five minutes)."""
_AGAIN = timedelta(minutes=5)
"""A reminder that did not arrive is tried again after this."""


def notify_opened(folder: Path, settings: Settings) -> list[Delivery]:
    """Notify the on-call engineer, and whoever else is due at once, of an incident that was just opened.

    Not of a P3, which waits for the next morning, and not whoever is in command already. One that cannot be reached is reminded later.
    """
    incident = read_incident(folder)
    deadlines = get_deadlines(incident, timeline.read(folder), contacts=settings.contacts, now=datetime.now(UTC))
    first, soon = ROLES[0], incident.severity is not Severity.P3
    roles = [one.role for one in deadlines if one.state == OVERDUE or (soon and (one.role, one.state) == (first, DUE))]
    if incident.severity is None and not incident.roles.get(COMMANDER):
        roles = [first, *roles]
    said = f"{incident.severity or 'severity not known yet'}: {incident.title}; {incident.channel}"
    sent = [one for role in roles for one in _notify_role(folder, incident, role, said, settings)]
    if sent:
        write_manifest(folder)
    return sent


def _notify_role(folder: Path, incident: Incident, role: str, said: str, settings: Settings) -> list[Delivery]:
    sent = _reach(role, f"{incident.id} opened", said, settings)
    failed = [one for one in sent if not one.delivered]
    text = "; ".join([f"{role} notified" if not failed else f"{role} was not notified", *map(str, failed)])
    event: dict[str, Any] = {"kind": KIND, "role": role, "by": TOOL}
    if failed:
        event = {"kind": REMINDER, "role": role, "severity": incident.severity, "arrived": False}
    if sent:
        timeline.append(folder, Redactor(settings.secret_values()).json({**event, "text": text}))
    return sent


def page(folder: Path, role: str, text: str, settings: Settings, *, by: str) -> list[Delivery]:
    """Notify *role* of the incident in *folder* now. SettingsError where no receiver is named like it.

    That it was notified stands on the timeline as *by*'s word; a receiver that fails is named there, and is tried no more.
    """
    incident = read_incident(folder)
    said = f"{incident.severity or 'severity not known yet'}: {incident.title}; {incident.channel}; {text or 'please join'}"
    sent = _reach(role, f"{incident.id}: {role}", said, settings)
    if not sent:
        name = role.lower().replace(" ", "-")
        raise SettingsError(f"no receiver is named like '{role}'; set notify.urls.{name} to an apprise URL")
    failed = [str(one) for one in sent if not one.delivered]
    done = "could not be paged" if failed else "paged"
    reported = "; ".join([f"{role} {done}: {text or 'please join'}", *failed])
    kind = REMINDER if failed else KIND
    event = Redactor(settings.secret_values()).json({"kind": kind, "role": role, "by": by, "text": reported})
    timeline.append(folder, event)
    write_manifest(folder)
    return sent


def remind(settings: Settings, *, now: datetime | None = None) -> list[str]:
    """Remind every role that is overdue in an open incident, once for each severity; the lines that were written.

    Several processes may do this at once: one of them reminds. A reminder that did not arrive says so, and is tried again.
    """
    now = now or datetime.now(UTC)
    said = []
    settings.outputs.mkdir(parents=True, exist_ok=True)
    with locked(settings.outputs / _LOCK):
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
    if answer := respond_by(incident, lines):
        by = answer + _UNANSWERED
        contact = get_contacts(settings.contacts)[SECONDARY]
        deadlines.append(Deadline(SECONDARY, contact, by, OVERDUE if now >= by else DUE))
    overdue = [one for one in deadlines if one.state == OVERDUE and not _reminded(incident, one.role, lines, now)]
    said = [_remind_role(folder, incident, one, settings) for one in overdue]
    promised = update_due(incident, lines)
    reported = [line for line in lines if promised and line.get("promised") == promised.isoformat()]
    if promised and now >= promised and not _reminded(incident, _UPDATE, reported, now):
        said.append(_remind_update(folder, incident, promised, settings))
    if said:
        write_manifest(folder)
    return said


def _reminded(incident: Incident, role: str, lines: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    wanted = (REMINDER, role, incident.severity)
    mine = [line for line in lines if (line.get("kind"), line.get("role"), line.get("severity")) == wanted]
    return bool(mine) and (mine[-1].get("arrived", True) or at(mine[-1]) + _AGAIN > now)


def _remind_role(folder: Path, incident: Incident, deadline: Deadline, settings: Settings) -> str:
    who = f"{deadline.role} ({deadline.contact})" if deadline.contact else deadline.role
    text = f"{who} was to be notified of {incident.id} ({incident.severity}) by {deadline.by:%H:%M} UTC"
    if deadline.role == SECONDARY:
        text += ", for nobody works on it yet"
    sent = _reach(deadline.role, f"{incident.id} escalation", text, settings)
    return _note_reminder(folder, incident, deadline.role, text, sent, settings)


def _remind_update(folder: Path, incident: Incident, promised: datetime, settings: Settings) -> str:
    """Whoever answers the incident forgets first what was promised."""
    text = f"an update of {incident.id} ({incident.severity or 'no severity yet'}) was due at {promised:%H:%M} UTC; flowrex-ops message update {incident.id} --send"
    sent = _reach(ROLES[0], f"{incident.id} update", text, settings)
    return _note_reminder(folder, incident, _UPDATE, text, sent, settings, promised=promised.isoformat())


def _note_reminder(
    folder: Path, incident: Incident, role: str, text: str, sent: Sequence[Delivery], settings: Settings, **more: str
) -> str:
    """On the timeline, with what did not arrive; that is tried again."""
    failed = [one for one in sent if not one.delivered]
    redactor = Redactor(settings.secret_values())
    text = redactor.text("; ".join([text, *map(str, failed)]))
    event = {"kind": REMINDER, "role": role, "severity": incident.severity, "arrived": not failed, **more}
    timeline.append(folder, redactor.json({**event, "text": text}))
    return text


def _reach(role: str, title: str, text: str, settings: Settings) -> list[Delivery]:
    """What became of it at each receiver of the *role*; nothing where it has none."""
    receivers = {name: url for name, url in settings.notify.urls.items() if key(name) == key(role)}
    try:
        if receivers:
            require("notifying", "notify", "apprise")
    except MissingExtraError as error:
        return [Delivery(name, delivered=False, error=str(error)) for name in receivers]
    redactor = Redactor(settings.secret_values())
    return deliver(receivers, title=title, body=text, settings=settings.notify, redactor=redactor)
