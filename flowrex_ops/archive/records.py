"""Incident folders and the records in them: made without collisions, found by id, listed.

``outputs/INC-YYYYMMDD-HHMM-xxxx/records/001-<runbook>.ipynb``; a record's id is ``<incident>/001-<runbook>``.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import LATEST, find_incident, list_incidents
from flowrex_ops.archive.index import ask, find_notebooks, read_metadata
from flowrex_ops.archive.manifest import LOCK_SUFFIX, lock_of
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.files import is_locked, locked, record_error

_NEWEST_FIRST = "ORDER BY started DESC, id DESC"
_RUNBOOK = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass(frozen=True, slots=True)
class Slot:
    """A record's place: nobody else writes there. ``lock`` is held, as an open file descriptor, while it runs."""

    incident: Path
    name: str
    lock: int

    @property
    def id(self) -> str:
        """``<incident>/<001-runbook>``, what people call this record."""
        return f"{self.incident.name}/{self.name}"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.incident / "records" / f"{self.name}.ipynb"

    @property
    def html(self) -> Path:
        """The page."""
        return self.notebook.with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as found on disk. ``status`` is ``interrupted`` where it says running but its runner is gone."""

    id: str
    path: Path
    status: str
    metadata: dict[str, Any]

    @property
    def incident(self) -> Path:
        """The incident's folder."""
        return self.path.parent.parent

    @property
    def html(self) -> Path | None:
        """The page, where there is one (a run that was killed has none)."""
        page = self.path.with_suffix(".html")
        return page if page.is_file() else None


def allocate(incident: Path, runbook: str) -> Slot:
    """The next free place for a record of *runbook*, already locked; safe from several processes at once."""
    if not _RUNBOOK.fullmatch(runbook):
        raise RecordError(f"'{runbook}' cannot name a record; use letters, digits, '-' and '_'")
    records = incident / "records"
    try:
        with locked(incident / timeline.FILE):
            records.mkdir(exist_ok=True)
            number = f"{_highest(records) + 1:03d}"
            lock = os.open(
                records / f".{number}{LOCK_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise record_error(error, records) from error
    return Slot(incident, f"{number}-{runbook}", lock)


def list_records(outputs: Path, *, limit: int = -1) -> list[Record]:
    """The records under *outputs*, newest first, all or so many; files that are no records are left out. Answered from the index."""
    sql = f"SELECT id, metadata FROM records {_NEWEST_FIRST} LIMIT ?"  # noqa: S608  # our own words
    rows = ask(outputs, lambda index: index.execute(sql, (limit,)).fetchall())
    return [_record(outputs, row["id"], json.loads(row["metadata"])) for row in rows]


def find_by_trigger(incident: Path, trigger: str) -> list[Record]:
    """The records in the folder *incident* that *trigger* asked for, oldest first."""
    found = ((f"{incident.name}/{path.stem}", read_metadata(path)) for path in find_notebooks(incident))
    return [_record(incident.parent, name, about) for name, about in found if about and about.get("trigger") == trigger]


def load_record(outputs: Path, wanted: str) -> Record:
    """The record that *wanted* names: an id or its beginning, an incident (its last record), a path, or ``latest``.

    RecordError where there is none, or where a beginning fits records of several incidents.
    """
    name, metadata = ask(outputs, lambda index: _load(index, outputs, wanted))
    return _record(outputs, name, metadata)


def _load(index: sqlite3.Connection, outputs: Path, wanted: str) -> tuple[str, dict[str, Any]]:
    ids = [str(row["id"]) for row in index.execute(f"SELECT id FROM records {_NEWEST_FIRST}")]  # noqa: S608  # our own words
    if not ids:
        raise RecordError(f"there are no records in '{outputs}'; make one with 'flowrex-ops run RUNBOOK'")
    name = ids[0] if wanted == LATEST else _choose(outputs, ids, wanted)
    return name, json.loads(index.execute("SELECT metadata FROM records WHERE id = ?", (name,)).fetchone()[0])


def find_incidents(outputs: Path, wanted: str = "") -> list[Path]:
    """Every incident's folder, oldest first, or the one that *wanted* names: as ``find_incident`` takes it, or one of its records.

    Incidents without any record count too. RecordError where *wanted* fits none, or several.
    """
    if not wanted:
        return list_incidents(outputs)[::-1]
    if "/" in wanted:
        return [load_record(outputs, wanted).incident]
    try:
        return [find_incident(outputs, wanted)]
    except ParameterError as error:
        raise RecordError(str(error)) from None


def _choose(outputs: Path, ids: list[str], wanted: str) -> str:
    wanted_path = Path(wanted).absolute()
    exact = [name for name in ids if name == wanted or _path(outputs, name).absolute() == wanted_path]
    of_incident = [name for name in ids if name.partition("/")[0] == wanted]
    found = exact or of_incident or [name for name in ids if name.startswith(wanted)]
    if not wanted or not found:
        raise RecordError(f"no record is called '{wanted}' in '{outputs}'; see 'flowrex-ops records list'")
    incidents = sorted({name.partition("/")[0] for name in found})
    if len(incidents) > 1:
        raise RecordError(
            f"'{wanted}' fits records of {len(incidents)} incidents ({', '.join(incidents[:3])} …); give more of it"
        )
    return found[0]


def _highest(records: Path) -> int:
    names = [path.name.removeprefix(".") for path in records.iterdir()]
    return max((int(match.group()) for name in names if (match := re.match(r"\d{3,}", name))), default=0)


def _path(outputs: Path, name: str) -> Path:
    incident, _, record = name.partition("/")
    return outputs / incident / "records" / f"{record}.ipynb"


def _record(outputs: Path, name: str, metadata: dict[str, Any]) -> Record:
    path, status = _path(outputs, name), str(metadata["status"])
    if status == "running" and not is_locked(lock_of(path)):
        status = "interrupted"
    return Record(name, path, status, metadata)
