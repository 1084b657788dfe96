"""Threads that take one job after another, each job once, whatever is killed meanwhile.

A server's lock is inherited by its runs: the next server waits until they are gone, and only then asks the records
what became of the jobs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from flowrex_ops.archive.records import find_by_trigger
from flowrex_ops.errors import FlowrexOpsError, RecordError, UsageError
from flowrex_ops.files import record_error, take_lock
from flowrex_ops.jobs.run import outcome_of
from flowrex_ops.jobs.table import NOT_STARTED, Job, JobTable, Outcome

_PAUSE = timedelta(seconds=5)
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_LOCK_SECONDS = 25.0
"""How long runs of whoever was killed may take to finish their records."""
Execute = Callable[[Job, Callable[[], bool]], Outcome]
"""Runs a job, until the function that it is given says that it must stop."""


@dataclass
class Workers:
    """As many *threads* that *execute* jobs. *on_finish* hears of each before it is noted, *on_error* of what is tried again.

    A job that leaves no record is tried *attempts* times. *keep_on*: they wait for more when nothing is left.
    ``running`` are the jobs' ids; once ``stopping``, nothing more is begun, and what waits stays.
    """

    table: JobTable
    execute: Execute
    threads: int
    on_finish: Callable[[Job, Outcome], None]
    on_error: Callable[[Exception], None]
    attempts: int = 1
    keep_on: bool = False
    stopping: bool = False
    interrupted: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    running: set[int] = field(default_factory=set)
    _started: list[Future[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        pool = ThreadPoolExecutor(max(1, self.threads), thread_name_prefix="worker")
        self._started = [pool.submit(self._work) for _ in range(self.threads)]

    def join(self) -> None:
        """Until all have ended."""
        for ended in wait(self._started).done:
            ended.result()  # raises what nobody expected

    def interrupt(self) -> None:
        """Begin nothing more, and interrupt what runs. May be called where a signal strikes: it waits for nothing."""
        self.stopping = True
        self.interrupted.set()
        self.wake.set()

    def stop(self, *, grace_seconds: float = 0, force: Callable[[], bool] = lambda: False) -> None:
        """Begin nothing more; let runs go on for *grace_seconds* (or until *force*), then interrupt them."""
        self.stopping = True
        self.wake.set()
        deadline = time.monotonic() + grace_seconds
        while self.running and time.monotonic() < deadline and not force():
            time.sleep(0.05)
        self.interrupt()
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
            self.wake.wait(_IDLE_SECONDS)
            self.wake.clear()

    def _run(self, job: Job) -> None:
        self.running.add(job.id)
        outcome = self._outcome(job)
        if outcome is not None:
            self.finalize(job, outcome)
        self.running.discard(job.id)

    def _outcome(self, job: Job) -> Outcome | None:
        """``None`` where it left no record and waits again."""
        try:
            return self.execute(job, self.interrupted.is_set)
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
def exclusive(path: Path, *, busy: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the lock *path*, shared with the runs: it is free once an earlier owner and all its runs are gone. Else RecordError *busy*."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise record_error(error, path) from error
    deadline, descriptor = time.monotonic() + _LOCK_SECONDS, -1
    while descriptor < 0:
        try:
            descriptor = take_lock(path)
        except BlockingIOError:
            on_wait()
            if time.monotonic() > deadline:
                raise RecordError(busy) from None
            time.sleep(_LOOK_SECONDS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
