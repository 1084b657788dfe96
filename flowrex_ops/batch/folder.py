"""A batch on disk: ``outputs/batches/<name>-<stamp>/`` with its plan, the table of its jobs, and at the end its report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.archive.folders import RUN, reserve_id
from flowrex_ops.batch.plan import Plan, digest
from flowrex_ops.errors import RecordError, UsageError
from flowrex_ops.files import record_error, sync_folder, write_atomic
from flowrex_ops.jobs.table import INTERRUPTED, NOT_STARTED, Job, JobTable, insert

FOLDER = "batches"
LATEST = "latest"
_PLAN = "plan.json"
_TABLE = "jobs.sqlite"


@dataclass(frozen=True, slots=True)
class Batch:
    """An open batch. ``folders`` is where each platform's records lie (a run, no incident), ``threads`` how many runs its plan wants at once."""

    path: Path
    name: str
    threads: int | None
    jobs: tuple[Job, ...]
    folders: Mapping[str, str]
    digest: str

    @property
    def id(self) -> str:
        """``nightly-20260102-030405-678``, what people call it."""
        return self.path.name

    def table(self) -> contextlib.closing[JobTable]:
        """Its jobs, open within a block. RecordError where they cannot be read."""
        return contextlib.closing(JobTable(self.path / _TABLE))

    def unfinished(self) -> int:
        """How many runs going on makes: those that were interrupted, or never began, are made (again)."""
        with self.table() as table:
            known = table.outcomes().values()
        return len(self.jobs) - sum(outcome.status not in (INTERRUPTED, NOT_STARTED) for outcome in known)


def create(outputs: Path, plan: Plan, jobs: Sequence[Job]) -> Batch:
    """A new batch folder under *outputs*, its plan on disk. RecordError where it cannot be written."""
    platforms = {job.platform: Path(job.outputs) for job in jobs}
    folders = {platform: reserve_id(folder, RUN) for platform, folder in platforms.items()}
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
    path = outputs.absolute() / FOLDER / f"{plan.name}-{stamp}"
    try:
        path.mkdir(parents=True)
        sync_folder(path.parent)
    except OSError as error:
        raise record_error(error, outputs) from error
    placed = [
        replace(
            job,
            incident=folders[job.platform],
            title=f"batch {path.name}, {job.platform}",
            trigger=f"batch {path.name} run {job.id}",
        )
        for job in jobs
    ]
    batch = Batch(path, plan.name, plan.jobs, tuple(placed), folders, digest(jobs))
    with batch.table() as table, table.transaction() as db:
        insert(db, placed, datetime.now(UTC))
    write_atomic(
        path / _PLAN, json.dumps(asdict(batch), indent=1, default=str) + "\n"
    )  # last: a folder without it is no batch
    return batch


def resume(outputs: Path, wanted: str, *, expected: Sequence[Job] | None = None) -> Batch:
    """The batch called *wanted*, or the ``latest`` that is not finished. UsageError where there is none, or *expected* is another plan."""
    folder = outputs.absolute() / FOLDER
    plans = [
        file for file in folder.glob(f"*/{_PLAN}") if (file.parent / _TABLE).is_file()
    ]  # else of an earlier version
    found = [file.parent for file in sorted(plans, key=lambda file: file.stat().st_mtime, reverse=True)]
    if wanted == LATEST:
        batch = next((one for one in map(_read, found) if one.unfinished()), None)
        if batch is None:
            raise UsageError(f"no batch in '{folder}' waits to be finished; leave --resume out to start one")
    elif folder / wanted in found:
        batch = _read(folder / wanted)
    else:
        known = ", ".join(path.name for path in found[:3]) or "none"
        raise UsageError(f"--resume: '{wanted}' is not a batch in '{folder}'; there are: {known}")
    if expected is not None and digest(expected) != batch.digest:
        raise UsageError(f"--resume: the plan is another one than that of '{batch.id}'; leave --plan or --resume out")
    return batch


def _read(path: Path) -> Batch:
    try:
        about = json.loads((path / _PLAN).read_text(encoding="utf-8"))
        return Batch(**{**about, "path": path, "jobs": tuple(Job(**job) for job in about["jobs"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"'{path / _PLAN}' cannot be read: {error}; start the batch anew") from None
