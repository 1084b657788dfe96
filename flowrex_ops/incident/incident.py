"""One incident: what is known of it, and how that changes from the first report to its end.

Whoever changes it holds its lock, and old and new stand on the timeline before the file changes: of two who change it at
once neither loses a word.

Facts stand in incident.json, their history on the timeline alone, which is written first and under the same lock.
Moments such as *acknowledged* are read off the timeline when they are wanted, so that no second place can disagree
with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator

from flowrex_ops.archive import timeline
from flowrex_ops.archive.folders import list_incidents
from flowrex_ops.archive.incidents import (
    INCIDENT_FILE,
    change_incident,
    find_incident,
    find_run,
    new_incident,
    take_run,
)
from flowrex_ops.archive.incidents import read_incident as read_file
from flowrex_ops.archive.index import find_notebooks, read_metadata
from flowrex_ops.archive.manifest import LOCK_SUFFIX, write_manifest
from flowrex_ops.archive.outcome import iso
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.model import Severity
from flowrex_ops.record.orphaned import recover_orphaned
from flowrex_ops.redaction.redactor import Redactor

COMMANDER = "commander"
_ALERT = ("alertname", "fingerprint", "severity", "starts_at", "ends_at", "summary", "source", "delivery")


class Status(StrEnum):
    """The playbook's four, in their order."""

    INVESTIGATING = "Investigating"
    IDENTIFIED = "Identified"
    MITIGATING = "Mitigating"
    RESOLVED = "Resolved"


Moment = Annotated[
    datetime, PlainSerializer(lambda at: at.isoformat(timespec="seconds"), return_type=str, when_used="json")
]


class Incident(BaseModel):
    """One incident as its file tells it; texts are empty and times ``None`` while nobody has said them.

    ``started`` is when users began to suffer, ``opened`` when it was noticed. ``roles`` maps a role to a person. ``security`` says
    that it is a breach or a leak.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    status: Annotated[Status, BeforeValidator(lambda text: str(text).capitalize())] = Status.INVESTIGATING
    severity: Annotated[Severity, BeforeValidator(lambda text: str(text).upper())] | None = None
    started: Moment
    opened: Moment
    title: str = ""
    service: str = ""
    impact: str = ""
    root_cause: str = ""
    resolution: str = ""
    eta: str = ""
    channel: str = ""
    ticket: str = ""
    resolved: Moment | None = None
    next_update: Moment | None = None
    roles: dict[str, str] = {}
    runbooks: dict[str, str] = {}
    security: bool = False

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        """As the first records said it, too: ``open``, and no word of when it was noticed."""
        said = {name: one for name, one in value.items() if one is not None and (name, one) != ("status", "open")}
        return {"opened": said.get("started"), **said}

    @property
    def over(self) -> bool:
        """Whether it is resolved."""
        return self.status is Status.RESOLVED

    @property
    def duration_seconds(self) -> float:
        """From its start to its end, or to now."""
        return ((self.resolved or datetime.now(UTC)) - self.started).total_seconds()


def read_incident(folder: Path) -> Incident:
    """What is known of the incident in *folder*; RecordError where its file is damaged."""
    return _understand(read_file(folder), folder.name)


def load(outputs: Path, wanted: str) -> tuple[Path, Incident]:
    """The folder and the facts of the incident that *wanted* names: an id, the beginning of one, or ``latest``."""
    folder = find_incident(outputs, wanted)
    return folder, read_incident(folder)


def find(outputs: Path) -> list[Path]:
    """Folders of all incidents that have their file, the newest first."""
    return [folder for folder in list_incidents(outputs) if (folder / INCIDENT_FILE).is_file()]


def open_new(outputs: Path, facts: Mapping[str, Any], *, by: str, redactor: Redactor) -> Path:
    """The folder of a new incident; *facts* as ``change`` takes them. ParameterError for a value that cannot be."""
    folder = new_incident(outputs, redactor.json(_checked(facts)), by=by)
    write_manifest(folder)
    return folder


def open_with(outputs: Path, wanted: str, facts: Mapping[str, Any], *, by: str, redactor: Redactor) -> Path:
    """The same with the run that *wanted* names: its records, and what they found, are the incident's first. RecordError while it runs."""
    run = find_run(outputs, wanted)
    recover_orphaned(run, redactor)
    if list(run.glob(f"records/.*{LOCK_SUFFIX}")):
        raise RecordError(f"'{run.name}' still runs; open the incident with it once it has ended")
    records = [about for path in find_notebooks(run) if (about := read_metadata(path))]
    found = {
        "started": iso(min((one.started for one in records if one.started), default=None)),
        "severity": min((one.severity for one in records if one.severity), default=None),
        "runbooks": {one.runbook: one.title for one in records},
    }
    folder = take_run(run, redactor.json(_checked(found | dict(facts))), by=by)
    write_manifest(folder)
    return folder


