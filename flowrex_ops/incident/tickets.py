"""An incident's ticket: made once, its address kept with the incident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import PreconditionError, SettingsError, SourceUnavailableError
from flowrex_ops.incident.incident import Incident, change, read_incident
from flowrex_ops.incident.messages import read_records
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.resource_lock import resource_lock
from flowrex_ops.settings import Settings
from flowrex_ops.ticket import UNSURE, fill, post

KIND = "ticket"


def draft(folder: Path, settings: Settings, redactor: Redactor) -> Any:
    """What would be sent. SettingsError where no tracker is set."""
    if not settings.ticket.url:
        raise SettingsError("no tracker is set; set ticket.url, and what it wants (docs/incidents.md)")
    return redactor.json(fill(settings.ticket.body, _facts(read_incident(folder), folder, settings)))


def send(folder: Path, settings: Settings, *, by: str, redactor: Redactor, force: bool = False) -> str:
    """Make the ticket and keep its address, which is returned; that of the one there is, if any.

    PreconditionError where one may be there whose address nobody knows, unless *force*.
    """
    with resource_lock(settings.outputs, settings.platform, f"ticket-{folder.name}", by):
        if known := read_incident(folder).ticket:
            return known
        if not force and any(line.get("kind") == KIND for line in timeline.read(folder)):
            raise PreconditionError(
                f"a ticket of {folder.name} may be there, for an earlier try was cut off; look in the tracker, then give its --address, or --force"
            )
        try:
            address = post(settings.ticket, draft(folder, settings, redactor))
        except SourceUnavailableError as error:
            said = redactor.text(str(error))
            if error.code == UNSURE:
                timeline.append(folder, {"kind": KIND, "text": f"ticket: {said}", "by": by})
                write_manifest(folder)
            raise SourceUnavailableError(said, code=error.code) from None
        return change(folder, {"ticket": address}, by=by, redactor=redactor).ticket


def _facts(incident: Incident, folder: Path, settings: Settings) -> dict[str, str]:
    """What a template may name."""
    found = read_records(folder).diagnosis
    said = [
        f"{incident.status} since {incident.started:%Y-%m-%d %H:%M} UTC, {settings.platform} {incident.service}".strip(),
        incident.impact and f"Impact: {incident.impact}",
        f"Cause: {incident.root_cause or found or 'not known yet'}",
        incident.runbooks and f"Runbooks: {', '.join(incident.runbooks)}",
    ]
    return {
        "id": incident.id,
        "title": incident.title or "without a title",
        "severity": incident.severity or "without a severity",
        "link": fill(settings.ticket.link, {"id": incident.id}),
        "summary": "\n".join(str(line) for line in said if line),
    }
