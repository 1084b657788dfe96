"""Records whose runner was killed are finished by whoever comes next: then they are sealed, sent and shown like any other.

Until then their file says so itself; but it has no page, no manifest lists it, and no store has it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import LOCK_SUFFIX
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.archive.records import Slot, find_folders
from flowrex_ops.archive.store import push
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.files import locked, take_lock
from flowrex_ops.model import RunStatus
from flowrex_ops.record.banner import TAG
from flowrex_ops.record.cells import CUT_OFF, MARK_KEY, CellRun, CellState
from flowrex_ops.record.document import join_lines
from flowrex_ops.record.events import ignore
from flowrex_ops.record.finish import finish_record, seal
from flowrex_ops.record.outcome import payloads
from flowrex_ops.record.recorder import Recorder, RunFacts
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

REASON = "its runner was killed, or the machine that it ran on went down"
_CANNOT = (FlowrexOpsError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What a record raises that cannot be written, or is not in the form in which it was written."""


def recover_orphaned(incident: Path, redactor: Redactor) -> list[str]:
    """Finish each record in the folder *incident* that nobody works on any more; their ids.

    What cannot be finished (a damaged file, a full disk) stays as it is, and is tried again the next time.
    """
    finished = []
    for lock in sorted((incident / "records").glob(f".*{LOCK_SUFFIX}")):
        with _taken(incident, lock) as held, contextlib.suppress(*_CANNOT):
            if held is None:
                continue
            name = _record_of(lock)
            if not name:
                lock.unlink()  # killed before it wrote anything
                continue
            slot = Slot(incident, name, held)
            _finish(slot, redactor)
            finished.append(slot.id)
    return finished


def recover_all_orphaned(settings: Settings) -> list[str]:
    """The same for the whole archive, a store included; the ids."""
    redactor = Redactor(settings.secret_values())
    finished = [name for folder in find_folders(settings.outputs) for name in recover_orphaned(folder, redactor)]
    if finished:
        push(settings)
    return finished


@contextlib.contextmanager
def _taken(incident: Path, lock: Path) -> Iterator[int | None]:
    """The open *lock*, now held here; ``None`` where somebody lives who holds it, or it is gone.

    Under the incident's own lock, as in ``allocate``: a lock that is just being made looks like one that was left.
    """
    descriptor = None
    with locked(incident / timeline.FILE), contextlib.suppress(OSError):
        descriptor = take_lock(lock)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _record_of(lock: Path) -> str:
    number = lock.name.removeprefix(".").removesuffix(LOCK_SUFFIX)
    return next((path.stem for path in sorted(lock.parent.glob(f"{number}-*.ipynb"))), "")


def _finish(slot: Slot, redactor: Redactor) -> None:
    notebook = join_lines(json.loads(slot.notebook.read_bytes()))
    record = RecordMetadata.model_validate(notebook["metadata"]["flowrex_ops"]["record"])
    if record.status is not RunStatus.RUNNING:  # killed between its last write and its seal
        seal(slot, notebook, redactor)
        return
    del notebook["metadata"]["flowrex_ops"]["record"]
    ended = datetime.fromtimestamp(slot.notebook.stat().st_mtime, UTC)
    runs = _take_marks_off(notebook, ended)
    recorder = Recorder(slot, notebook, _facts(record), redactor, ignore)
    recorder.replay(runs, started=record.started or ended, ended=ended)
    for payload in payloads(notebook):
        recorder.take(payload)
    recorder.interrupt(REASON)
    finish_record(recorder, redactor, ignore)


def _facts(record: RecordMetadata) -> RunFacts:
    names = ("runbook", "title", "parameters", "operator", "platform", "host", "versions", "trigger")
    return RunFacts(**{name: getattr(record, name) for name in names})


def _take_marks_off(notebook: dict[str, Any], ended: datetime) -> dict[int, CellRun]:
    """What was written into the notebook about its cells is taken out again, and returned by the code cell's index."""
    notebook["cells"] = [cell for cell in notebook["cells"] if TAG not in cell["metadata"].get("tags", ())]
    codes = [index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    return {index: _run(number, notebook["cells"][index], ended) for number, index in enumerate(codes, start=1)}


def _run(number: int, cell: dict[str, Any], ended: datetime) -> CellRun:
    about = cell["metadata"].pop("flowrex_ops")
    marks = [output for output in cell["outputs"] if MARK_KEY in output.get("metadata", {})]
    cell["outputs"] = [output for output in cell["outputs"] if output not in marks]
    run = CellRun(number, CellState(about["state"]), _moment(about["started"]), _moment(about["ended"]))
    if run.state is CellState.RUNNING:
        run.state, run.ended, run.note = CellState.INTERRUPTED, ended, CUT_OFF
    elif marks and run.state is not CellState.DID_NOT_RUN:
        run.note = marks[0]["data"]["text/plain"]
    return run


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
