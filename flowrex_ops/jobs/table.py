"""The table of jobs in SQLite: every method is one transaction, on disk when it returns."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.errors import RecordError

NOT_STARTED = "not started"
INTERRUPTED = "interrupted"
WORKED = ("complete", "partial")
"""Statuses of a run that did its work, whatever it found."""
_SCHEMA = Path(__file__).with_name("jobs.sql")
_VERSION = 2
_LOWEST = "P9"
"""Sorts behind every severity."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run to be made, with all that it needs; plain data, since it travels. ``trigger`` is how its records are recognised.

    ``runbook`` is the notebook's path, ``settings`` a path or empty; in ``trigger`` the table puts the id for ``{id}``.
    """

    outputs: str
    run_seconds: float
    runbook: str = ""
    slug: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""
    incident: str = ""
    title: str = ""
    platform: str = ""
    kind: str = ""
    trigger: str = ""
    priority: str = _LOWEST
    id: int = 0
    attempts: int = 0

    @property
    def folder(self) -> Path:
        """The folder of its incident, or of its batch's run."""
        return Path(self.outputs) / self.incident


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job; ``earlier`` are records of it that were interrupted. ``record`` and ``html`` are paths."""

    status: str
    record: str = ""
    html: str = ""
    diagnosis: str | None = None
    severity: str | None = None
    seconds: float | None = None
    reason: str = ""
    earlier: Sequence[str] = ()

    @property
    def record_id(self) -> str:
        """What people call the record."""
        path = Path(self.record)
        return f"{path.parent.parent.name}/{path.stem}" if self.record else ""


class JobTable:
    """The database at *path*; may be used from several threads. *others* are schemas of tables beside the jobs.

    RecordError where it cannot be opened or written.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA synchronous = EXTRA")  # a commit survives a power cut
            self._prepare(others)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing."""
        with self._lock, _clear_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def claim(self, now: datetime | None = None) -> Job | None:
        """The next job, most severe first, noted as running; ``None`` when nothing waits."""
        moment = iso(now or datetime.now(UTC))
        with self.transaction() as db:
            row = db.execute(
                "SELECT * FROM jobs WHERE state = 'queued' AND not_before <= ? ORDER BY priority, id LIMIT 1", (moment,)
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', started_at = ?, attempts = attempts + 1 WHERE id = ?",
                (moment, row["id"]),
            )
            return replace(_job(row), attempts=row["attempts"] + 1)

    def finish(self, job: Job, outcome: Outcome) -> None:
        """*job* is done with."""
        facts = (iso(datetime.now(UTC)), outcome.status, json.dumps(asdict(outcome)), job.id)
        with self.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'finished', finished_at = ?, status = ?, result = ? WHERE id = ?", facts
            )

    def put_back(self, job: Job, *, pause: timedelta = timedelta(0), counted: bool = False) -> None:
        """*job* left no record: it waits again. An attempt that is not *counted* was not its own fault."""
        facts = (iso(datetime.now(UTC) + pause), 0 if counted else 1, job.id)
        with self.transaction() as db:
            db.execute("UPDATE jobs SET state = 'queued', not_before = ?, attempts = attempts - ? WHERE id = ?", facts)

    def requeue(self) -> None:
        """What was interrupted, or never began, waits again."""
        with self.transaction() as db:
            db.execute("UPDATE jobs SET state = 'queued' WHERE status IN (?, ?)", (INTERRUPTED, NOT_STARTED))

    def jobs(self, state: str = "%") -> list[Job]:
        """All jobs, or those in one *state*, in the order in which they were added."""
        with self.transaction() as db:
            return [_job(row) for row in db.execute("SELECT * FROM jobs WHERE state LIKE ? ORDER BY id", (state,))]

    def outcomes(self) -> dict[int, Outcome]:
        """The last word on each job that was run, by its id."""
        with self.transaction() as db:
            rows = db.execute("SELECT id, result FROM jobs WHERE result IS NOT NULL").fetchall()
        return {row["id"]: Outcome(**json.loads(row["result"])) for row in rows}

    def length(self) -> int:
        """How many jobs wait."""
        with self.transaction() as db:
            return length(db)

    def check(self) -> None:
        """Write something: RecordError where that fails."""
        with self.transaction() as db:
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _prepare(self, others: Sequence[Path]) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == _VERSION:
            return
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise RecordError(
                f"'{self.path}' was written by another version of this tool; move it away, then start again"
            )
        schemas = "".join(schema.read_text(encoding="utf-8") for schema in (_SCHEMA, *others))
        self._db.executescript(f"BEGIN; {schemas} PRAGMA user_version = {_VERSION}; COMMIT;")  # all of it or nothing


def insert(db: sqlite3.Connection, jobs: Sequence[Job], now: datetime) -> None:
    """Queue *jobs* within a transaction."""
    for job in jobs:
        facts = {**asdict(job), "parameters": json.dumps(job.parameters), "queued_at": iso(now), "not_before": iso(now)}
        del facts["id"]
        query = f"INSERT INTO jobs ({', '.join(facts)}) VALUES ({', '.join(f':{name}' for name in facts)})"  # noqa: S608  (our own names)
        row = db.execute(query, facts).lastrowid
        db.execute("UPDATE jobs SET trigger = replace(trigger, '{id}', id) WHERE id = ?", (row,))


def length(db: sqlite3.Connection) -> int:
    """How many jobs wait, within a transaction."""
    return int(db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0])


def iso(moment: datetime) -> str:
    """Sorts as text; always UTC."""
    return moment.isoformat(timespec="microseconds")


def _job(row: sqlite3.Row) -> Job:
    return Job(
        **{name: row[name] for name in Job.__slots__ if name != "parameters"}, parameters=json.loads(row["parameters"])
    )


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = f"'{path}' cannot be used: {str(error).lower()}; free some space, or correct its place"
        raise RecordError(text) from error
