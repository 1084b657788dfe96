"""An incident from the first report to its end: opened, changed, told of alerts, resolved.

Whoever changes it holds its lock, and old and new stand on the timeline before the file changes: of two who change it at
once neither loses a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import change_incident, new_incident, read_incident
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.escalation import KIND as ESCALATION
from flowrex_ops.incident.escalation import key
from flowrex_ops.incident.facts import TEXTS, Incident, Status
from flowrex_ops.incident.severity import ROLES
from flowrex_ops.model import Severity
from flowrex_ops.redaction.redactor import Redactor

_ALERT = ("alertname", "fingerprint", "severity", "starts_at", "ends_at", "summary", "source", "delivery")


def open_new(outputs: Path, facts: Mapping[str, Any], *, by: str, redactor: Redactor) -> Path:
    """The folder of a new incident; *facts* as ``change`` takes them. ParameterError for a value that cannot be."""
    folder = new_incident(outputs, redactor.json(_checked(facts, status=None)), by=by)
    write_manifest(folder)
    return folder


def change(folder: Path, facts: Mapping[str, Any], *, by: str, redactor: Redactor, note: str = "") -> Incident:
    """Set *facts* (texts, ``severity``, ``status``, ``started``, ``next_update``, ``roles``) and add *note* to the timeline.

    Roles are added to those there are; an empty name frees a role. ParameterError for a value that cannot be: nothing is
    written then.
    """

    def decide(value: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
        wanted = redactor.json(_checked(facts, status=Incident.from_dict(value).status))
        if "roles" in wanted:
            wanted["roles"] = {k: v for k, v in {**(value.get("roles") or {}), **wanted["roles"]}.items() if v}
        if wanted.get("status") and wanted["status"] != Status.RESOLVED:
            wanted["resolved"] = None
        return wanted, _told(value, wanted)

    value = change_incident(folder, decide, by=by)
    if note:
        timeline.append(folder, {"kind": "note", "text": redactor.text(note), "by": by})
    write_manifest(folder)
    return Incident.from_dict(value)


def close(folder: Path, *, by: str, text: str, redactor: Redactor) -> Incident:
    """Mark it resolved, now; *text* says on which ground. The checklist stands before this (``resolution``)."""

    def decide(_value: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {"status": Status.RESOLVED.value, "resolved": now, "next_update": None}, redactor.text(text)

    value = change_incident(folder, decide, by=by)
    write_manifest(folder)
    return Incident.from_dict(value)


def note_alert(folder: Path, alert: Mapping[str, Any], *, state: str, redactor: Redactor) -> None:
    """Note on the timeline that *alert* (``alertname``, ``fingerprint``, ``severity`` …) is ``firing`` or ``resolved``.

    While it fires, its severity counts as the incident's where that is better.
    """
    facts = redactor.json({name: alert[name] for name in _ALERT if alert.get(name)})
    text = f"alert {facts.get('alertname', 'without a name')} {state}"
    summary = f": {facts['summary']}" if facts.get("summary") else ""
    timeline.append(folder, {"kind": "alert", "text": text + summary, "state": state, **facts})
    level = str(facts.get("severity") or "")
    if state == "firing" and level in {one.value for one in Severity}:
        change_incident(folder, lambda value: _worse(value, level), by=f"alert {facts.get('alertname')}")
    write_manifest(folder)


def note_told(folder: Path, roles: Sequence[str], *, by: str) -> None:
    """Note that *roles* of the escalation matrix were told. ParameterError for one that it does not have."""
    known = {key(role): role for role in ROLES}
    unknown = [role for role in roles if key(role) not in known]
    if unknown:
        raise ParameterError(f"--told: '{unknown[0]}' is not in the escalation matrix; give {', '.join(ROLES)}")
    for role in roles:
        told = known[key(role)]
        timeline.append(folder, {"kind": ESCALATION, "text": f"{told} told", "role": told, "by": by})


def load(outputs: Path, wanted: str) -> tuple[Path, Incident]:
    """The folder and the facts of the incident called *wanted*: an id, the beginning of one, or ``latest``.

    ParameterError where none is called so, or several are.
    """
    folders = find(outputs)
    if wanted == "latest" and folders:
        found = folders[:1]
    else:
        found = [folder for folder in folders if wanted and folder.name.startswith(wanted)]
    if not found:
        raise ParameterError(f"no incident is called '{wanted}' in '{outputs}'; see 'flowrex-ops incident list'")
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found[:3])
        raise ParameterError(f"'{wanted}' fits {len(found)} incidents ({names} …); give more of it")
    folder = found[0].absolute()
    return folder, Incident.from_dict(read_incident(folder))


def find(outputs: Path) -> list[Path]:
    """Folders of all incidents, the newest first."""
    return sorted((path.parent for path in outputs.glob("INC-*/incident.json")), key=lambda p: p.name, reverse=True)


def _checked(facts: Mapping[str, Any], *, status: Status | None) -> dict[str, Any]:
    """JSON values of *facts*; nothing that was not given."""
    checked: dict[str, Any] = {name: str(facts[name]) for name in TEXTS if facts.get(name)}
    if facts.get("severity"):
        checked["severity"] = _one_of(Severity, str(facts["severity"]).upper(), "severity")
    if facts.get("status"):
        checked["status"] = _one_of(Status, str(facts["status"]).capitalize(), "status")
        if checked["status"] == Status.RESOLVED and status is not Status.RESOLVED:
            raise ParameterError("status: an incident is resolved by its checklist; use 'flowrex-ops incident resolve'")
    if facts.get("started"):
        if facts["started"] > datetime.now(UTC):
            raise ParameterError(f"started: {facts['started']:%Y-%m-%d %H:%M} UTC is in the future; give a past time")
        checked["started"] = facts["started"].isoformat(timespec="seconds")
    if facts.get("next_update"):
        checked["next_update"] = facts["next_update"].isoformat(timespec="seconds")
    if facts.get("roles"):
        checked["roles"] = {str(role): str(name) for role, name in facts["roles"].items()}
    return checked


def _one_of(kind: type[Severity | Status], value: str, name: str) -> str:
    known = [one.value for one in kind]
    if value not in known:
        raise ParameterError(f"{name}: '{value}' is not one; give {', '.join(known)}")
    return value


def _told(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The change as a line: ``status Identified (was Investigating); commander ada``."""
    said = []
    for name, new in wanted.items():
        old = value.get(name)
        if name == "roles":
            said += [f"{role} {person or 'nobody'}" for role, person in new.items() if person != (old or {}).get(role)]
        elif new and new != old:
            said.append(f"{name.replace('_', ' ')} {new}" + (f" (was {old})" if old else ""))
    return "; ".join(said)


def _worse(value: Mapping[str, Any], level: str) -> tuple[Mapping[str, Any], str]:
    worst = min(filter(None, (value.get("severity"), level)))
    return {"severity": worst}, f"severity {worst}"
