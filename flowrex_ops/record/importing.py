"""A notebook that was run live in JupyterLab (or by plain papermill) becomes a record like any other.

It goes through the same recorder: redacted before the first byte is written, findings and mitigations taken from its outputs,
cells that never ran marked so. It ended when its file was last saved, and began as long before as its closing outcome says.

Known by its cells and outputs: saving it again changes nothing, running it again does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.incidents import open_folder
from flowrex_ops.archive.index import ask
from flowrex_ops.archive.records import allocate
from flowrex_ops.archive.store import push
from flowrex_ops.catalog import is_parameters, read_runbook, source
from flowrex_ops.errors import NotebookError, ParameterError
from flowrex_ops.record.cells import CellRun, CellState
from flowrex_ops.record.events import ignore
from flowrex_ops.record.finish import finish_record, note
from flowrex_ops.record.outcome import payloads
from flowrex_ops.record.recorder import Recorder
from flowrex_ops.record.run import read_notebook, run_facts
from flowrex_ops.redaction.redactor import Redactor

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult
    from flowrex_ops.settings import Settings


def import_notebook(
    path: Path, settings: Settings, *, incident_id: str | None = None, again: bool = False
) -> RunResult:
    """Make a record of the executed runbook at *path*, in the incident given, else in its own, else in a new run.

    NotebookError for what is no runbook, did not run or is a record already; ParameterError where this very content was
    imported before and not *again*; RecordError where the record cannot be written. *path* is left as it is.
    """
    notebook = _read(path)
    digest, earlier = content_hash(notebook), kept_as(settings.outputs, notebook)
    if earlier and not again:
        raise ParameterError(f"'{path}' was imported before, as {earlier}; give --force to import it once more")
    redactor, runbook = Redactor(settings.secret_values()), read_runbook(path)
    parameters = {parameter.name: parameter.default for parameter in runbook.parameters}
    parameters |= notebook["metadata"].get("papermill", {}).get("parameters", {})
    about = {"file": path.name, "sha256": digest, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    facts = run_facts(runbook.slug, redactor.text(runbook.title), parameters, settings)
    incident_id = incident_id or _own_folder(notebook, parameters, settings.outputs)
    slot = allocate(open_folder(settings.outputs, incident_id), facts.runbook)
    try:
        recorder = Recorder(slot, notebook, replace(facts, imported=about), redactor, ignore)
        note(slot, redactor, "record-imported", f"{slot.name} imported from {path.name}", sha256=digest)
        _replay(recorder, path, notebook)
        result = finish_record(recorder, redactor, ignore)
    finally:
        os.close(slot.lock)
    push(settings)
    return result


def _own_folder(notebook: Mapping[str, Any], parameters: Mapping[str, Any], outputs: Path) -> str | None:
    """The incident that it was run in, or the run that its mitigations made; ``None`` where there is neither any more."""
    closing: Mapping[str, Any] = next(
        (one for one in reversed(list(payloads(notebook))) if one.get("kind") == "outcome"), {}
    )
    named = (parameters.get("incident_id"), closing.get("incident"), closing.get("run"))
    return next((str(name) for name in named if name and (outputs / str(name)).is_dir()), None)


def kept_as(outputs: Path, notebook: Mapping[str, Any]) -> str:
    """The id of the record that was made of this very content; empty where there is none."""
    sql = "SELECT id FROM records WHERE imported = ? ORDER BY id"
    found = ask(outputs, lambda index: index.execute(sql, (content_hash(notebook),)).fetchone())
    return str(found["id"]) if found else ""


def content_hash(notebook: Mapping[str, Any]) -> str:
    """SHA-256 over the cells' sources and outputs: saving it once more changes nothing, another run does."""
    content = [
        [cell.get("cell_type"), source(cell), cell.get("outputs"), cell.get("execution_count")]
        for cell in _joined(notebook)["cells"]
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    from nbformat.validator import isvalid

    notebook = read_notebook(path)
    read_runbook(path)
    if "record" in notebook["metadata"]["flowrex_ops"]:
        raise NotebookError(f"'{path}' is a record already; 'flowrex-ops records show' shows it")
    if not isvalid(notebook):
        raise NotebookError(f"'{path}' is not a notebook: a cell is malformed; save it from JupyterLab")
    if not any(_did_run(cell) for cell in _code(notebook) if not is_parameters(cell)):
        raise NotebookError(
            f"'{path}' has not run: no cell has an output or a number; run it in JupyterLab and save it"
        )
    return _joined(notebook)


def _joined(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """With each text in one piece: Jupyter writes them as lists of lines (nbformat, *multi-line strings*)."""
    from nbformat import from_dict
    from nbformat.v4.rwbase import rejoin_lines

    whole: dict[str, Any] = rejoin_lines(from_dict(notebook))
    return whole


def _code(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _did_run(cell: Mapping[str, Any]) -> bool:
    return cell.get("execution_count") is not None or bool(cell.get("outputs"))


def _replay(recorder: Recorder, path: Path, notebook: dict[str, Any]) -> None:
    """What became of each cell, what its outputs say, and what to think of the whole."""
    cells, said = _code(notebook), list(payloads(notebook))
    runs = [_run(number, cell) for number, cell in enumerate(cells, start=1)]
    seconds = next((one.get("seconds") for one in reversed(said) if one.get("kind") == "outcome"), 0)
    ended = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    began = ended - timedelta(seconds=seconds if isinstance(seconds, int | float) and 0 <= seconds < 86_400 else 0)  # noqa: PLR2004  # a day
    places = [index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    recorder.replay(dict(zip(places, runs, strict=True)), started=began, ended=ended)
    for payload in said:
        recorder.take(payload)
    left = [str(run.number) for run in runs if run.state is CellState.DID_NOT_RUN]
    counts = [cell["execution_count"] for cell in cells if cell.get("execution_count") is not None]
    for run in runs:
        if run.state is CellState.FAILED:
            recorder.fail(run.note.rstrip(".").replace("Cell", "cell", 1))
    if left:
        recorder.leave_partial(f"cell{'s' if len(left) > 1 else ''} {', '.join(left)} did not run")
    if counts != sorted(counts):
        recorder.leave_partial("its cells were run in another order than they are read")


def _run(number: int, cell: Mapping[str, Any]) -> CellRun:
    run = CellRun(number, CellState.COMPLETED) if _did_run(cell) else CellRun(number)
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            text = str(output.get("evalue")).partition("\n")[0][:300]
            run.state, run.note = CellState.FAILED, f"Cell {number} raised {output.get('ename')}: {text}."
    return run
