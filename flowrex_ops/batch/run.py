"""Runs what a batch still lacks, a bounded number at once, and keeps each outcome as it comes."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path

from flowrex_ops.batch.folder import Batch
from flowrex_ops.batch.report import write_report
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.jobs.run import open_folder, run_job
from flowrex_ops.jobs.table import Outcome
from flowrex_ops.jobs.workers import Execute, Workers, exclusive, recover
from flowrex_ops.record.interrupts import interruptible

_MOST_ON_CLUSTER = 256


class BatchInterruptedError(FlowrexOpsError):
    """The batch was told to stop; the text says how it goes on."""


def run_batch(
    batch: Batch, *, threads: int | None = None, dask: str = "", on_outcome: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run every job of *batch* that is not finished, and write its report.

    *threads* at once, by default as many as there are processors; on the cluster at *dask* as many as it has room for.

    Returns the outcomes of all jobs in their order. BatchInterruptedError after SIGINT, SIGTERM or SIGHUP: the records of running
    runs then say so, and what is finished stays finished. RecordError where the state cannot be written.
    """
    failed: list[Exception] = []

    def fail(error: Exception) -> None:
        failed.append(error)
        workers.interrupt()

    busy = f"batch '{batch.id}' still goes on; wait for its end, then go on with --resume {batch.id}"
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(exclusive(batch.path / ".lock", busy=busy))
        table = stack.enter_context(batch.table())
        recover(table, table.finish)
        table.requeue()
        execute: Execute = functools.partial(run_job, cwd=Path.cwd(), keep_open=(lock,))
        if dask:
            from flowrex_ops.batch.cluster import Cluster

            execute = stack.enter_context(Cluster(dask, batch.path)).execute
        most = threads or (_MOST_ON_CLUSTER if dask else os.cpu_count() or 1)
        workers = Workers(table, execute, min(most, table.length()), lambda _job, outcome: on_outcome(outcome), fail)
        for job in {job.incident: job for job in batch.jobs}.values():
            open_folder(job)
        _await(batch, workers)
        known = table.outcomes()
    if failed:
        raise failed[0]
    outcomes = [known[job.id] for job in batch.jobs]
    write_report(batch, outcomes)
    return outcomes


def _await(batch: Batch, workers: Workers) -> None:
    with interruptible() as guard:
        guard.arm(workers.interrupt)
        workers.start()
        workers.join()
    if guard.reason:
        done = f"{len(batch.jobs) - batch.unfinished()} of {len(batch.jobs)} runs are finished"
        raise BatchInterruptedError(f"{guard.reason}; {done}; go on with 'flowrex-ops batch --resume {batch.id}'")
