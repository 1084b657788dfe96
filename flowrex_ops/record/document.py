"""A running notebook as redacted notebook JSON, with banner, states and marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flowrex_ops.archive.outcome import RecordMetadata, iso
from flowrex_ops.archive.records import Slot
from flowrex_ops.catalog import is_live
from flowrex_ops.model import RunStatus
from flowrex_ops.record.banner import banner_cell
from flowrex_ops.record.cells import CellRun, CellState, mark
from flowrex_ops.redaction.redactor import Redactor

_NOT_RUN_YET = "Has not run: the run had not come this far when this was written."
_NOT_RUN = "Did not run: the run ended before this cell."
_RUNNING = "Was running when this was written; where nothing runs any more, the run was killed here."
_CELL_IDS_SINCE = 5
"""The minor version of notebook format 4 from which each cell must have an id."""
_STRUCTURE = frozenset({"cell_type", "id", "output_type", "execution_count", "name"})
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


def join_lines(notebook: dict[str, Any]) -> dict[str, Any]:
    """*notebook* with each source as one text: a file may have it as a list of lines, which a page does not take."""
    for cell in notebook["cells"]:
        if isinstance(cell, dict) and isinstance(cell.get("source"), list):
            cell["source"] = "".join(map(str, cell["source"]))
    return notebook


class Document:
    """The redacted form of *notebook* (nbformat 4 as dicts); each cell is redacted once, and again when it has run."""

    def __init__(self, notebook: dict[str, Any], redactor: Redactor) -> None:
        self._notebook = notebook
        self._redactor = redactor
        self._cells = [self._redacted(cell) for cell in notebook["cells"]]

    def refresh(self, index: int) -> None:
        """The cell at *index* has new outputs, and so may have those that are updated in place."""
        for at, cell in enumerate(self._notebook["cells"]):
            if at == index or (cell["cell_type"] == "code" and is_live(cell)):
                self._cells[at] = self._redacted(cell)

    def heading_above(self, index: int) -> str:
        """The nearest heading before the cell at *index*; empty where there is none."""
        for cell in reversed(self._cells[:index]):
            found = _HEADING.findall(_text(cell["source"])) if cell["cell_type"] == "markdown" else []
            if found:
                return str(found[-1])
        return ""

    def render(self, record: RecordMetadata, runs: Mapping[int, CellRun], slot: Slot) -> dict[str, Any]:
        """The whole notebook as it goes to disk, *record* in its metadata and as the banner."""
        redacted = RecordMetadata.model_validate(self._redactor.json(record.to_dict()))
        minor = int(self._notebook.get("nbformat_minor", 4))
        over = record.status is not RunStatus.RUNNING
        cells = [self._cell(cell, runs.get(index), over) for index, cell in enumerate(self._cells)]
        return {
            "cells": [banner_cell(redacted, with_id=minor >= _CELL_IDS_SINCE), *cells],
            "metadata": self._metadata(redacted, slot),
            "nbformat": self._notebook.get("nbformat", 4),
            "nbformat_minor": minor,
        }

    def _metadata(self, record: RecordMetadata, slot: Slot) -> dict[str, Any]:
        metadata = self._members(self._notebook["metadata"])
        metadata["flowrex_ops"] = {**metadata.get("flowrex_ops", {}), "record": record.to_dict()}
        if "papermill" in metadata:
            metadata["papermill"] |= {
                "input_path": f"{record.runbook}.ipynb",
                "output_path": f"{slot.incident.name}/records/{slot.notebook.name}",
                "parameters": record.parameters,
                "exception": record.status in (RunStatus.FAILED, RunStatus.INTERRUPTED) or None,
                "start_time": iso(record.started),
                "end_time": iso(record.ended),
                "duration": record.seconds,
            }
        return metadata

    def _cell(self, cell: dict[str, Any], run: CellRun | None, over: bool) -> dict[str, Any]:
        if run is None:
            return cell
        metadata = {**cell["metadata"], "flowrex_ops": run.metadata(), "papermill": run.papermill()}
        return {**cell, "metadata": metadata, "outputs": [*cell["outputs"], *_marks(run, over)]}

    def _redacted(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        redacted = self._members({key: value for key, value in cell.items() if key not in ("metadata", "outputs")})
        redacted["metadata"] = self._members({k: v for k, v in cell["metadata"].items() if k != "papermill"})
        if cell["cell_type"] == "code":
            redacted["outputs"] = [self._members(output) for output in _merged(cell.get("outputs", []))]
            redacted.setdefault("execution_count", None)
        return redacted

    def _members(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """The values of *part* redacted; the notebook format's own words stay, even where a password equals one."""
        return {key: value if key in _STRUCTURE else self._redactor.json(value) for key, value in part.items()}


def _marks(run: CellRun, over: bool) -> list[dict[str, Any]]:
    text = run.note
    if run.state is CellState.DID_NOT_RUN:
        text = _NOT_RUN if over else _NOT_RUN_YET
    elif run.state is CellState.RUNNING:
        text = _RUNNING
    return [mark(text, run.state.value)] if text else []


def _merged(outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring pieces of one stream become one text: a secret may straddle them."""
    merged: list[dict[str, Any]] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] = _text(last["text"]) + _text(output["text"])
        else:
            merged.append(dict(output))
    return merged


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
