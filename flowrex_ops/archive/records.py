"""The records in the folders of incidents and runs: made without collisions, found by id, listed.

``outputs/INC-YYYYMMDD-HHMM-xxxx/records/001-<runbook>.ipynb``; a record's id is ``<incident>/001-<runbook>``.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from flowrex_ops.archive import timeline
from flowrex_ops.archive.folders import INCIDENT, RUN, incident_of, is_run, list_folders
from flowrex_ops.archive.incidents import LATEST, find_incident, find_run
from flowrex_ops.archive.index import ask, find_notebooks, read_metadata
from flowrex_ops.archive.manifest import LOCK_SUFFIX, lock_of
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.files import is_locked, locked, record_error
from flowrex_ops.model import RunStatus

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
    def belongs_to(self) -> dict[str, str | None]:
        """``{"incident", "run"}``: the id of one of them, the other ``None``."""
        name, run = self.incident.name, is_run(self.incident.name)
        return {"incident": None if run else name, "run": name if run else None}

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
    status: RunStatus
    metadata: RecordMetadata

    @property
    def incident(self) -> Path:
        """The folder of the incident, or of the run."""
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
    return [_record(outputs, row["id"], RecordMetadata.model_validate_json(row["metadata"])) for row in rows]


def find_by_trigger(incident: Path, trigger: str) -> list[Record]:
    """The records in the folder *incident* that *trigger* asked for, oldest first."""
    found = ((f"{incident.name}/{path.stem}", read_metadata(path)) for path in find_notebooks(incident))
    return [_record(incident.parent, name, about) for name, about in found if about and about.trigger == trigger]


def load_record(outputs: Path, wanted: str) -> Record:
    """The record that *wanted* names: an id or its beginning, an incident (its last record), a path, or ``latest``.

    RecordError where there is none, or where a beginning fits records of several incidents.
    """
    name, metadata = ask(outputs, lambda index: _load(index, outputs, wanted))
    return _record(outputs, name, metadata)


def _load(index: sqlite3.Connection, outputs: Path, wanted: str) -> tuple[str, RecordMetadata]:
    ids = [str(row["id"]) for row in index.execute(f"SELECT id FROM records {_NEWEST_FIRST}")]  # noqa: S608  # our own words
    if not ids:
        raise RecordError(f"there are no records in '{outputs}'; make one with 'flowrex-ops run RUNBOOK'")
    if incident_of(outputs / wanted.partition("/")[0]):  # it was opened with this run
        wanted = wanted.replace(RUN, INCIDENT, 1)
    name = ids[0] if wanted == LATEST else _choose(outputs, ids, wanted)
    found = index.execute("SELECT metadata FROM records WHERE id = ?", (name,)).fetchone()
    return name, RecordMetadata.model_validate_json(found[0])


def find_folders(outputs: Path, wanted: str = "") -> list[Path]:
    """Every incident's and run's folder, oldest first, or the one that *wanted* names: its id, the beginning of it, or one of its records.

    ``latest`` is that of the newest record. Folders without any record count too. RecordError where *wanted* fits none, or several.
    """
    if not wanted:
        return sorted(
            (path for path in list_folders(outputs) if path.is_dir()), key=lambda path: path.name[len(INCIDENT) :]
        )
    if "/" in wanted or wanted == LATEST:
        return [load_record(outputs, wanted).incident]
    try:
        return [(find_run if is_run(wanted) and not incident_of(outputs / wanted) else find_incident)(outputs, wanted)]
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
            f"'{wanted}' fits records of {len(incidents)} folders ({', '.join(incidents[:3])} …); give more of it"
        )
    return found[0]


def _highest(records: Path) -> int:
    names = [path.name.removeprefix(".") for path in records.iterdir()]
    return max((int(match.group()) for name in names if (match := re.match(r"\d{3,}", name))), default=0)


def _path(outputs: Path, name: str) -> Path:
    incident, _, record = name.partition("/")
    return outputs / incident / "records" / f"{record}.ipynb"


def _record(outputs: Path, name: str, metadata: RecordMetadata) -> Record:
    path, status = _path(outputs, name), metadata.status
    if status is RunStatus.RUNNING and not is_locked(lock_of(path)):
        status = RunStatus.INTERRUPTED
    return Record(name, path, status, metadata)