def change(folder: Path, facts: Mapping[str, Any], *, by: str, redactor: Redactor, note: str = "") -> Incident:
    """Set *facts* (members of ``Incident``) and add *note* to the timeline.

    Roles are added to those there are; an empty name frees a role. ParameterError for a value that cannot be: nothing is
    written then.
    """

    def decide(value: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
        wanted = redactor.json(_checked(facts, was=_understand(value, folder.name).status))
        if "roles" in wanted:
            wanted["roles"] = {k: v for k, v in {**(value.get("roles") or {}), **wanted["roles"]}.items() if v}
        if wanted.get("status") and wanted["status"] != Status.RESOLVED:
            wanted["resolved"] = None
        return wanted, _reported(value, wanted)

    value = change_incident(folder, decide, by=by)
    if note:
        timeline.append(folder, {"kind": "note", "text": redactor.text(note), "by": by})
    write_manifest(folder)
    return _understand(value, folder.name)


def close(folder: Path, *, by: str, text: str, redactor: Redactor) -> Incident:
    """Mark it resolved, now; *text* says on which ground. The checklist stands before this (``resolution``)."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ended = {"status": Status.RESOLVED.value, "resolved": now, "next_update": None}
    change_incident(folder, lambda _value: (ended, redactor.text(text)), by=by)
    write_manifest(folder)
    return read_incident(folder)


def note_alert(folder: Path, alert: Mapping[str, Any], *, state: str, redactor: Redactor) -> None:
    """Note on the timeline that *alert* (``alertname``, ``fingerprint``, ``severity`` …) is ``firing`` or ``resolved``.

    While it fires, its severity counts as the incident's where that is worse.
    """
    facts = redactor.json({name: alert[name] for name in _ALERT if alert.get(name)})
    text = f"alert {facts.get('alertname', 'without a name')} {state}"
    summary = f": {facts['summary']}" if facts.get("summary") else ""
    timeline.append(folder, {"kind": "alert", "text": text + summary, "state": state, **facts})
    level = str(facts.get("severity") or "")
    if state == "firing" and level in {one.value for one in Severity}:
        change_incident(folder, lambda value: _worse(value, level), by=f"alert {facts.get('alertname')}")
    write_manifest(folder)


def _understand(value: Mapping[str, Any], name: str) -> Incident:
    try:
        return Incident.model_validate(value)
    except ValidationError as error:
        text = f"incident '{name}' cannot be understood ({_first(error)}); restore its incident.json from a backup"
        raise RecordError(text) from None


def _checked(facts: Mapping[str, Any], *, was: Status = Status.INVESTIGATING) -> dict[str, Any]:
    """JSON values of *facts*; nothing that was not given."""
    given = {name: value for name, value in facts.items() if value}
    now = datetime.now(UTC)
    try:
        checked = Incident.model_validate({"id": "", "started": now, **given})
    except ValidationError as error:
        raise ParameterError(_first(error)) from None
    if checked.over and was is not Status.RESOLVED:
        raise ParameterError("status: an incident is resolved by its checklist; use 'flowrex-ops incident resolve'")
    if checked.started > now:
        raise ParameterError(f"started: {checked.started:%Y-%m-%d %H:%M} UTC is in the future; give a past time")
    return checked.model_dump(mode="json", include=set(given))


def _first(error: ValidationError) -> str:
    first: Mapping[str, Any] = error.errors()[0]
    wanted = first.get("ctx", {}).get("expected") or first["msg"].lower()
    return f"{first['loc'][0]}: '{first['input']}' is not one; give {wanted}"


def _reported(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The change as a line: ``status Identified (was Investigating); commander ada``."""
    said = []
    for name, new in wanted.items():
        old = value.get(name)
        if name == "roles":
            said += [f"{role} {person or 'nobody'}" for role, person in new.items() if person != (old or {}).get(role)]
        elif new and new != old:
            said.append(f"{name.replace('_', ' ')} {_text(name, new)}" + (f" (was {_text(name, old)})" if old else ""))
    return "; ".join(said)


def _text(name: str, value: str) -> str:
    return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M} UTC" if name in ("started", "next_update") else value


def _worse(value: Mapping[str, Any], level: str) -> tuple[Mapping[str, Any], str]:
    worst = min(filter(None, (value.get("severity"), level)))
    return {"severity": worst}, f"severity {worst}"
