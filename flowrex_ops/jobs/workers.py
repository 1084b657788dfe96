"""Threads that take one job after another, each job once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from flowrex_ops.archive.records import find_by_trigger
from flowrex_ops.errors import FlowrexOpsError, RecordError, UsageError
from flowrex_ops.files import record_error
from flowrex_ops.jobs.run import outcome_of
from flowrex_ops.jobs.table import NOT_STARTED, Job, JobTable, Outcome

_PAUSE = timedelta(seconds=5)
_IDLE_SECONDS = 1.0
_LOCK_SECONDS = 25.0
"""How long runs of whoever was killed may take to finish their records."""


class Runner(Protocol):
    """What makes jobs: processes here, or workers elsewhere. ``stop`` interrupts them from any thread."""

    def __call__(self, job: Job) -> Outcome: ...
    def stop(self) -> None: ...


@dataclass
class Workers:
    """As many *threads*. *on_finish* hears of each job before it is noted as finished, *on_error* of what is tried again.

    A job that leaves no record is tried *attempts* times. *keep_on*: they wait for more when nothing is left.
    """

    table: JobTable
    runner: Runner
    threads: int
    on_finish: Callable[[Job, Outcome], None]
    on_error: Callable[[Exception], None]
    attempts: int = 1
    keep_on: bool = False
    running: int = 0
    stopping: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _started: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        self._started = [threading.Thread(target=self._work, name=f"worker-{n}") for n in range(self.threads)]
        for thread in self._started:
            thread.start()

    def wake(self) -> None:
        """Something was queued, or the end has come."""
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        """Until all have ended."""
        for thread in self._started:
            thread.join()

    def stop(self, *, grace_seconds: float = 0, force: Callable[[], bool] = lambda: False) -> None:
        """Begin nothing more; let runs go on for *grace_seconds* (or until *force*), then interrupt them. What waits stays."""
        self.stopping = True
        self.wake()
        deadline = time.monotonic() + grace_seconds
        while self.running and time.monotonic() < deadline and not force():
            time.sleep(0.05)
        self.runner.stop()
        self.join()

    def finalize(self, job: Job, outcome: Outcome) -> None:
        """Tell, and write down, how *job* ended."""
        self.on_finish(job, outcome)
        self._persist(lambda: self.table.finish(job, outcome))

    def _persist(self, write: Callable[[], None]) -> None:
        """Until it is on disk, which may be full only for a while; at the end whoever comes next finds out from the record."""
        while True:
            try:
                return write()
            except FlowrexOpsError as error:
                self.on_error(error)
            if self.stopping:
                return None
            time.sleep(_IDLE_SECONDS)

    def _work(self) -> None:
        while not self.stopping:
            try:
                job = self.table.claim()
                if job is not None:
                    self._run(job)
                    continue
            except (FlowrexOpsError, OSError) as error:
                self.on_error(error)
            else:
                if not self.keep_on:
                    return
            with self._changed:
                if not self.stopping:
                    self._changed.wait(_IDLE_SECONDS)

    def _run(self, job: Job) -> None:
        with self._changed:
            self.running += 1
        try:
            outcome = self._outcome(job)
            if outcome is not None:
                self.finalize(job, outcome)
        finally:
            with self._changed:
                self.running -= 1

    def _outcome(self, job: Job) -> Outcome | None:
        """``None`` where it left no record and waits again."""
        try:
            return self.runner(job)
        except (FlowrexOpsError, OSError) as error:
            last = isinstance(error, UsageError) or job.attempts >= self.attempts
            if last and not self.stopping:
                return Outcome(NOT_STARTED, reason=str(error))
            counted = not self.stopping
            pause = _PAUSE * 2**job.attempts if counted else timedelta(0)
            self._persist(lambda: self.table.put_back(job, pause=pause, counted=counted))
            return None


def recover(table: JobTable, finalize: Callable[[Job, Outcome], None]) -> None:
    """Jobs that were begun and never ended: by now nobody works on them, and their records tell what became of them."""
    for job in table.jobs("running"):
        records = find_by_trigger(job.folder, job.trigger)
        if records and records[-1].status != "running":
            finalize(job, outcome_of(records))
        else:
            table.put_back(job)


@contextlib.contextmanager
def alone(path: Path, *, busy: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the lock *path*, shared with the runs: it is free once an earlier owner and all its runs are gone. Else RecordError *busy*."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise record_error(error, path) from error
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _taken(descriptor):
            on_wait()
            if time.monotonic() > deadline:
                raise RecordError(busy)
            time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
