"""One runbook, one broken platform, several ways to run it: the same diagnosis, and nothing changed unasked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_cells import run_side_by_side

from flowrex_ops.catalog import get_runbook
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.record.runbook import run_runbook
from flowrex_ops.settings import load
from flowrex_sandbox.sandbox import Sandbox

RUNBOOK = get_runbook("database_connections")
THRESHOLDS = {"idle_after_seconds": 2.0}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment without settings, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}


def outcome_of(path: Path) -> dict[str, Any]:
    """The last machine-readable outcome in an executed notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    data = [
        output["data"][OUTCOME_MIME_TYPE]
        for cell in cells
        for output in cell.get("outputs", ())
        if OUTCOME_MIME_TYPE in output.get("data", {})
    ]
    (last,) = [item for item in data if item["kind"] == "outcome"]
    return dict(last)


def verdicts(outcome: dict[str, Any]) -> dict[str, str]:
    return {verdict["cause"]: verdict["verdict"] for verdict in outcome["verdicts"]}


def root_is_there(sandbox: Sandbox) -> bool:
    return bool(sandbox.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'migration'"))


def run_plain_papermill(sandbox: Sandbox, environment: dict[str, str], out: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(RUNBOOK.path),
        str(out),
        "-p",
        "settings",
        str(sandbox.settings_file),
    ]
    command += ["-p", "idle_after_seconds", "2", "--no-progress-bar"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)


def test_our_command_and_plain_papermill_agree(locked_up: Sandbox, clean: dict[str, str], tmp_path: Path) -> None:
    """Papermill without our engine needs nothing of ours but the library, finds the same, and writes no secret."""
    ours = run_runbook("database_connections", {"settings": str(locked_up.settings_file), **THRESHOLDS})
    done = run_plain_papermill(locked_up, clean, tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr
    theirs = outcome_of(tmp_path / "out.ipynb")
    assert (ours.diagnosis, theirs["diagnosis"]) == ("db.lock-contention", "db.lock-contention")
    assert verdicts(outcome_of(ours.record)) == verdicts(theirs)
    assert {m["slug"]: m["state"] for m in theirs["mitigations"]}["terminate-root-blocker"] == "planned"
    assert root_is_there(locked_up), "a run without approval changed the platform"
    # Redaction happens in the kernel: also a notebook that papermill itself writes is clean.
    secrets, text = load(locked_up.settings_file).secret_values(), (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert secrets
    assert [secret for secret in secrets if secret in text] == []


LOOKS = ("triage", "error_rate", "certificate_expiry")
"""What asks everything, what sees the 5xx of a chain of locks, and what has nothing to do with it."""


def test_it_is_as_severe_in_every_runbook(locked_up: Sandbox, tmp_path: Path) -> None:
    """The locks take every connection: P1, and P0 once the front door is down for it, also where the certificates are looked at."""
    given = {"settings": str(locked_up.settings_file)}
    cases = [{"name": name, "runbook": name, "parameters": given} for name in LOOKS]
    results = {result["name"]: result for result in run_side_by_side(cases, tmp_path)}
    assert [result["traceback"] for result in results.values() if "traceback" in result] == []
    assert {result["severity"] for result in results.values()} <= {"P0", "P1"}
    unconcerned = results["certificate_expiry"]
    assert (unconcerned["diagnosis"], unconcerned["next_runbooks"][0]) == (None, "database_connections")


@pytest.mark.thorough
def test_cell_by_cell_under_nbval(locked_up: Sandbox, clean: dict[str, str]) -> None:
    """Every cell of the committed notebook executes, one after another, in a kernel that nbval drives."""
    environment = clean | {"FLOWREX_OPS_SETTINGS": str(locked_up.settings_file)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(RUNBOOK.path),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.thorough
def test_plan_approved_by_its_hash_is_applied_and_another_is_refused(locked_up: Sandbox, clean: dict[str, str]) -> None:
    """What the first record planned, a later run applies by slug@hash; a hash of yesterday changes nothing."""
    slug = "terminate-root-blocker"
    given = {"settings": str(locked_up.settings_file), "operator": "ada"}
    planned = run_runbook("database_connections", given)
    (shown,) = [mitigation for mitigation in planned.mitigations if mitigation.slug == slug]
    stale = run_runbook("database_connections", given | {"approve": [f"{slug}@000000000000"]})
    assert {m.slug: m.state for m in stale.mitigations}[slug] == "refused"
    assert root_is_there(locked_up)
    approval = {"approve": [f"{slug}@{shown.plan_hash}"], "incident_id": planned.folder.name}
    applied = run_runbook("database_connections", given | approval)
    assert {m.slug: m.state for m in applied.mitigations}[slug] == "verified"
    assert not root_is_there(locked_up)
    events = [json.loads(line) for line in (applied.record.parent.parent / "timeline.jsonl").open()]
    assert [e["kind"] for e in events if "mitigation" in e["kind"]] == ["mitigation-intent", "mitigation-result"]
