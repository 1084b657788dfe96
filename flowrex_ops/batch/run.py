"""Runs what a batch still lacks, a bounded number at once, and keeps each outcome as it comes."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from flowrex_ops.archive.incidents import ensure_incident
from flowrex_ops.batch.folder import Batch, Outcome
from flowrex_ops.batch.plan import Task
from flowrex_ops.batch.report import write_report
from flowrex_ops.batch.task import Order, run_order
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.record.interrupts import Interrupted, interruptible
from flowrex_ops.record.runner_process import RunnerProcess

Execute = Callable[[Sequence[Order]], Generator[Outcome, None, None]]
OnOutcome = Callable[[Outcome], None]


class BatchInterruptedError(FlowrexOpsError):
    """The batch was told to stop; the text says how it goes on."""


def run_batch(
    batch: Batch, *, jobs: int | None = None, dask: str = "", on_outcome: OnOutcome = lambda _outcome: None
) -> list[Outcome]:
    """Run every task of *batch* that is not finished, and write its report.

    *jobs* at once, by default as many as there are processors; on the cluster at *dask* as many as it has threads.

    Returns the outcomes of all tasks in their order. BatchInterruptedError after SIGINT, SIGTERM or SIGHUP: the records of running
    runs then say so, and what is finished stays finished. RecordError where the state cannot be written.
    """
    lock = batch.hold()
    try:
        orders = [_order(batch, task) for task in batch.unfinished()]
        if dask:
            from flowrex_ops.batch.cluster import on_cluster

            execute: Execute = on_cluster(batch, dask, most=jobs)
        else:
            execute = functools.partial(_run_here, jobs=jobs or os.cpu_count() or 1, lock=lock)
        _run(batch, orders, execute, on_outcome)
    finally:
        os.close(lock)
    known = batch.outcomes()
    outcomes = [known[task.number] for task in batch.tasks]
    write_report(batch, outcomes)
    return outcomes


def _run(batch: Batch, orders: Sequence[Order], execute: Execute, on_outcome: OnOutcome) -> None:
    for platform, incident in batch.incidents.items():
        outputs = next(task.outputs for task in batch.tasks if task.platform == platform)
        ensure_incident(Path(outputs), incident, title=f"batch {batch.id}, {platform}")
    try:
        with interruptible() as guard:
            guard.arm()
            with contextlib.closing(execute(orders)) as outcomes:
                for outcome in outcomes:
                    batch.note(outcome)
                    on_outcome(outcome)
    except Interrupted as error:
        done = len(batch.tasks) - len(batch.unfinished())
        raise BatchInterruptedError(
            f"{error}; {done} of {len(batch.tasks)} runs are finished; go on with 'flowrex-ops batch --resume {batch.id}'"
        ) from None


def _order(batch: Batch, task: Task) -> Order:
    return Order(task, batch.incidents[task.platform], batch.trigger(task), str(Path.cwd()))


def _run_here(orders: Sequence[Order], jobs: int, lock: int) -> Generator[Outcome, None, None]:
    """Each in a process of its own, from as many threads; closed early, it interrupts what runs and begins no more."""
    children: set[RunnerProcess] = set()
    stopping = threading.Event()

    def run(order: Order) -> Outcome | None:
        mine: list[RunnerProcess] = []

        def on_child(child: RunnerProcess | None) -> None:
            if child is None:
                children.difference_update(mine)
                return
            mine.append(child)
            children.add(child)
            if stopping.is_set():
                child.stop()

        return None if stopping.is_set() else run_order(order, keep_open=(lock,), on_child=on_child)

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="run")
    futures = [pool.submit(run, order) for order in orders]
    try:
        for future in as_completed(futures):
            outcome = future.result()
            if outcome is not None:
                yield outcome
    finally:
        stopping.set()
        for child in list(children):
            child.stop()
        pool.shutdown(cancel_futures=True)
