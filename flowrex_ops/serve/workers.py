"""Runs what waits in the queue, a bounded number at once, each job once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.archive.incidents import ensure_incident
from flowrex_ops.archive.records import find_by_trigger
from flowrex_ops.catalog import Runbook
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.record.orphaned import recover_orphaned
from flowrex_ops.record.runner_process import Answer, Request, RunnerProcess
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.serve import notes
from flowrex_ops.serve.metrics import Metrics
from flowrex_ops.serve.queue import Job, Queue

_LOG = logging.getLogger("flowrex_ops.serve")
_ATTEMPTS = 3
_PAUSE = timedelta(seconds=5)
_IDLE_SECONDS = 1.0
_TOLERANCE_SECONDS = 120.0
"""Beyond the run's own limit, for what it does before and after."""
NOT_STARTED = "not started"


@dataclass(frozen=True)
class Work:
    """What runs need to know. ``lock`` is held by every run for as long as it lives."""

    queue: Queue
    runbooks: Mapping[str, Runbook]
    outputs: Path
    parameters: Mapping[str, Any]
    run_seconds: float
    lock: int
    redactor: Redactor
    metrics: Metrics


@dataclass
class Workers:
    """*jobs* threads that take one job after another. ``wake`` tells them of new ones."""

    work: Work
    jobs: int
    _children: dict[int, RunnerProcess] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _noting: threading.Lock = field(default_factory=threading.Lock)
    _stopping: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def running(self) -> int:
        """How many runs go on."""
        return len(self._children)

    def start(self) -> None:
        """Settle what a crash left behind, then begin."""
        recover(self.work)
        self._threads = [threading.Thread(target=self._work, name=f"worker-{n}") for n in range(self.jobs)]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something was queued."""
        with self._changed:
            self._changed.notify_all()

    def note(self) -> None:
        """Tell the timelines of what was accepted; one at a time, so that nothing stands there twice."""
        with self._noting:
            notes.note_deliveries(self.work.queue, self.work.outputs, self.work.redactor)

    def stop(self, *, grace_seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Begin nothing more; let runs go on for *grace_seconds* (or until *hurry*), then interrupt them. The queue stays."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + grace_seconds
        while self._children and time.monotonic() < deadline and not hurry():
            time.sleep(0.05)
        for child in list(self._children.values()):
            child.stop()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopping:
            try:
                job = self.work.queue.claim(datetime.now(UTC))
                if job is not None:
                    self._run(job)
                    continue
            except (FlowrexOpsError, OSError) as error:
                self.work.metrics.errors.inc()
                _LOG.error("%s", error)
            with self._changed:
                if not self._stopping:
                    self._changed.wait(_IDLE_SECONDS)

    def _run(self, job: Job) -> None:
        """From the claim to the row that says how it ended."""
        began = time.monotonic()
        try:
            self.note()
            ensure_incident(self.work.outputs, job.incident, title=job.title)
            answer = self._call(job)
        except (FlowrexOpsError, OSError) as error:
            answer = Answer(error=str(error))
        self._settle(job, answer)
        self.work.metrics.seconds.labels(job.runbook).observe(time.monotonic() - began)

    def _settle(self, job: Job, answer: Answer) -> None:
        """Until it is on disk: a disk that is full for a while must not leave a job hanging."""
        while True:
            try:
                return settle(self.work, job, answer, stopping=self._stopping)
            except FlowrexOpsError as error:
                self.work.metrics.errors.inc()
                _LOG.error("%s", error)
                if self._stopping:
                    return None  # the next server finds out from the record
            time.sleep(_IDLE_SECONDS)

    def _call(self, job: Job) -> Answer:
        given = {**self.work.parameters, "incident_id": job.incident}
        runbook = self.work.runbooks.get(job.runbook)
        if runbook is None:
            return Answer(error=f"there is no runbook '{job.runbook}' any more", usage=True)
        request = Request(str(runbook.path), given, job.trigger)
        child = RunnerProcess(request, keep_open=(self.work.lock,))
        self._children[job.id] = child
        try:
            if self._stopping:
                child.stop()
            return child.wait(seconds=self.work.run_seconds + _TOLERANCE_SECONDS)
        finally:
            del self._children[job.id]


def recover(work: Work) -> None:
    """Jobs that were begun and never ended: by now nobody works on them, and their records tell what became of them."""
    for job in work.queue.begun():
        recover_orphaned(work.outputs / job.incident, work.redactor)
        settle(work, job, Answer(error="the server was killed"), stopping=True)


def settle(work: Work, job: Job, answer: Answer, *, stopping: bool) -> None:
    """Write down how *job* ended. Without a record it is tried again, without counting where the server was *stopping*."""
    now = datetime.now(UTC)
    folder = work.outputs / job.incident
    if answer.result is not None:
        _end(work, job, answer.record, answer.result, answer.reason, now)
        return
    records = find_by_trigger(folder, job.trigger)
    if records:
        last = records[-1]
        _end(work, job, last.id, {**last.metadata, "status": last.status}, answer.error, now)
    elif stopping:
        work.queue.put_back(job, not_before=now, counted=False)
    elif answer.usage or job.attempts >= _ATTEMPTS:
        notes.note_failure(folder, job, answer.error)
        work.queue.end(job, now, record="", status=NOT_STARTED, reason=answer.error)
        work.metrics.runs.labels(job.runbook, NOT_STARTED).inc()
        _LOG.error("%s: %s could not be run: %s", job.trigger, job.runbook, answer.error)
    else:
        work.queue.put_back(job, not_before=now + _PAUSE * 2**job.attempts, counted=True)


def _end(work: Work, job: Job, record: str, result: Mapping[str, Any], reason: str, now: datetime) -> None:
    status = str(result["status"])
    with contextlib.suppress(FlowrexOpsError):
        notes.note_end(work.outputs / job.incident, job, record, result)
    work.queue.end(job, now, record=record, status=status, reason=reason)
    work.metrics.runs.labels(job.runbook, status).inc()
    _LOG.info("%s: %s %s: %s", job.trigger, record, status, result.get("diagnosis") or "no diagnosis")
