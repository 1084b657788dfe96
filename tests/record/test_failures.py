"""A record is true under failure: it says what ran, what did not, and why."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from record_bench import RUNNER, Bench, confirmed, is_alive, read, shows, states, until

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import lock_of, verify
from flowrex_ops.archive.records import allocate, list_records, load_record
from flowrex_ops.archive.store import pull
from flowrex_ops.record.client import RecordClient
from flowrex_ops.record.orphaned import REASON, recover_all_orphaned, recover_orphaned
from flowrex_ops.record.result import RunResult
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

SAY_PID = """
import os
display({"application/vnd.flowrex-ops.outcome+json": {
    "kind": "mitigation", "slug": "say-pid", "state": "planned", "reason": os.getpid()
}}, raw=True)
"""
LONG_CHANGE = """
import time
from pathlib import Path

class investigation:
    '''A change as ``guard`` makes it: told, done, and put back whatever stops it.'''

    def mitigate(slug):
        try:
            Path("changed").touch()
            time.sleep(SECONDS)
            print(slug, "is done")
        except BaseException as error:
            time.sleep(0.5)
            Path("changed").unlink()
            print(slug, "is put back:", type(error).__name__)
            raise
"""
MITIGATE = "investigation.mitigate('slow')"
WAIT = "import time; time.sleep(60)"


def page_of(result: RunResult) -> str:
    return result.html.read_text()


def assert_reported(result: RunResult, reason: str) -> None:
    """The reason stands in the result, the banner and the page, and the manifest holds."""
    assert reason in (result.reason or "")
    assert reason.lower() in read(result.record).cells[0].source.replace("\\", "").lower()
    assert "did not run" in page_of(result)
    assert verify(result.record.parent.parent) == []


class TestCell:
    """A cell raises, hangs or takes the kernel with it."""

    def test_a_cell_that_raises_ends_the_run(self, bench: Bench) -> None:
        result = bench.run("1", "raise ValueError('no such table')", "3")
        assert result.status == "failed"
        assert_reported(result, "cell 3 raised ValueError: no such table")
        assert states(result.record) == ["completed", "completed", "failed", "did not run"]

    def test_a_cell_that_exceeds_its_limit_is_named(self, bench: Bench) -> None:
        result = bench.run("1", WAIT, "3", cell_seconds=0.5)
        assert result.status == "failed"
        assert_reported(result, "cell 3 did not end within its limit of 0.5 s")
        assert states(result.record) == ["completed", "completed", "timed-out", "did not run"]
        assert result.seconds < 5

    def test_a_run_that_exceeds_its_limit_is_ended(self, bench: Bench) -> None:
        result = bench.run(WAIT, "2", run_seconds=1.5)
        assert result.status == "failed"
        assert_reported(result, "the run's limit of 1.5 s was reached while cell 2 ran")

    def test_a_kernel_that_is_killed_is_told(self, bench: Bench) -> None:
        result = bench.run(
            shows(confirmed()), "import os; print('last words', flush=True); os.kill(os.getpid(), 9)", "3"
        )
        assert result.status == "failed"
        assert_reported(result, "killed by SIGKILL")
        assert states(result.record) == ["completed", "completed", "failed", "did not run"]
        assert result.diagnosis == "db.idle-in-transaction", "what was found before stays"

    def test_a_cell_that_did_not_run_says_so_and_papermill_agrees(self, bench: Bench) -> None:
        record = read(bench.run("1 / 0", "2").record)
        last = record.cells[-1]
        assert "Did not run" in last.outputs[0].data["text/plain"]
        assert last.metadata.papermill.status == "pending"
        assert record.metadata.papermill.exception is True


class TestChange:
    """A cell that mitigates is not cut off, and what it began is put back."""

    def test_has_the_runs_time_and_not_a_cells(self, bench: Bench) -> None:
        """As a rolling restart of many replicas needs; that it calls ``mitigate`` says so, and nothing else must."""
        result = bench.run(change(bench, 2.5), MITIGATE, cell_seconds=2.0)
        assert result.status == "complete"
        assert "slow is done" in read(result.record).cells[-1].outputs[-1].text

    def test_that_exceeds_the_runs_limit_puts_back_what_it_began(self, bench: Bench) -> None:
        result = bench.run(change(bench, 60), MITIGATE, "3", run_seconds=4.0)
        assert_reported(result, "the run's limit of 4 s was reached while cell 3 ran")
        assert states(result.record) == ["completed", "completed", "timed-out", "did not run"]
        assert read(result.record).cells[6].outputs[0].text == "slow is put back: KeyboardInterrupt\n"
        assert not (bench.folder / "changed").exists()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_of_a_stopped_runner_is_put_back(self, bench: Bench, number: signal.Signals) -> None:
        """Ctrl-C during a mitigation does not leave it half-way."""
        runner = bench.runner(change(bench, 60), MITIGATE)
        until((bench.folder / "changed").exists, seconds=30)
        runner.stop(number)
        runner.end()
        assert load_record(bench.outputs, "latest").status == "interrupted"
        assert not (bench.folder / "changed").exists()


def change(bench: Bench, seconds: float) -> str:
    """A cell that defines a change which takes so long, and shows in a file of the bench's while it is under way."""
    return LONG_CHANGE.replace("SECONDS", str(seconds)).replace(
        'Path("changed")', f"Path({str(bench.folder)!r}, 'changed')"
    )


