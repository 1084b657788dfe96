"""A run leaves a record that a person and a program can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from record_bench import Bench, confirmed, read, shows, states, verdict

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import new_incident, read_incident
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import NotebookError, RecordError
from flowrex_ops.record.events import CellFinished, CellStarted, Event, RunFinished, RunStarted, VerdictSeen
from flowrex_ops.record.result import RunResult

PLANNED = {
    "kind": "mitigation",
    "slug": "terminate-idle-in-transaction",
    "state": "planned",
    "reason": "not approved",
    "plan_hash": "abc",
    "targets": ["pid 1"],
}


class TestResult:
    """What the caller gets is what ``run --json`` prints."""

    def test_everything_ruled_out_is_complete(self, bench: Bench) -> None:
        result = bench.run(shows(verdict("db.max-connections", "ruled out")))
        assert result.status == "complete"
        assert result.diagnosis is None

    def test_an_inconclusive_verdict_is_partial(self, bench: Bench) -> None:
        result = bench.run(shows(confirmed()), shows(verdict("db.max-connections", "inconclusive")))
        assert result.status == "partial"

    def test_json_has_exactly_the_promised_members(self, bench: Bench) -> None:
        result = bench.run(shows(confirmed()), shows(PLANNED)).to_json()
        members = (
            "record html incident run folder runbook status severity diagnosis findings verdicts mitigations seconds"
        )
        assert " ".join(result) == members
        assert list(result["findings"][0]) == ["cause", "severity", "title", "evidence", "next_steps"]
        assert list(result["verdicts"][0]) == ["cause", "verdict", "reason"]
        assert result["mitigations"] == [
            {"slug": PLANNED["slug"], "state": "planned", "plan_hash": "abc", "targets": ["pid 1"]}
        ]
        assert json.loads(json.dumps(result)) == result

    def test_a_finding_is_told_before_its_cell_ends(self, bench: Bench) -> None:
        events: list[Event] = []
        bench.run(f"{shows(confirmed())}\nimport time; time.sleep(0.3)", on_event=events.append)
        seen = next(event for event in events if isinstance(event, VerdictSeen))
        assert seen.verdict.title == "db.idle-in-transaction it is"
        assert [type(event) for event in events if not isinstance(event, VerdictSeen)] == [
            RunStarted,
            *[CellStarted, CellFinished] * 2,
            RunFinished,
        ]
        before = events[events.index(seen) - 1]
        assert before == CellStarted(2, "Step 1")


class TestRecord:
    """The executed notebook on disk."""

    def test_finished_record_is_read_only_and_in_the_manifest(self, bench: Bench) -> None:
        result = bench.run("1")
        assert result.record.stat().st_mode & 0o777 == 0o444
        assert result.html.stat().st_mode & 0o777 == 0o444
        folder = result.record.parent.parent
        assert verify(folder) == []
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
            "001-database_connections.html",
            "001-database_connections.ipynb",
            "manifest.json",
            "timeline.jsonl",
        ]

    def test_metadata_tells_who_what_when(self, bench: Bench) -> None:
        result = bench.run(shows(confirmed()), parameters={"operator": "mira"})
        metadata = read(result.record).metadata.flowrex_ops
        assert metadata.runbook == "database_connections"
        assert metadata.record.operator == "mira"
        assert metadata.record.id == f"{result.folder.name}/001-database_connections"
        assert metadata.record.parameters == {"operator": "mira"}
        assert metadata.record.platform == "flowrex"
        assert metadata.record.diagnosis == "db.idle-in-transaction"

    def test_no_path_of_this_machine_in_papermills_metadata(self, bench: Bench) -> None:
        papermill = read(bench.run("1").record).metadata.get("papermill", {})
        assert str(bench.folder) not in json.dumps(papermill)

    def test_the_next_run_of_an_incident_gets_the_next_number(self, bench: Bench) -> None:
        incident = new_incident(bench.outputs, {})
        bench.run("1", incident_id=incident.name)
        second = bench.run(shows(confirmed()), incident_id=incident.name)
        assert second.id == f"{incident.name}/002-database_connections"
        assert verify(incident) == []
        assert read_incident(incident)["severity"] == "P1"
        kinds = [line["kind"] for line in timeline.read(incident)]
        assert kinds == ["incident", "run-started", "run-finished", "run-started", "incident-changed", "run-finished"]

    def test_kernel_knows_its_record(self, bench: Bench) -> None:
        source = "from flowrex_ops.archive.evidence import kernel_record; print(kernel_record().record)"
        record = read(bench.run(source).record)
        assert record.cells[-1].outputs[0].text == "001-database_connections\n"

    def test_evidence_written_by_the_kernel_is_redacted_and_sealed(self, bench: Bench) -> None:
        """What a spreadsheet would take for a formula is text in it."""
        result = bench.run(
            "import pandas as pd\n"
            "from flowrex_ops.archive.evidence import kernel_record, write_evidence\n"
            "from flowrex_ops.redaction.redactor import Redactor\n"
            "dsn = 'postgresql://app:' + 'sesame' + '@db/x'\n"
            "frame = pd.DataFrame({'dsn': [dsn, '=HYPERLINK(A1)', '-1.5', '@SUM']})\n"
            "write_evidence(kernel_record().incident, '001-sessions', frame, Redactor()).name"
        )
        written = result.record.parent.parent / "evidence" / "001-sessions.csv"
        assert written.read_text() == "dsn\npostgresql://app:[redacted:password]@db/x\n'=HYPERLINK(A1)\n-1.5\n'@SUM\n"
        assert verify(written.parent.parent) == []


def test_a_run_does_not_wait_for_what_only_others_need() -> None:
    """Tables are the kernel's work; jsonschema would load a grammar compiler for a format that no notebook has."""
    code = (
        "import flowrex_ops.cli.run, flowrex_ops.record.run, flowrex_ops.record.runbook, nbformat, sys\n"
        "sys.exit(', '.join({'lark', 'pandas', 'nbconvert', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestPlainPapermill:
    """The engine is no condition: papermill runs the same notebook by itself, and with our engine by name."""

    @pytest.mark.thorough  # tests/notebooks/test_four_ways.py has plain papermill
    @pytest.mark.parametrize("engine", [[], ["--engine", "flowrex"]], ids=["plain", "engine"])
    def test_papermill_command_succeeds(self, bench: Bench, engine: list[str]) -> None:
        output = bench.folder / "out.ipynb"
        command = [sys.executable, "-m", "papermill", *engine, str(bench.notebook("1 + 1")), str(output)]
        subprocess.run([*command, "-k", "python3"], check=True, capture_output=True, cwd=bench.folder)
        assert read(output).cells[-1].outputs[0].data["text/plain"] == "2"


class TestBadInput:
    """One line that says what and what to do; nothing is left behind."""

    def test_a_file_that_is_no_notebook(self, bench: Bench) -> None:
        bench.notebook("1").write_text("not json")
        with pytest.raises(NotebookError, match=r"is not a notebook: .*; restore it"):
            run_file(bench, next(bench.folder.glob("*.ipynb")))
        assert not bench.outputs.exists()

    def test_a_file_that_is_missing(self, bench: Bench) -> None:
        with pytest.raises(NotebookError, match=r"cannot be read: no such file or directory; correct the path"):
            run_file(bench, bench.folder / "nothing.ipynb")

    def test_an_incident_that_does_not_exist(self, bench: Bench) -> None:
        with pytest.raises(
            RecordError, match=r"'INC-20260101-0000-beef' is not in .*; leave it out for a run without one"
        ):
            bench.run("1", incident_id="INC-20260101-0000-beef")

    def test_outputs_that_cannot_be_written(self, bench: Bench) -> None:
        (bench.folder / "outputs").write_text("a file")
        with pytest.raises(RecordError, match=r"could not be written: .*; correct the path or its permissions"):
            bench.run("1")


def run_file(bench: Bench, path: Path) -> RunResult:
    """Run the file at *path* as it is."""
    from flowrex_ops.record.run import run_notebook
    from flowrex_ops.redaction.redactor import Redactor
    from flowrex_ops.settings import Settings

    return run_notebook(
        path,
        {},
        folder=bench.outputs,
        incident_id=None,
        runbook="x",
        title="",
        settings=Settings(),
        redactor=Redactor(),
    )


def test_cell_states_of_a_complete_run(bench: Bench) -> None:
    """Every code cell is completed, with its times."""
    record = bench.run("1", "2").record
    assert states(record) == ["completed"] * 3, "the parameters cell counts"
    fate = read(record).cells[-1].metadata.flowrex_ops
    assert fate.started <= fate.ended
    assert fate.seconds >= 0


def test_what_fills_while_it_runs_is_kept_as_it_was_last(bench: Bench) -> None:
    """A cell tagged ``live`` is updated by later ones; the page, which has the same at its top, leaves it out."""
    path = bench.notebook("handle = display('nothing yet', display_id=True)", "handle.update('one ' + 'verdict')")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3].metadata.tags = ["live"]
    nbformat.write(notebook, path)
    result = run_file(bench, path)
    assert read(result.record).cells[4].outputs[0].data["text/plain"] == "'one verdict'"
    assert "one verdict" not in result.html.read_text()


