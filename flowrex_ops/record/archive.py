"""Incident folders and the records in them: made without collisions, found by id, listed.

``outputs/INC-YYYYMMDD-HHMM-xxxx/records/001-<runbook>.ipynb``; a record's id is ``<incident>/001-<runbook>``.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrex_ops.errors import RecordError
from flowrex_ops.ledger import timeline
from flowrex_ops.ledger.files import is_locked, locked, record_error
from flowrex_ops.ledger.manifest import LOCK_SUFFIX, lock_of

LATEST = "latest"
_RECORD_NAME = re.compile(r"(\d{3,})-.+\.ipynb")
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

    def remove_lock(self) -> None:
        """The record is finished; without this it counts as unfinished for good."""
        lock_of(self.notebook).unlink(missing_ok=True)


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


def list_records(outputs: Path) -> list[Record]:
    """All records under *outputs*, newest first; files that are no records are left out."""
    records = _records(outputs.glob("INC-*/records/*.ipynb"))
    return sorted(records, key=lambda r: (str(r.metadata.get("started", "")), r.id), reverse=True)


def find_by_trigger(incident: Path, trigger: str) -> list[Record]:
    """The records in the folder *incident* that *trigger* asked for, oldest first."""
    records = _records(sorted((incident / "records").glob("*.ipynb")))
    return [record for record in records if record.metadata.get("trigger") == trigger]


def load_record(outputs: Path, wanted: str) -> Record:
    """The record that *wanted* names: an id or its beginning, an incident (its last record), a path, or ``latest``.

    RecordError where there is none, or where a beginning fits records of several incidents.
    """
    records = list_records(outputs)
    if not records:
        raise RecordError(f"there are no records in '{outputs}'; make one with 'flowrex-ops run RUNBOOK'")
    if wanted == LATEST:
        return records[0]
    wanted_path = Path(wanted).absolute()
    exact = [record for record in records if record.id == wanted or record.path.absolute() == wanted_path]
    found = exact or [record for record in records if record.id.startswith(wanted)]
    if not wanted or not found:
        raise RecordError(f"no record is called '{wanted}' in '{outputs}'; see 'flowrex-ops records list'")
    incidents = sorted({record.incident.name for record in found})
    if len(incidents) > 1:
        raise RecordError(
            f"'{wanted}' fits records of {len(incidents)} incidents ({', '.join(incidents[:3])} …); give more of it"
        )
    return found[0]


def _highest(records: Path) -> int:
    names = [path.name.removeprefix(".") for path in records.iterdir()]
    return max((int(match.group()) for name in names if (match := re.match(r"\d{3,}", name))), default=0)


def _records(paths: Iterable[Path]) -> list[Record]:
    found = (_try_record(path) for path in paths if _RECORD_NAME.fullmatch(path.name))
    return [record for record in found if record is not None]


def _try_record(path: Path) -> Record | None:
    try:
        metadata = json.loads(path.read_bytes())["metadata"]["flowrex_ops"]["record"]
        status = str(metadata["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if status == "running" and not is_locked(lock_of(path)):
        status = "interrupted"
    return Record(f"{path.parent.parent.name}/{path.stem}", path, status, metadata)