class TestRunner:
    """The runner is stopped or killed."""

    def test_killed_runner_leaves_a_readable_record_and_no_kernel(self, bench: Bench) -> None:
        runner = bench.runner(SAY_PID, shows(confirmed()), WAIT, "4")
        pid = int(runner.wait_for("MitigationSeen")["result"]["reason"])
        runner.wait_for("CellStarted", number=4)
        assert load_record(bench.outputs, "latest").status == "running"
        runner.stop(signal.SIGKILL)
        runner.end()

        record = load_record(bench.outputs, "latest")
        assert record.status == "interrupted"
        assert record.metadata.status == "running", "nobody was left to change it"
        assert states(record.path) == ["completed", "completed", "completed", "running", "did not run"]
        banner = read(record.path).cells[0].source
        assert "This run has not finished" in banner
        assert "3 of 5 code cells ran; cell 4 was running; cell 5 did not run" in banner.lower()
        assert "db.idle-in-transaction it is" in banner
        assert [problem.kind for problem in verify(record.incident)] == ["unfinished"]
        until(lambda: not is_alive(pid))

    def test_a_killed_runners_record_is_finished_by_the_next_run(self, bench: Bench) -> None:
        runner = bench.runner("'before'", shows(confirmed()), WAIT, "4")
        runner.wait_for("CellStarted", number=4)
        assert recover_orphaned(load_record(bench.outputs, "latest").incident, Redactor([])) == [], (
            "somebody works on it"
        )
        runner.stop(signal.SIGKILL)
        runner.end()
        record = load_record(bench.outputs, "latest")
        before = read(record.path)

        bench.run("1", incident_id=record.incident.name)
        record = load_record(bench.outputs, record.id)
        assert "interrupted" == record.status == record.metadata.status
        assert record.metadata.reason == REASON
        assert record.metadata.started == datetime.fromisoformat(before.metadata.flowrex_ops.record.started)
        assert record.metadata.diagnosis == "db.idle-in-transaction", "what was found before stays"
        after = read(record.path)
        assert states(record.path) == ["completed", "completed", "completed", "interrupted", "did not run"]
        assert [cell.source for cell in after.cells[1:]] == [cell.source for cell in before.cells[1:]]
        outputs, were = ([cell.get("outputs", []) for cell in one.cells] for one in (after, before))
        assert outputs[:-3] == were[:-3], "what cells said is as it was written"
        assert "This run was interrupted" in after.cells[0].source
        assert [len(said) for said in outputs if said][-2:] == [1, 1], "one mark each"
        assert record.html is not None
        assert "did not run" in record.html.read_text(encoding="utf-8")
        assert verify(record.incident) == []
        ended = [line["text"] for line in timeline.read(record.incident) if line["kind"] == "run-finished"]
        assert len(ended) == 2
        assert REASON in ended[0]

    def test_a_runner_killed_before_its_seal_leaves_a_record_that_is_only_sealed(self, bench: Bench) -> None:
        """Between the last write and the manifest: what the notebook says of itself stays, to the byte."""
        record = load_record(bench.outputs, bench.run("1").id)
        written = record.path.read_bytes()
        assert record.html is not None
        record.html.unlink()
        (record.incident / "manifest.json").unlink()
        lock_of(record.path).touch()
        assert recover_orphaned(record.incident, Redactor([])) == [record.id]
        assert record.path.read_bytes() == written
        assert verify(record.incident) == []
        assert len([line for line in timeline.read(record.incident) if line["kind"] == "run-finished"]) == 1

    def test_a_runner_killed_before_it_wrote_leaves_nothing(self, bench: Bench) -> None:
        incident = load_record(bench.outputs, bench.run("1").id).incident
        os.close(allocate(incident, "triage").lock)
        assert recover_orphaned(incident, Redactor([])) == []
        assert not list((incident / "records").glob(".*.lock"))
        assert allocate(incident, "triage").name == "002-triage"

    @pytest.mark.parametrize("text", ['{"cells": [', "[]", '{"metadata": {"flowrex_ops": null}}'])
    def test_a_damaged_record_keeps_nobody_from_running(self, bench: Bench, text: str) -> None:
        incident = load_record(bench.outputs, bench.run("1").id).incident
        slot = allocate(incident, "triage")
        os.close(slot.lock)
        slot.notebook.write_text(text, encoding="utf-8")
        assert bench.run("1", incident_id=incident.name).status == "complete"
        assert [problem.kind for problem in verify(incident)] == ["unfinished"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_stopped_runner_finishes_its_record(self, bench: Bench, number: signal.Signals) -> None:
        runner = bench.runner(SAY_PID, WAIT, "3")
        pid = int(runner.wait_for("MitigationSeen")["result"]["reason"])
        runner.wait_for("CellStarted", number=3)
        runner.stop(number)
        result = runner.wait_for("result")
        assert runner.end() == "", "an interrupted run is quiet"

        record = load_record(bench.outputs, "latest")
        assert "interrupted" == result["status"] == record.metadata.status
        assert f"stopped by {number.name}" == record.metadata.reason
        assert states(record.path) == ["completed", "completed", "interrupted", "did not run"]
        assert verify(record.incident) == []
        assert not is_alive(pid)

    def test_a_runner_stopped_before_its_kernel_answers_finishes_its_record(self, bench: Bench) -> None:
        runner = bench.runner("1")
        runner.wait_for("RunStarted")
        runner.stop(signal.SIGTERM)
        assert runner.wait_for("result")["status"] == "interrupted"
        assert runner.end() == ""
        record = load_record(bench.outputs, "latest")
        assert states(record.path) == ["did not run"] * 2
        assert record.html is not None

    def test_a_runner_killed_before_its_first_cell_leaves_what_the_next_finishes(self, bench: Bench) -> None:
        """A notebook on disk has its sources as lists of lines, and so had the record until papermill gave it back."""
        runner = bench.runner("1")
        runner.wait_for("RunStarted")
        runner.stop(signal.SIGKILL)
        runner.end()
        record = load_record(bench.outputs, "latest")
        assert recover_orphaned(record.incident, Redactor([])) == [record.id]
        assert verify(record.incident) == []
        assert load_record(bench.outputs, "latest").html is not None

    def test_a_full_disk_is_one_clear_line_and_keeps_what_was_written(self, bench: Bench) -> None:
        notebook = bench.notebook("'before'", "'x' * 2_000_000", "3")
        inspect = "find $2/*/records -type f -name '*.ipynb' -exec cat {} +; echo; ls -A $2/*/records"
        script = f'mkdir "$2" && mount -t tmpfs -o size=1m none "$2" && "$3" -c "$4" "$1" "$2" | tail -n 1; echo ---; {inspect}'
        unshare = ["unshare", "--map-root-user", "--mount"]
        if subprocess.run(
            [*unshare, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        ).returncode:
            if os.environ.get("CI") == "true":
                pytest.fail("a small disk cannot be mounted here")
            pytest.skip("a small disk cannot be mounted here (no user namespaces)")
        arguments = [str(notebook), str(bench.outputs), sys.executable, RUNNER]
        ran = subprocess.run(
            [*unshare, "sh", "-c", script, "sh", *arguments], capture_output=True, text=True, check=True
        )

        said, _, rest = ran.stdout.partition("---\n")
        error = json.loads(said)
        assert error["type"] == "RecordError"
        assert "could not be written: no space left on device; free some space" in error["text"]
        notebook_text, files = rest.rstrip("\n").rsplit("\n", 2)[0], rest.split()[-2:]
        assert files == [".001.lock", "001-database_connections.ipynb"]
        left = json.loads(notebook_text)
        assert left["metadata"]["flowrex_ops"]["record"]["status"] == "running"
        assert "'before'" in json.dumps(left["cells"])


def test_a_task_that_does_not_let_itself_be_ended_holds_nobody_up() -> None:

    async def stubborn() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(30)

    async def hang_up() -> float:
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        started = time.monotonic()
        await RecordClient._hang_up(SimpleNamespace(kc=None))  # type: ignore[arg-type]  # a stand-in for what is not asked
        assert not task.done()
        return time.monotonic() - started

    assert asyncio.run(hang_up()) < 5


class TestCollisions:
    """Runs at the same time keep out of each other's way."""

    def test_runs_in_one_folder_get_numbers_of_their_own(self, bench: Bench) -> None:
        first = bench.run("1")
        runners = [bench_runner(bench, first.folder.name) for _ in range(2)]
        for process in runners:
            assert process.wait(timeout=60) == 0
        names = sorted(record.id.partition("/")[2] for record in list_records(bench.outputs))
        assert [f"00{n}-database_connections" for n in range(1, 4)] == names
        assert verify(bench.outputs / first.folder.name) == []

    def test_runs_in_one_second_get_folders_of_their_own(self, bench: Bench) -> None:
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _: bench.run("1"), range(2)))
        assert len({result.folder for result in results}) == 2
        assert {"complete"} == {str(result.status) for result in results}


