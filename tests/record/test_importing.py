"""A notebook that was run live becomes a record: checked, redacted, true."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import nbformat
import pytest
from nbformat import v4
from nbformat.v4.rwbase import split_lines
from record_bench import confirmed, read, states, verdict

from flowrex_ops.archive.incidents import new_incident
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import NotebookError, ParameterError, RecordError
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.record.importing import import_notebook
from flowrex_ops.record.result import RunResult
from flowrex_ops.settings import Settings

SECRET = "hunter2-and-more"
ABOUT = {"runbook": "database_connections", "title": "Database connections"}


def shown(payload: dict[str, Any], number: int, **metadata: Any) -> Any:
    """An executed cell that showed *payload* as Investigation does."""
    bundle = {"text/plain": f"said {SECRET}", OUTCOME_MIME_TYPE: payload}
    return v4.new_code_cell(
        "x\n", outputs=[v4.new_output("display_data", bundle)], execution_count=number, metadata=metadata
    )


def parameters(text: str = 'operator: str = ""', number: int | None = 1) -> Any:
    return v4.new_code_cell(text, metadata={"tags": ["parameters"]}, execution_count=number)


class Desk:
    """Where somebody saved a notebook."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "live.ipynb"
        secret = {"values": [SECRET]}
        self.settings = Settings(outputs=folder / "outputs", redaction=secret)

    def save(self, *cells: Any, about: Any = ABOUT) -> Path:
        about = {"flowrex_ops": about} if about else {}
        notebook = {"cells": list(cells), "metadata": about, "nbformat": 4, "nbformat_minor": 5}
        with contextlib.suppress(AttributeError):  # one that is malformed
            notebook = split_lines(nbformat.from_dict(notebook))  # as Jupyter writes it: texts as lists of lines
        self.path.write_text(json.dumps(notebook))
        return self.path

    def bring(self, *cells: Any, **options: Any) -> RunResult:
        return import_notebook(self.save(*cells), self.settings, **options)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class TestImport:
    """What the record says is what the notebook shows."""

    def test_complete(self, desk: Desk) -> None:
        outcome = {"kind": "outcome", "operator": "ada", "seconds": 12.5, "configuration": {"backend": "3 replicas"}}
        result = desk.bring(parameters(), shown(confirmed(), 2), shown(outcome, 3))
        about = read(result.record).metadata.flowrex_ops.record
        assert (result.status.value, result.diagnosis, result.severity) == ("complete", "db.idle-in-transaction", "P1")
        assert (about.operator, about.seconds, about.imported.file) == ("ada", 12.5, "live.ipynb")
        assert read(result.record).cells[0].source.startswith("# P1 · db.idle-in-transaction it is")
        assert verify(result.record.parent.parent) == []

    def test_nothing_secret_reaches_disk(self, desk: Desk) -> None:
        about = {**ABOUT, "title": f"about {SECRET}"}
        desk.save(parameters(f"operator: str = '{SECRET}'"), shown(confirmed(), 2), about=about)
        result = import_notebook(desk.path, desk.settings)
        files = [path for path in result.record.parents[2].rglob("*") if path.is_file()]
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
        assert SECRET in desk.path.read_text(), "the notebook itself is left as it is"

    def test_cells_that_never_ran_are_marked(self, desk: Desk) -> None:
        result = desk.bring(parameters(), shown(confirmed(), 2), v4.new_code_cell("y"))
        assert (result.status.value, result.reason) == ("partial", "cell 3 did not run")
        assert states(result.record) == ["completed", "completed", "did not run"]
        assert "Did not run" in result.html.read_text()

    def test_a_cell_that_raised(self, desk: Desk) -> None:
        error = v4.new_output("error", ename="ValueError", evalue=f"no {SECRET}\nmore", traceback=[])
        failed = v4.new_code_cell("x", outputs=[error], execution_count=2)
        result = desk.bring(parameters(), failed, v4.new_code_cell("y"))
        assert (result.status.value, result.reason) == ("failed", "cell 2 raised ValueError: no [redacted:secret]")

    def test_an_unknown_is_partial(self, desk: Desk) -> None:
        assert desk.bring(parameters(), shown(verdict("db.unreachable", "inconclusive"), 2)).status.value == "partial"

    def test_cells_run_in_another_order(self, desk: Desk) -> None:
        result = desk.bring(parameters(), shown(confirmed(), 9), shown(confirmed("db.unreachable"), 3))
        assert (result.status.value, "another order" in str(result.reason)) == ("partial", True)

    def test_it_ended_when_it_was_saved(self, desk: Desk) -> None:
        outcome = {"kind": "outcome", "seconds": 12.5}
        os.utime(desk.save(parameters(), shown(confirmed(), 2), shown(outcome, 3)), (1_700_000_000, 1_700_000_000))
        about = read(import_notebook(desk.path, desk.settings).record).metadata.flowrex_ops.record
        ended = datetime.fromtimestamp(1_700_000_000, UTC)
        assert (datetime.fromisoformat(about.ended), about.seconds) == (ended, 12.5)


