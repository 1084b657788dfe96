"""Incidents and runs made without collisions and found by id, and what ``incident.json`` says of an incident.

An id can be on disk before its folder is, so that a crash leaves no incident that nobody asked for.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.folders import FOLDER_ID, INCIDENT, RUN, is_run, list_incidents, list_runs, reserve_id
from flowrex_ops.errors import ParameterError, RecordError, nearest
from flowrex_ops.files import record_error, sync_folder, write_atomic

INCIDENT_FILE = "incident.json"
INVESTIGATING = "Investigating"
"""The status in which each incident begins."""
RESOLVED = "Resolved"
LATEST = "latest"
CHANGED = "incident-changed"
"""Kind of the timeline's lines about a change: ``{"by", "changes": {name: {"was", "is"}}}``."""
_UNREPORTED = frozenset({"runbooks"})
"""What has lines of its own on the timeline."""


def current_user() -> str:
    """Who does something, where nobody is named: the account that this runs as, or its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def open_folder(outputs: Path, name: str | None) -> Path:
    """The folder of the incident (or run) called *name*, or of a new run where that is ``None``; absolute.

    RecordError for an id that does not exist or has another shape, and for a folder that cannot be written.
    """
    if name is None:
        return _new_folder(outputs, RUN, {}, "")
    if not FOLDER_ID.fullmatch(name):
        raise RecordError(
            f"'{name}' is not an incident id such as INC-20260102-0304-a1b2; leave it out for a run without one"
        )
    folder = outputs.absolute() / name
    if not folder.is_dir():
        raise RecordError(f"incident '{name}' is not in '{outputs}'; leave it out for a run without one")
    timeline.require_own(folder)
    return folder


def find_incident(outputs: Path, wanted: str) -> Path:
    """The folder of the incident that *wanted* names: its id, the beginning of it, or ``latest``; absolute.

    The latest is the newest that is not resolved, else the newest. ParameterError where none is called so, or several are.
    """
    folders = list_incidents(outputs.absolute())
    if wanted == LATEST and folders:
        return next((folder for folder in folders if _is_open(folder)), folders[0])
    if wanted == LATEST:
        raise ParameterError(f"there is no incident in '{outputs}'; open one with 'flowrex-ops incident open TITLE'")
    if is_run(wanted):
        if run := next((run for run in list_runs(outputs.absolute()) if run.name.startswith(wanted)), None):
            text = f"open an incident with it: flowrex-ops incident open TITLE --from {run.name}"
            raise ParameterError(f"'{run.name}' is a run, not an incident; {text}")
        wanted = wanted.replace(RUN, INCIDENT, 1)  # one was opened with it
    return _find(outputs, folders, wanted, "incident", otherwise="see 'flowrex-ops incident list --all'")


def find_run(outputs: Path, wanted: str) -> Path:
    """The folder of the run that *wanted* names: its id, the beginning of it, or ``latest``. ParameterError where none is, or several are."""
    runs = list_runs(outputs.absolute())
    if wanted == LATEST and runs:
        return runs[0]
    return _find(outputs, runs, wanted, "run", otherwise="see 'flowrex-ops records list'")


def _find(outputs: Path, folders: Sequence[Path], wanted: str, kind: str, *, otherwise: str) -> Path:
    exact = [folder for folder in folders if folder.name == wanted]
    found = exact or [folder for folder in folders if wanted and folder.name.startswith(wanted)]
    if len(found) > 1:
        some = ", ".join(folder.name for folder in found[:3])
        raise ParameterError(f"'{wanted}' fits {len(found)} {kind}s ({some} …); give more of it")
    if not found:
        hint = nearest(wanted, [folder.name for folder in folders], otherwise=otherwise)
        raise ParameterError(f"no {kind} is called '{wanted}' in '{outputs}'; {hint}")
    return found[0]


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
        reported = {
            name: {"was": value.get(name), "is": new} for name, new in changes.items() if name not in _UNREPORTED
        }
        if reported:
            write({"kind": CHANGED, "text": text, "by": by, "changes": reported})
        value |= changes
        write_atomic(incident / INCIDENT_FILE, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        return value


def note_run(folder: Path, *, runbook: str, title: str, severity: str | None) -> None:
    """Note in ``incident.json`` that *runbook* ran; the severity only ever gets worse by itself. Nothing of a run without incident."""
    if is_run(folder.name):
        return

    def decide(value: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
        known = [level for level in (value.get("severity"), severity) if level]
        level = min(known, default=None)
        return {"runbooks": {**value.get("runbooks", {}), runbook: title}, "severity": level}, f"severity {level}"

    change_incident(folder, decide, by=runbook)


def new_incident(outputs: Path, facts: Mapping[str, Any], *, by: str = "") -> Path:
    """The folder of a new incident that *facts* (already redacted) are written of; RecordError where it cannot be."""
    return _new_folder(outputs, INCIDENT, facts, by)


def take_run(run: Path, facts: Mapping[str, Any], *, by: str) -> Path:
    """The folder of a new incident that *run* was the first word of: the same folder, under its new name; RecordError where it cannot be."""
    timeline.require_own(run)
    folder = run.with_name(run.name.replace(RUN, INCIDENT, 1))
    try:
        _describe(run, folder.name, facts)
        run.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise record_error(error, run) from error
    _note_opened(folder, by, facts.get("severity"), f" with {run.name}")
    return folder


def ensure_folder(outputs: Path, name: str, *, title: str, by: str = "") -> Path:
    """The folder of *name*, a reserved id, made now unless it is there; absolute. What a crash left half is completed."""
    folder = outputs.absolute() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise record_error(error, outputs) from error
    if not (folder / (timeline.FILE if is_run(name) else INCIDENT_FILE)).is_file():
        _begin(folder, {"title": title}, by)
    return folder


def _begin(folder: Path, facts: Mapping[str, Any], by: str) -> None:
    if is_run(folder.name):
        timeline.append(folder, {"kind": "run", "text": f"run {folder.name} begun"})
        return
    _describe(folder, folder.name, facts)
    _note_opened(folder, by, facts.get("severity"))


def _describe(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    opened = datetime.now(UTC).isoformat(timespec="seconds")
    incident: dict[str, Any] = {
        "id": name,
        "status": INVESTIGATING,
        "severity": None,
        "started": opened,
        "opened": opened,
        "channel": f"#incident-{'-'.join(name.split('-')[1:3])}",
        "title": "",
        "runbooks": {},
        **facts,
    }
    write_atomic(folder / INCIDENT_FILE, json.dumps(incident, indent=1, ensure_ascii=False) + "\n")


def _note_opened(folder: Path, by: str, severity: str | None, how: str = "") -> None:
    about = {"by": by, "severity": severity} if by else {}
    timeline.append(folder, {"kind": "incident", "text": f"incident {folder.name} opened{how}", **about})


def _new_folder(outputs: Path, kind: str, facts: Mapping[str, Any], by: str) -> Path:
    outputs = outputs.absolute()
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        folder = _exclusive_folder(outputs, kind)
    except OSError as error:
        raise record_error(error, outputs) from error
    _begin(folder, facts, by)
    return folder


def _exclusive_folder(outputs: Path, kind: str) -> Path:
    while True:
        folder = outputs / reserve_id(outputs, kind)
        try:
            folder.mkdir(mode=0o750)  # a log says more of customers than everybody on the host may read
        except FileExistsError:
            continue
        sync_folder(outputs)
        return folder
