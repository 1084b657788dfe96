"""Every runbook by plain papermill, against a healthy platform: nothing is found, nothing is unknown, nothing secret is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.catalog import find_runbooks, get_runbook
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.sandbox import Sandbox, drills
from flowrex_ops.settings import load


@pytest.mark.parametrize("runbook", [name for name, one in find_runbooks().items() if not one.reads_incident])
def test_runbook(runbook: str, supervisor_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the thresholds of the drill that has no fault, since other tests have left their traces a minute ago.

    A procedure has no drill and judges nothing; without approval it shows its plans.
    """
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"settings": str(supervisor_sandbox.settings_file)}
    for healthy in (drill for drill in drills.DRILLS if drill.runbook == runbook and not drill.faults):
        drills.inject(supervisor_sandbox, healthy, print)
        given |= healthy.parameters
    command = [sys.executable, "-m", "papermill", str(get_runbook(runbook).path), "out.ipynb", "--no-progress-bar"]
    command += [word for name, value in given.items() for word in ("-p", name, str(value))]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
    found = [output["data"][OUTCOME_MIME_TYPE] for output in outputs if OUTCOME_MIME_TYPE in output.get("data", {})]
    (outcome,) = [data for data in found if data["kind"] == "outcome"]
    assert {
        verdict["cause"]: verdict["reason"] for verdict in outcome["verdicts"] if verdict["verdict"] != "ruled out"
    } == {}
    assert {mitigation["state"] for mitigation in outcome["mitigations"]} <= {"planned", "refused"}
    assert [secret for secret in load(supervisor_sandbox.settings_file).secret_values() if secret in text] == []
