"""A batch keeps what is finished, whatever interrupts it, and ends with one report."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import in_process
import pytest
from batch_bench import Yard
from serve_bench import until

POOL = """
name = "nightly"
jobs = 2
platforms = {production = "flowrex-ops.toml", staging = "staging.toml"}

[[runs]]
runbook = "pool.ipynb"
platforms = ["production"]
matrix = {since = ["1m", "2m"]}
"""
PLAN = f"""{POOL}
[[runs]]
runbook = "bad.ipynb"
platforms = ["staging"]
"""


def test_one_report_over_all_runs(yard: Yard) -> None:
    """A run that fails costs no other; the exit code says that one did."""
    yard.plan(PLAN)
    code, out, err = yard.run("--plan", "plan.toml", "--json")
    facts = json.loads(out)
    assert (code, err) == (1, "")
    assert facts["counts"] == {"complete": 2, "failed": 1}
    assert [(run["runbook"], run["platform"], run["status"]) for run in facts["runs"]] == [
        ("pool", "production", "complete"),
        ("pool", "production", "complete"),
        ("bad", "staging", "failed"),
    ]
    assert "ZeroDivisionError" in facts["runs"][2]["reason"]
    folder = Path(facts["report"]).parent
    for row in (facts["runs"][0]["html"], facts["runs"][2]["html"]):
        assert f'href="../../{Path(row).relative_to(yard.folder / "outputs")}"' in (folder / "report.html").read_text()
    assert "| 1 | pool | production | since=1m | complete |" in (folder / "report.md").read_text()
    assert {path.name for path in yard.folder.glob("outputs/RUN-*")} == set(facts["folders"].values())


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.thorough)],
    ids=lambda number: number.name,
)
def test_what_is_finished_is_not_run_again(yard: Yard, number: signal.Signals) -> None:
    """One run is finished and one goes on when the batch is stopped; --resume makes the rest, and its report tells all."""
    yard.plan(POOL)
    yard.hold("2m")
    process = yard.start("--plan", "plan.toml")
    until(
        lambda: (
            [record for record in yard.records() if record.status == "complete"] and yard.waiting() and yard.finished()
        )
    )
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    yard.release("2m")
    if number is signal.SIGINT:
        assert process.returncode == 1
        assert "stopped by SIGINT; 1 of 2 runs are finished; go on with 'flowrex-ops batch --resume nightly-" in err
        assert len(err.strip().splitlines()) == 1, err
    until(lambda: sorted(record.status for record in yard.records()) == ["complete", "interrupted"])

    code, out, err = yard.run("--resume", "latest", "--plan", "plan.toml", "--json")
    assert code == 0, err
    runs = json.loads(out)["runs"]
    assert [run["status"] for run in runs] == ["complete", "complete"]
    assert [len(run["earlier"]) for run in runs] == [0, 1]
    assert sorted(record.status for record in yard.records()) == ["complete", "complete", "interrupted"]


BAD: dict[str, tuple[list[str], str]] = {
    "nothing asked for": ([], "give runbooks, or --plan with a file, or --resume"),
    "both": (["triage", "--plan", "plan.toml"], "give runbooks, or --plan with a file, or --resume"),
    "missing plan": (["--plan", "gone.toml"], "plan 'gone.toml' does not exist"),
    "unknown runbook": (["triag"], "did you mean 'triage'?"),
    "no batch to resume": (["--resume", "latest"], "leave --resume out to start one"),
    "unknown batch": (["--resume", "../outputs"], "'../outputs' is not a batch"),
    "unknown severity": (["triage", "--fail-on", "P9"], "give P0, P1, P2 or P3"),
}


@pytest.mark.parametrize("example", BAD)
def test_bad_input_is_one_line_and_exit_2(yard: Yard, example: str) -> None:
    arguments, words = BAD[example]
    code, out, err = in_process.call("batch", *arguments, cwd=yard.folder)
    assert (code, out, words in err, len(err.strip().splitlines())) == (2, "", True, 1), err
    assert not (yard.folder / "outputs").exists()


@pytest.mark.thorough
def test_a_cluster_that_is_not_there_is_one_line(yard: Yard) -> None:
    yard.plan(PLAN)
    code, _, err = yard.run("--plan", "plan.toml", "--dask", "tcp://127.0.0.1:1")
    assert (code, len(err.strip().splitlines())) == (1, 1), err
    assert "no scheduler answers at 'tcp://127.0.0.1:1'" in err
    assert yard.records() == []
    assert list(yard.folder.glob("outputs/RUN-*")) == [], "a folder in which nothing ran would be nobody's"
