"""Incident folders: made without collisions, and what ``incident.json`` says of them.

An id can be on disk before its folder is, so that a crash leaves no incident that nobody asked for.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError, RecordError, nearest
from flowrex_ops.files import record_error, sync_folder, write_atomic

INCIDENT_ID = re.compile(r"INC-(\d{8}-\d{4})-[0-9a-f]{4}")
"""An incident's id: ``INC-YYYYMMDD-HHMM-xxxx``."""
INCIDENT_FILE = "incident.json"
INVESTIGATING = "Investigating"
"""The status in which each incident begins."""
RESOLVED = "Resolved"
LATEST = "latest"
CHANGED = "incident-changed"
"""Kind of the timeline's lines about a change: ``{"by", "changes": {name: {"was", "is"}}}``."""
_UNTOLD = frozenset({"runbooks"})
"""What has lines of its own on the timeline."""


def current_user() -> str:
    """Who does something, where nobody is named: the account that this runs as, or its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def open_incident(outputs: Path, incident_id: str | None, *, title: str = "") -> Path:
    """The folder of *incident_id*, or of a new incident where that is ``None``; absolute.

    RecordError for an id that does not exist or has another shape, and for a folder that cannot be written.
    """
    if incident_id is None:
        return new_incident(outputs, {"title": title})
    if not INCIDENT_ID.fullmatch(incident_id):
        raise RecordError(
            f"'{incident_id}' is not an incident id such as INC-20260102-0304-a1b2; leave it out for a new one"
        )
    folder = outputs.absolute() / incident_id
    if not folder.is_dir():
        raise RecordError(f"incident '{incident_id}' is not in '{outputs}'; leave it out to open a new one")
    timeline.require_own(folder)
    return folder


def list_incidents(outputs: Path) -> list[Path]:
    """Folders of all incidents, the newest first."""
    return sorted((path for path in outputs.glob("INC-*") if path.is_dir()), key=_opened, reverse=True)


def find_incident(outputs: Path, wanted: str) -> Path:
    """The folder of the incident that *wanted* names: its id, the beginning of it, or ``latest``; absolute.

    The latest is the newest that is not resolved, else the newest. ParameterError where none is called so, or several are.
    """
    folders = list_incidents(outputs.absolute())
    if wanted == LATEST and folders:
        return next((folder for folder in folders if _is_open(folder)), folders[0])
    exact = [folder for folder in folders if folder.name == wanted]
    found = exact or [folder for folder in folders if wanted and folder.name.startswith(wanted)]
    if len(found) > 1:
        some = ", ".join(folder.name for folder in found[:3])
        raise ParameterError(f"'{wanted}' fits {len(found)} incidents ({some} …); give more of it")
    if not found:
        names = [folder.name for folder in folders]
        hint = nearest(wanted, names, otherwise="see 'flowrex-ops incident list --all'")
        raise ParameterError(f"no incident is called '{wanted}' in '{outputs}'; {hint}")
    return found[0]


def _opened(folder: Path) -> tuple[str, str]:
    """The minute of its name; within that the first line of its timeline, for the rest of the name is random."""
    with contextlib.suppress(OSError, ValueError, AttributeError), (folder / timeline.FILE).open() as lines:
        return folder.name[:17], str(json.loads(lines.readline()).get("at"))
    return folder.name[:17], ""


def _is_open(folder: Path) -> bool:
    """Whether it is readable and not resolved."""
    with contextlib.suppress(RecordError):
        return read_incident(folder).get("status") != RESOLVED
    return False


def read_incident(incident: Path) -> dict[str, Any]:
    """What ``incident.json`` says; RecordError where it is missing or damaged."""
    path = incident / INCIDENT_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"'{path}' cannot be read: {error}; restore it from a backup") from error
    return value if isinstance(value, dict) else {}


def change_incident(
    incident: Path, decide: Callable[[dict[str, Any]], tuple[Mapping[str, Any], str]], *, by: str
) -> dict[str, Any]:
    """Change ``incident.json`` as *decide* says, and tell old and new on the timeline first; what it says then.

    *decide* gets the present values under the incident's lock, so that two who change it at once lose nothing, and returns
    the new ones (already redacted) with a line for people. Nothing is written where nothing changes.
    """
    with timeline.writing(incident) as write:
        value = read_incident(incident)
        wanted, text = decide(dict(value))
        changes = {name: new for name, new in wanted.items() if value.get(name) != new}
        if not changes:
            return value
        told = {name: {"was": value.get(name), "is": new} for name, new in changes.items() if name not in _UNTOLD}
        if told:
            write({"kind": CHANGED, "text": text, "by": by, "changes": told})
        value |= changes
        write_atomic(incident / INCIDENT_FILE, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        return value


def update_incident(incident: Path, *, runbook: str, title: str, severity: str | None) -> None:
    """Note in ``incident.json`` that *runbook* ran; the severity only ever gets worse by itself."""

    def decide(value: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
        known = [level for level in (value.get("severity"), severity) if level]
        level = min(known, default=None)
        return {"runbooks": {**value.get("runbooks", {}), runbook: title}, "severity": level}, f"severity {level}"

    change_incident(incident, decide, by=runbook)


def new_incident(outputs: Path, facts: Mapping[str, Any], *, by: str = "") -> Path:
    """The folder of a new incident that *facts* (already redacted) are written of; RecordError where it cannot be."""
    outputs = outputs.absolute()
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        folder = _exclusive_folder(outputs, f"{datetime.now(UTC):%Y%m%d-%H%M}")
    except OSError as error:
        raise record_error(error, outputs) from error
    _begin(folder, facts, by)
    return folder


def reserve_incident_id(outputs: Path) -> str:
    """An id that no incident has yet, for whoever must write it down before the folder exists (``ensure_incident``)."""
    while True:
        name = f"INC-{datetime.now(UTC):%Y%m%d-%H%M}-{secrets.token_hex(2)}"
        if not (outputs / name).exists():
            return name


def ensure_incident(outputs: Path, incident_id: str, *, title: str, by: str = "") -> Path:
    """The folder of *incident_id*, a reserved id, made now unless it is there; absolute. What a crash left half is completed."""
    folder = outputs.absolute() / incident_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise record_error(error, outputs) from error
    if not (folder / INCIDENT_FILE).is_file():
        _begin(folder, {"title": title}, by)
    return folder


def _begin(folder: Path, facts: Mapping[str, Any], by: str) -> None:
    opened = datetime.now(UTC).isoformat(timespec="seconds")
    stamp = "-".join(folder.name.split("-")[1:3])
    incident: dict[str, Any] = {
        "id": folder.name,
        "status": INVESTIGATING,
        "severity": None,
        "started": opened,
        "opened": opened,
        "channel": f"#incident-{stamp}",
        "title": "",
        "runbooks": {},
        **facts,
    }
    write_atomic(folder / INCIDENT_FILE, json.dumps(incident, indent=1, ensure_ascii=False) + "\n")
    about = {"by": by, "severity": incident["severity"]} if by else {}
    timeline.append(folder, {"kind": "incident", "text": f"incident {folder.name} opened", **about})


def _exclusive_folder(outputs: Path, stamp: str) -> Path:
    while True:
        folder = outputs / f"INC-{stamp}-{secrets.token_hex(2)}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        sync_folder(outputs)
        return folder
