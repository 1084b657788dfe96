"""One run of a batch, wherever it is made: here, or on a worker of a cluster that shares the outputs' folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowrex_ops.archive.records import Record, find_by_trigger
from flowrex_ops.batch.folder import NOT_STARTED, Outcome
from flowrex_ops.batch.plan import Task
from flowrex_ops.record.result import severity_found
from flowrex_ops.record.runner_process import Answer, Request, RunnerProcess

_TOLERANCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """A task with all that its run needs; plain data, since it travels. ``cwd`` is the folder in which the batch was started."""

    task: Task
    incident: str
    trigger: str
    cwd: str


def run_order(
    order: Order,
    *,
    keep_open: Sequence[int] = (),
    on_child: Callable[[RunnerProcess | None], None] = lambda _child: None,
) -> Outcome:
    """Make the run unless it was made before, and tell how it ended. Blocking. *on_child* gets the process, then ``None``."""
    earlier = _earlier(order)
    if earlier and earlier[-1].status not in ("interrupted", "running"):
        return _of_record(order, earlier[-1], earlier[:-1])
    parameters = {**order.task.parameters, "incident_id": order.incident}
    parameters |= {"settings": order.task.settings} if order.task.settings else {}
    try:
        child = RunnerProcess(
            Request(order.task.runbook, parameters, order.trigger), cwd=Path(order.cwd), keep_open=keep_open
        )
    except OSError as error:
        reason = f"'{order.cwd}' cannot be entered: {(error.strerror or str(error)).lower()}"
        return Outcome(order.task.number, NOT_STARTED, reason=reason)
    on_child(child)
    try:
        answer = child.wait(seconds=order.task.run_seconds + _TOLERANCE_SECONDS)
    finally:
        on_child(None)
    return _of_answer(order, answer)


def _earlier(order: Order) -> list[Record]:
    """Records that this order has already. One that is still being written is waited for: its worker outlived its batch."""
    deadline = time.monotonic() + order.task.run_seconds + _TOLERANCE_SECONDS
    while True:
        found = find_by_trigger(Path(order.task.outputs) / order.incident, order.trigger)
        if all(record.status != "running" for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _of_answer(order: Order, answer: Answer) -> Outcome:
    """The record counts; without one, what the process said."""
    records = find_by_trigger(Path(order.task.outputs) / order.incident, order.trigger)
    if records and (answer.result is not None or answer.record == records[-1].id):
        outcome = _of_record(order, records[-1], records[:-1])
        return outcome if outcome.reason or not answer.error else replace(outcome, reason=answer.error)
    return Outcome(order.task.number, NOT_STARTED, reason=answer.error, earlier=tuple(record.id for record in records))


def _of_record(order: Order, record: Record, earlier: Sequence[Record]) -> Outcome:
    about = record.metadata
    return Outcome(
        order.task.number,
        record.status,
        record=str(record.path),
        html=str(record.html or ""),
        diagnosis=about.get("diagnosis"),
        severity=severity_found(str(about.get("runbook")), about.get("severity"), about.get("findings") or ()),
        seconds=about.get("seconds"),
        reason=about.get("reason") or "",
        earlier=tuple(one.id for one in earlier),
    )
