"""Makes one job, here or on a worker of a cluster that shares the outputs' folder.

A run on a cluster is interrupted by a file in the shared folder, since a worker's thread cannot be cancelled from
afar.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flowrex_ops.archive.incidents import ensure_folder
from flowrex_ops.archive.records import Record, find_by_trigger
from flowrex_ops.errors import RecordError, UsageError
from flowrex_ops.jobs.table import INTERRUPTED, Job, Outcome
from flowrex_ops.record.result import severity_found
from flowrex_ops.record.runner_process import Request, RunnerProcess

_TOLERANCE_SECONDS = 120.0
"""Beyond the run's own limit, for what it does before and after."""
_LOOK_SECONDS = 0.2
_opening = threading.Lock()


def run_job(job: Job, stopped: Callable[[], bool], *, cwd: Path, keep_open: Sequence[int] = ()) -> Outcome:
    """Make the run unless it was made before, and tell how it ended. Blocking; interrupted once it is *stopped*.

    UsageError or RecordError where no record was begun: asking again is idle, or may help.
    """
    earlier = _earlier(job)
    if earlier and earlier[-1].status not in (INTERRUPTED, "running"):
        return outcome_of(earlier)
    open_folder(job)
    given = {**job.parameters, "incident_id": job.incident, **({"settings": job.settings} if job.settings else {})}
    try:
        process = RunnerProcess(Request(job.runbook, given, job.trigger), cwd=cwd, keep_open=keep_open)
    except OSError as error:
        raise RecordError(f"'{cwd}' cannot be entered: {(error.strerror or str(error)).lower()}") from None
    ended = threading.Event()
    threading.Thread(target=_watch, args=(process, ended, stopped), daemon=True).start()
    answer = process.wait(seconds=job.run_seconds + _TOLERANCE_SECONDS)
    ended.set()
    records = find_by_trigger(job.folder, job.trigger)
    if len(records) > len(earlier):
        return outcome_of(records, reason=answer.error)
    raise (UsageError if answer.usage else RecordError)(answer.error)


def _watch(process: RunnerProcess, ended: threading.Event, stopped: Callable[[], bool]) -> None:
    while not ended.wait(_LOOK_SECONDS):
        if stopped():
            return process.stop()
    return None


def open_folder(job: Job) -> Path:
    """The incident's folder (or a batch's), made now unless it is there; opened once, whichever thread comes first."""
    with _opening:
        return ensure_folder(Path(job.outputs), job.incident, title=job.title)


def outcome_of(records: Sequence[Record], *, reason: str = "") -> Outcome:
    """What the last of a job's records tells."""
    *earlier, record = records
    about = record.metadata
    return Outcome(
        record.status,
        record=str(record.path),
        html=str(record.html or ""),
        diagnosis=about.diagnosis,
        severity=severity_found(about),
        seconds=about.seconds,
        reason=about.reason or reason,
        earlier=tuple(one.id for one in earlier),
    )


def _earlier(job: Job) -> list[Record]:
    """Records that it has already. One that is still being written is waited for: its worker outlived its batch."""
    deadline = time.monotonic() + job.run_seconds + _TOLERANCE_SECONDS
    while True:
        found = find_by_trigger(job.folder, job.trigger)
        if all(record.status != "running" for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