class TestMuchOutput:
    """A cell that says megabytes makes a record that opens, and loses nothing below 64 MiB."""

    SECRET = "s3cret-of-the-settings"  # made up

    def test_a_stream_is_cut_between_lines_and_goes_on_beside(self, bench: Bench) -> None:
        lines = f"for n in range(6): print(('line of a log, {self.SECRET}' + chr(10)) * 25_000, end='')"
        result = bench.run(lines, "print('after')", secrets=(self.SECRET,))
        assert result.status == "complete"
        assert result.record.stat().st_size < 3 * 2**20
        text = result.record.read_text(encoding="utf-8")
        assert "the rest is in evidence/001-database_connections-output.txt" in text
        assert "after" in text
        beside = (result.record.parent.parent / "evidence" / "001-database_connections-output.txt").read_text()
        assert self.SECRET not in text + beside
        said = read(result.record).cells[4].outputs[0].text
        assert said.count("line of a log") + beside.count("line of a log") == 6 * 25_000
        assert verify(result.record.parent.parent) == []

    def test_a_table_too_large_is_left_out_and_an_outcome_never(self, bench: Bench) -> None:
        huge = shows(confirmed()).replace("'text/plain': 'verdict'", "'text/plain': 'x' * 3_000_000")
        assert "3_000_000" in huge
        result = bench.run(huge)
        assert result.diagnosis == "db.idle-in-transaction"
        assert "an output of 3,000,000 characters was left out" in result.record.read_text(encoding="utf-8")
