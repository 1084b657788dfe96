"""A notebook that was run live in JupyterLab (or by plain papermill) becomes a record like any other.

It goes through the same recorder: redacted before the first byte is written, findings and mitigations taken from its outputs,
cells that never ran marked so. What only a runner knows is told as far as the notebook does: times from the cells'
metadata where the front end kept them, else from the file and the closing outcome.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.incidents import INCIDENT_ID, current_user, open_incident
from flowrex_ops.archive.index import ask
from flowrex_ops.archive.records import allocate
from flowrex_ops.archive.store import push
from flowrex_ops.catalog import is_parameters, read_runbook, source
from flowrex_ops.errors import NotebookError, ParameterError
from flowrex_ops.record.cells import CellRun, CellState
from flowrex_ops.record.events import ignore
from flowrex_ops.record.finish import finish_record, note
from flowrex_ops.record.outcome import payloads
from flowrex_ops.record.recorder import Recorder, RunFacts
from flowrex_ops.record.run import read_notebook
from flowrex_ops.redaction.redactor import Redactor

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult
    from flowrex_ops.settings import Settings

_INJECTED = "injected-parameters"
_STARTS = (("papermill", "start_time"), ("execution", "iopub.execute_input"), ("execution", "iopub.status.busy"))
_ENDS = (("papermill", "end_time"), ("execution", "shell.execute_reply"), ("execution", "iopub.status.idle"))


def import_notebook(
    path: Path, settings: Settings, *, incident_id: str | None = None, again: bool = False
) -> RunResult:
    """Make a record of the executed runbook at *path*, in the incident given, else in its own, else in a new one.

    NotebookError for what is no runbook, did not run or is a record already; ParameterError where this very content was
    imported before and not *again*; RecordError where the record cannot be written. *path* is left as it is.
    """
    notebook = _read(path)
    digest = content_hash(notebook)
    earlier = None if again else _imported_before(settings.outputs, digest)
    if earlier:
        raise ParameterError(f"'{path}' was imported before, as {earlier}; give --again to import it once more")
    redactor = Redactor(settings.secret_values())
    facts = _facts(path, notebook, settings, redactor, digest)
    slot = allocate(_incident(settings.outputs, incident_id, facts), facts.runbook)
    try:
        recorder = Recorder(slot, notebook, facts, redactor, ignore)
        note(slot, redactor, "record-imported", f"{slot.name} imported from {path.name}", sha256=digest)
        _replay(recorder, path, notebook)
        result = finish_record(recorder, redactor, ignore)
    finally:
        os.close(slot.lock)
    push(settings)
    return result


def content_hash(notebook: Mapping[str, Any]) -> str:
    """SHA-256 over the cells' sources and outputs: saving it once more changes nothing, another run does."""
    content = [
        [cell.get("cell_type"), source(cell), cell.get("outputs"), cell.get("execution_count")]
        for cell in _cells(notebook)
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    notebook = read_notebook(path)
    read_runbook(path)
    if "record" in notebook["metadata"]["flowrex_ops"]:
        raise NotebookError(f"'{path}' is a record already; 'flowrex-ops records show' shows it")
    for number, cell in enumerate(_cells(notebook)):
        if not _well_formed(cell):
            raise NotebookError(f"'{path}' is not a notebook: cell {number} is malformed; save it from JupyterLab")
    if not any(_did_run(cell) for cell in _code(notebook).values() if not is_parameters(cell)):
        raise NotebookError(
            f"'{path}' has not run: no cell has an output or a number; run it in JupyterLab and save it"
        )
    return notebook


def _well_formed(cell: Mapping[str, Any]) -> bool:
    outputs = cell.get("outputs", [] if cell.get("cell_type") in ("markdown", "raw") else None)
    return (
        cell.get("cell_type") in ("code", "markdown", "raw")
        and isinstance(cell.get("metadata"), dict)
        and isinstance(cell.get("source"), (str, list))
        and isinstance(outputs, list)
        and all(isinstance(one, dict) and isinstance(one.get("output_type"), str) for one in outputs)
    )


def _cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(notebook["cells"])


def _code(notebook: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Code cells by their place among all."""
    return {index: cell for index, cell in enumerate(_cells(notebook)) if cell.get("cell_type") == "code"}


def _did_run(cell: Mapping[str, Any]) -> bool:
    return cell.get("execution_count") is not None or bool(cell.get("outputs"))


def _imported_before(outputs: Path, digest: str) -> str | None:
    sql = "SELECT id FROM records WHERE imported = ? ORDER BY id"
    row = ask(outputs, lambda index: index.execute(sql, (digest,)).fetchone())
    return str(row["id"]) if row else None


def _facts(path: Path, notebook: Mapping[str, Any], settings: Settings, redactor: Redactor, digest: str) -> RunFacts:
    about, parameters = notebook["metadata"]["flowrex_ops"], _parameters(notebook)
    closing = _closing(notebook)
    return RunFacts(
        runbook=str(about["runbook"]),
        title=redactor.text(str(about["title"])),
        parameters=parameters,
        operator=str(closing.get("operator") or parameters.get("operator") or "") or current_user(),
        platform=settings.platform,
        host=socket.gethostname(),
        versions={"flowrex_ops": version("flowrex-ops"), "python": platform.python_version()},
        imported={"file": path.name, "sha256": digest, "at": datetime.now(UTC).isoformat(timespec="seconds")},
    )


def _incident(outputs: Path, wanted: str | None, facts: RunFacts) -> Path:
    own = str(facts.parameters.get("incident_id") or "")
    if wanted is None and INCIDENT_ID.fullmatch(own) and (outputs / own).is_dir():
        wanted = own
    return open_incident(outputs, wanted, title=facts.title)


def _parameters(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """What the parameters cells say, the injected one last; whatever is no plain value is left out."""
    found: dict[str, Any] = {}
    for cell in _code(notebook).values():
        if is_parameters(cell) or _INJECTED in cell["metadata"].get("tags", ()):
            found |= dict(_assigned(source(cell)))
    return found


def _assigned(text: str) -> Iterator[tuple[str, Any]]:
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return
    for node in statements:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            try:
                yield target.id, ast.literal_eval(value)
            except (ValueError, TypeError, MemoryError, RecursionError):
                continue


def _closing(notebook: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last word on the whole run, where it came so far."""
    return ([{}] + [one for one in payloads(notebook) if one.get("kind") == "outcome"])[-1]


def _replay(recorder: Recorder, path: Path, notebook: Mapping[str, Any]) -> None:
    runs, cells = {}, _code(notebook)
    for number, (index, cell) in enumerate(cells.items(), start=1):
        runs[index] = _run(number, cell)
    started, ended = _times(path, notebook, runs)
    recorder.replay(runs, started=started, ended=ended)
    for payload in payloads(notebook):
        recorder.take(payload)
    _judge(recorder, runs, cells)


def _run(number: int, cell: Mapping[str, Any]) -> CellRun:
    run = CellRun(number, started=_moment(cell, _STARTS), ended=_moment(cell, _ENDS))
    error = _error(cell)
    if error:
        run.state, run.note = CellState.FAILED, f"Cell {number} raised {error}."
    elif _did_run(cell):
        run.state = CellState.COMPLETED
    return run


def _error(cell: Mapping[str, Any]) -> str:
    found = (one for one in cell["outputs"] if one["output_type"] == "error")
    return next((f"{one.get('ename')}: {str(one.get('evalue')).partition(chr(10))[0][:300]}" for one in found), "")


def _judge(recorder: Recorder, runs: Mapping[int, CellRun], cells: Mapping[int, dict[str, Any]]) -> None:
    """Failed where a cell raised; partial where cells never ran, or ran in another order than they are read."""
    failed = next((run for run in runs.values() if run.state is CellState.FAILED), None)
    left = [run.number for run in runs.values() if run.state is CellState.DID_NOT_RUN]
    counts = [cell["execution_count"] for cell in cells.values() if isinstance(cell.get("execution_count"), int)]
    if failed:
        recorder.fail(failed.note.rstrip(".").replace("Cell", "cell", 1))
    elif left:
        recorder.leave_partial(f"cell{'s' if len(left) > 1 else ''} {', '.join(map(str, left))} did not run")
    elif counts != sorted(counts):
        recorder.leave_partial("its cells were run in another order than they are read")


def _times(path: Path, notebook: Mapping[str, Any], runs: Mapping[int, CellRun]) -> tuple[datetime, datetime]:
    starts = [run.started for run in runs.values() if run.started]
    ends = [run.ended for run in runs.values() if run.ended]
    ended = max(ends) if ends else datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if starts:
        return min(starts), max(ended, *starts)
    took = _closing(notebook).get("seconds")
    seconds = float(took) if isinstance(took, (int, float)) and 0 <= took < timedelta(days=1).total_seconds() else 0.0
    return ended - timedelta(seconds=seconds), ended


def _moment(cell: Mapping[str, Any], places: tuple[tuple[str, str], ...]) -> datetime | None:
    for group, name in places:
        members = cell["metadata"].get(group)
        text = members.get(name) if isinstance(members, dict) else None
        try:
            moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        except ValueError:
            moment = None
        if moment:
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
