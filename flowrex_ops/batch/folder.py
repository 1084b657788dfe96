"""A batch on disk: ``outputs/batches/<name>-<stamp>/`` with its plan, and a line for everything that happened to its runs.

``plan.json`` never changes; ``state.jsonl`` is only appended to, each line on disk before the batch goes on. What a crash cut off
is the last line at most, and is left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive.incidents import reserve_incident_id
from flowrex_ops.batch.plan import Plan, Task, digest
from flowrex_ops.errors import RecordError, UsageError
from flowrex_ops.files import locked, record_error, sync_folder, write_atomic

FOLDER = "batches"
LATEST = "latest"
NOT_STARTED = "not started"
_LOCK_SECONDS = 25.0
_WORKED = ("complete", "partial")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run; ``earlier`` are records of it that were interrupted. ``record`` and ``html`` are paths."""

    number: int
    status: str
    record: str = ""
    html: str = ""
    diagnosis: str | None = None
    severity: str | None = None
    seconds: float | None = None
    reason: str = ""
    earlier: tuple[str, ...] = ()

    @property
    def worked(self) -> bool:
        """Whether the run did its work, whatever it found."""
        return self.status in _WORKED

    @property
    def finished(self) -> bool:
        """Whether going on leaves it alone: a run that was interrupted, or never began, is made (again)."""
        return self.status not in ("interrupted", NOT_STARTED)


@dataclass(frozen=True, slots=True)
class Batch:
    """An open batch. ``incidents`` is where each platform's records lie."""

    path: Path
    name: str
    jobs: int | None
    tasks: tuple[Task, ...]
    incidents: Mapping[str, str]

    @property
    def id(self) -> str:
        """``nightly-20260102-030405``, what people call it."""
        return self.path.name

    @property
    def lock(self) -> Path:
        """Held by whoever runs it, and by its runs."""
        return self.path / ".lock"

    def trigger(self, task: Task) -> str:
        """How the records of *task* are recognised."""
        return f"batch {self.id} run {task.number}"

    def note(self, outcome: Outcome) -> None:
        """Append *outcome*; it is on disk when this returns. RecordError where the disk is full."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(outcome)}) + "\n"
        path = self.path / "state.jsonl"
        with locked(path) as descriptor:
            torn = path.read_bytes()[-1:] not in (b"", b"\n")
            try:
                os.write(descriptor, (b"\n" if torn else b"") + line.encode())
                os.fsync(descriptor)
            except OSError as error:
                raise record_error(error, path) from error

    def outcomes(self) -> dict[int, Outcome]:
        """The last word on each run, by its number."""
        found: dict[int, Outcome] = {}
        for line in self._lines():
            value = {name: line[name] for name in Outcome.__slots__ if name in line}
            outcome = Outcome(**{**value, "earlier": tuple(value.get("earlier", ()))})
            found[outcome.number] = outcome
        return found

    def unfinished(self) -> list[Task]:
        """The tasks that are still to be run."""
        known = self.outcomes()
        return [task for task in self.tasks if task.number not in known or not known[task.number].finished]

    def hold(self) -> int:
        """Take the lock, as a file descriptor, once runs of a batch that was killed are gone; RecordError where it still goes on."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    text = f"batch '{self.id}' still goes on; wait for its end, then go on with --resume {self.id}"
                    raise RecordError(text) from None
            time.sleep(0.1)

    def _lines(self) -> Iterator[dict[str, Any]]:
        path = self.path / "state.jsonl"
        for raw in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and "number" in line and "status" in line:
                yield line


def create(outputs: Path, plan: Plan, tasks: Sequence[Task]) -> Batch:
    """A new batch folder under *outputs*, its plan on disk. RecordError where it cannot be written."""
    platforms = {task.platform: Path(task.outputs) for task in tasks}
    incidents = {platform: reserve_incident_id(folder) for platform, folder in platforms.items()}
    about = {
        "version": 1,
        "name": plan.name,
        "jobs": plan.jobs,
        "digest": digest(tasks),
        "incidents": incidents,
        "tasks": [task.to_dict() for task in tasks],
    }
    try:
        path = _exclusive(outputs.absolute() / FOLDER, plan.name)
    except OSError as error:
        raise record_error(error, outputs) from error
    write_atomic(path / "plan.json", json.dumps(about, indent=1, default=str) + "\n")
    return Batch(path, plan.name, plan.jobs, tuple(tasks), incidents)


def resume(outputs: Path, wanted: str, *, expected: Sequence[Task] | None = None) -> Batch:
    """The batch called *wanted*, or the ``latest`` that is not finished. UsageError where there is none, or *expected* is another plan."""
    folder = outputs.absolute() / FOLDER
    if wanted == LATEST:
        found = [batch for batch in map(_read, _folders(folder)) if batch.unfinished()]
        if not found:
            raise UsageError(f"no batch in '{folder}' waits to be finished; leave --resume out to start one")
        batch = found[0]
    elif (folder / wanted / "plan.json").is_file() and "/" not in wanted:
        batch = _read(folder / wanted)
    else:
        known = ", ".join(path.name for path in _folders(folder)[:3]) or "none"
        raise UsageError(f"--resume: '{wanted}' is not a batch in '{folder}'; there are: {known}")
    if expected is not None and digest(expected) != digest(batch.tasks):
        raise UsageError(f"--resume: the plan is another one than that of '{batch.id}'; leave --plan or --resume out")
    return batch


def _read(path: Path) -> Batch:
    try:
        about = json.loads((path / "plan.json").read_text(encoding="utf-8"))
        tasks = tuple(Task(**task) for task in about["tasks"])
        return Batch(path, about["name"], about["jobs"], tasks, about["incidents"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"'{path}/plan.json' cannot be read: {error}; start the batch anew") from None


def _folders(folder: Path) -> list[Path]:
    return sorted((file.parent for file in folder.glob("*/plan.json")), key=lambda p: p.stat().st_mtime, reverse=True)


def _exclusive(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stamp, number = f"{datetime.now(UTC):%Y%m%d-%H%M%S}", 1
    while True:
        path = folder / (f"{name}-{stamp}" + (f"-{number}" if number > 1 else ""))
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        sync_folder(folder)
        return path