def bench_runner(bench: Bench, incident: str) -> subprocess.Popen[bytes]:
    """One more run in *incident*, in a process of its own."""
    script = RUNNER.replace("incident_id=None", f"incident_id={incident!r}")
    notebook: Path = bench.notebook("1")
    command = [sys.executable, "-c", script, str(notebook), str(bench.outputs)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def test_a_killed_runs_record_reaches_the_store(bench: Bench, tmp_path: Path) -> None:
    """``records reindex`` finishes it, and another machine has it then."""
    runner = bench.runner("'before'", WAIT)
    runner.wait_for("CellStarted", number=3)
    runner.stop(signal.SIGKILL)
    runner.end()
    store = Settings(outputs=f"file://{tmp_path}/store")
    here, there = (store.model_copy(update={"outputs": folder}) for folder in (bench.outputs, tmp_path / "other"))
    (name,) = recover_all_orphaned(here)
    assert recover_all_orphaned(here) == [], "once"
    assert pull(there)
    assert load_record(there.outputs, name).metadata.status == "interrupted"
    assert verify(there.outputs / name.partition("/")[0]) == []


HALF_WAY = """
import os
from pathlib import Path
from flowrex_ops.archive.writer import IncidentStore
from flowrex_ops.redaction.redactor import Redactor
store = IncidentStore.find(Path("outputs"), "", "database_connections", Redactor())
facts = {"slug": "restart-backend", "plan_hash": "abc", "operator": "ada"}
store.note("mitigation-intent", {**facts, "action": "restart each replica", "targets": ["backend-1", "backend-2"]})
store.note("mitigation-step", {**facts, "action": "backend-1: drain, stop and start"})
os.kill(os.getpid(), 9)
"""


def test_a_mitigation_that_was_cut_off_stands_in_the_record(bench: Bench) -> None:
    """No output tells of it, but the timeline, which had its intent on disk first: the record says how far it came."""
    result = bench.run(HALF_WAY)
    (mitigation,) = result.mitigations
    assert (mitigation.slug, mitigation.state) == ("restart-backend", "failed")
    assert mitigation.targets == ("backend-1", "backend-2")
    assert "after: backend-1: drain, stop and start" in mitigation.reason
    assert "restart-backend failed" in result.html.read_text()
