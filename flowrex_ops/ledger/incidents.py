"""Incident folders: made without collisions, and what ``incident.json`` says of them."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.errors import RecordError
from flowrex_ops.ledger import timeline
from flowrex_ops.ledger.files import locked, record_error, sync_folder, write_atomic

INCIDENT_ID = re.compile(r"INC-(\d{8}-\d{4})-[0-9a-f]{4}")
"""An incident's id: ``INC-YYYYMMDD-HHMM-xxxx``."""
INCIDENT_FILE = "incident.json"


def open_incident(outputs: Path, incident_id: str | None, *, title: str = "") -> Path:
    """The folder of *incident_id*, or of a new incident where that is ``None``; absolute.

    RecordError for an id that does not exist or has another shape, and for a folder that cannot be written.
    """
    if incident_id is None:
        return _new_incident(outputs.absolute(), title)
    if not INCIDENT_ID.fullmatch(incident_id):
        raise RecordError(
            f"'{incident_id}' is not an incident id such as INC-20260102-0304-a1b2; leave it out for a new one"
        )
    folder = outputs.absolute() / incident_id
    if not folder.is_dir():
        raise RecordError(f"incident '{incident_id}' is not in '{outputs}'; leave it out to open a new one")
    return folder


def read_incident(incident: Path) -> dict[str, Any]:
    """What ``incident.json`` says; RecordError where it is missing or damaged."""
    path = incident / INCIDENT_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"'{path}' cannot be read: {error}; restore it from a backup") from error
    return value if isinstance(value, dict) else {}


def update_incident(incident: Path, *, runbook: str, title: str, severity: str | None) -> None:
    """Note in ``incident.json`` that *runbook* ran; the severity only ever gets worse by itself."""
    with locked(incident / timeline.FILE):
        value = read_incident(incident)
        value["runbooks"] = {**value.get("runbooks", {}), runbook: title}
        known = [level for level in (value.get("severity"), severity) if level]
        value["severity"] = min(known, default=None)
        write_atomic(incident / INCIDENT_FILE, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _new_incident(outputs: Path, title: str) -> Path:
    started = datetime.now(UTC)
    stamp = f"{started:%Y%m%d-%H%M}"
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        folder = _exclusive_folder(outputs, stamp)
    except OSError as error:
        raise record_error(error, outputs) from error
    incident: dict[str, Any] = {
        "id": folder.name,
        "status": "open",
        "severity": None,
        "started": started.isoformat(timespec="seconds"),
        "channel": f"#incident-{stamp}",
        "title": title,
        "runbooks": {},
    }
    write_atomic(folder / INCIDENT_FILE, json.dumps(incident, indent=1, ensure_ascii=False) + "\n")
    timeline.append(folder, {"kind": "incident", "text": f"incident {folder.name} opened"})
    return folder


def _exclusive_folder(outputs: Path, stamp: str) -> Path:
    while True:
        folder = outputs / f"INC-{stamp}-{secrets.token_hex(2)}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        sync_folder(outputs)
        return folder