class TestIncident:
    """The one given, its own, or none."""

    def test_given(self, desk: Desk) -> None:
        folder = new_incident(desk.settings.outputs, {})
        assert desk.bring(parameters(), shown(confirmed(), 2), incident_id=folder.name).incident == folder.name

    def test_its_own(self, desk: Desk) -> None:
        folder = new_incident(desk.settings.outputs, {})
        result = desk.bring(parameters(f"incident_id: str = '{folder.name}'"), shown(confirmed(), 2))
        assert result.incident == folder.name

    def test_none(self, desk: Desk) -> None:
        result = desk.bring(parameters(), shown(confirmed(), 2))
        assert (result.incident, result.folder.name[:4]) == (None, "RUN-")

    def test_one_that_is_not_there(self, desk: Desk) -> None:
        with pytest.raises(RecordError, match="is not in"):
            desk.bring(parameters(), shown(confirmed(), 2), incident_id="INC-20260101-0000-abcd")


def test_it_goes_to_the_store(desk: Desk) -> None:
    """As every record does."""
    url = f"memory://{uuid4().hex}"
    desk.settings = desk.settings.model_copy(update={"outputs_url": url})
    result = desk.bring(parameters(), shown(confirmed(), 2))
    files, root = fsspec.url_to_fs(f"{url}/{socket.gethostname()}")
    assert files.cat_file(f"{root}/{result.id.replace('/', '/records/')}.ipynb") == result.record.read_bytes()


class TestRefused:
    """One line, and nothing written."""

    def test_the_same_content_twice(self, desk: Desk) -> None:
        """Saving it once more changes nothing of that; running it once more does."""
        first = desk.bring(parameters(), shown(confirmed(), 2))
        desk.path.write_text(json.dumps(json.loads(desk.path.read_text()), indent=4))
        with pytest.raises(ParameterError, match=f"was imported before, as {first.id}; give --force"):
            import_notebook(desk.path, desk.settings)
        assert import_notebook(desk.path, desk.settings, again=True).id != first.id
        assert desk.bring(parameters(), shown(confirmed(), 5)).id

    def test_a_record(self, desk: Desk) -> None:
        result = desk.bring(parameters(), shown(confirmed(), 2))
        with pytest.raises(NotebookError, match="is a record already"):
            import_notebook(result.record, desk.settings)

    @pytest.mark.parametrize(
        ("cells", "about", "words"),
        [
            ([parameters(number=None), v4.new_code_cell("x")], ABOUT, "has not run"),
            ([parameters(), shown(confirmed(), 2)], None, "is not a runbook"),
            ([shown(confirmed(), 2)], ABOUT, "has no parameters cell"),
            ([parameters(), {"cell_type": "code", "metadata": {}, "source": "x", "outputs": [1]}], ABOUT, "malformed"),
            ([parameters(), {"cell_type": "code", "source": "x", "outputs": []}], ABOUT, "malformed"),
            ([parameters(), {"cell_type": "markdown", "metadata": {}}], ABOUT, "malformed"),
        ],
    )
    def test_what_is_no_runbook_that_ran(self, desk: Desk, cells: list[Any], about: Any, words: str) -> None:
        with pytest.raises(NotebookError, match=words):
            import_notebook(desk.save(*cells, about=about), desk.settings)
        assert not desk.settings.outputs.exists()

    @pytest.mark.parametrize("text", ["<html>", "[]", '{"nbformat": 3, "cells": []}', '{"nbformat": 4, "cells": 7}'])
    def test_what_is_no_notebook(self, desk: Desk, text: str) -> None:
        desk.path.write_text(text)
        with pytest.raises(NotebookError, match="is not a notebook"):
            import_notebook(desk.path, desk.settings)
