"""Runs what a batch still lacks, a bounded number at once, and keeps each outcome as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable

from flowrex_ops.batch.folder import Batch
from flowrex_ops.batch.report import write_report
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.jobs.run import LocalRunner, open_folder
from flowrex_ops.jobs.table import JobTable, Outcome
from flowrex_ops.jobs.workers import Runner, Workers, alone, recover
from flowrex_ops.record.interrupts import Interrupted, interruptible

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
    busy = f"batch '{batch.id}' still goes on; wait for its end, then go on with --resume {batch.id}"
    with alone(batch.path / ".lock", busy=busy) as lock, batch.table() as table:
        recover(table, table.finish)
        table.requeue()
        if dask:
            from flowrex_ops.batch.cluster import ClusterRunner

            with ClusterRunner(dask, batch.path) as runner:
                _run(batch, table, runner, threads or _MOST_ON_CLUSTER, on_outcome)
        else:
            _run(batch, table, LocalRunner(lock), threads or os.cpu_count() or 1, on_outcome)
        known = table.outcomes()
    outcomes = [known[job.id] for job in batch.jobs]
    write_report(batch, outcomes)
    return outcomes


def _run(batch: Batch, table: JobTable, runner: Runner, threads: int, on_outcome: Callable[[Outcome], None]) -> None:
    failed: list[Exception] = []

    def fail(error: Exception) -> None:
        failed.append(error)
        workers.stopping = True
        runner.stop()

    threads = min(threads, table.length())
    workers = Workers(table, runner, threads, on_finish=lambda _job, outcome: on_outcome(outcome), on_error=fail)
    for job in {job.incident: job for job in batch.jobs}.values():
        open_folder(job)
    with interruptible() as guard:
        try:
            guard.arm()
            workers.start()
            workers.join()
        except Interrupted as error:
            workers.stop()
            done = len(batch.jobs) - batch.unfinished()
            raise BatchInterruptedError(
                f"{error}; {done} of {len(batch.jobs)} runs are finished; go on with 'flowrex-ops batch --resume {batch.id}'"
            ) from None
    if failed:
        raise failed[0]
