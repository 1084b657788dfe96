"""Every runbook against a healthy platform: nothing is found, nothing is unknown, nothing is changed, nothing secret is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_cells import run_side_by_side

from flowrex_ops.catalog import find_runbooks, get_runbook
from flowrex_ops.metrics.machines import NO_EXPORTER
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.settings import load
from flowrex_sandbox import control as sandbox
from flowrex_sandbox import drills
from flowrex_sandbox.cli.scoring import UNWATCHED
from flowrex_sandbox.sandbox import Sandbox

RUNBOOKS = [name for name, one in find_runbooks().items() if not one.reads_incident]
BY_PAPERMILL = ("rollback",)
"""``make test-all`` runs all of them so."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A platform in which nothing has ever gone wrong, old enough for what every runbook looks back at."""
    home = tmp_path_factory.mktemp("calm") / "home"
    found = sandbox.up("supervisor", home, on_progress=print)
    try:
        for drill in drills.DRILLS:
            if not drill.faults:
                drills.inject(found, drill, print)
        yield found
    finally:
        sandbox.down(home)


def parameters(runbook: str, sandbox: Sandbox) -> dict[str, Any]:
    """The thresholds of the drill that has no fault: seconds where production has minutes. A procedure has no drill."""
    found: dict[str, Any] = {"settings": str(sandbox.settings_file)}
    for healthy in (drill for drill in drills.DRILLS if drill.runbook == runbook and not drill.faults):
        found |= healthy.parameters
    return found


def test_nothing_is_found(calm: Sandbox, tmp_path: Path) -> None:
    """Every hypothesis of every runbook is ruled out, but for those of the machine, which nobody watches; without approval procedures show their plans."""
    cases = [{"name": name, "runbook": name, "parameters": parameters(name, calm)} for name in RUNBOOKS]
    results = {result["name"]: result for result in run_side_by_side(cases, tmp_path)}
    assert [result["traceback"] for result in results.values() if "traceback" in result] == []
    said = [verdict for result in results.values() for verdict in result["verdicts"] if verdict[1] != "ruled out"]
    assert {cause for cause, *_ in said} == set(UNWATCHED)
    assert {kind for _, kind, _ in said} == {"inconclusive"}
    assert {reason for *_, reason in said} == {f"no machines: {NO_EXPORTER}"}
    assert {state for result in results.values() for state in result["mitigations"]} <= {"planned", "refused"}


@pytest.mark.parametrize(
    "runbook", [pytest.param(name, marks=[] if name in BY_PAPERMILL else [pytest.mark.thorough]) for name in RUNBOOKS]
)
def test_by_plain_papermill(runbook: str, calm: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that papermill's users know, without our engine: the same answer in the notebook that it writes."""
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "papermill", str(get_runbook(runbook).path), "out.ipynb", "--no-progress-bar"]
    command += [word for name, value in parameters(runbook, calm).items() for word in ("-p", name, str(value))]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
    found = [output["data"][OUTCOME_MIME_TYPE] for output in outputs if OUTCOME_MIME_TYPE in output.get("data", {})]
    (outcome,) = [data for data in found if data["kind"] == "outcome"]
    assert {
        verdict["cause"]: verdict["reason"]
        for verdict in outcome["verdicts"]
        if verdict["verdict"] != "ruled out" and verdict["cause"] not in UNWATCHED
    } == {}
    assert {mitigation["state"] for mitigation in outcome["mitigations"]} <= {"planned", "refused"}
    assert [secret for secret in load(calm.settings_file).secret_values() if secret in text] == []
