"""An incident on a real platform: it is not over while the fault is there, and over once it has been healthy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.archive.records import load_record
from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox

RESOLVE = (
    *("incident", "resolve", "latest", "--author", "ada"),
    *("--root-cause", "a migration held a lock", "--resolution", "its session was ended"),
    *("--confirm", "fix-deployed", "--confirm", "status-page", "--confirm", "channel-closed"),
    *("--watch", "--minutes", "0.1", "--interval", "2s", "--json"),
)


def flowrex(sandbox: Sandbox, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from flowrex_ops.cli import main; main()", *words]
    command += ["--settings", str(sandbox.settings_file)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=400)


def checklist(done: subprocess.CompletedProcess[str]) -> tuple[int, bool, dict[str, bool]]:
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer["resolved"], {item["item"]: item["done"] for item in answer["checklist"]}


@pytest.mark.timeout(700)
@pytest.mark.thorough
def test_not_over_while_the_fault_is_there_and_over_once_it_is_seen_healthy(
    locked_up: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triage and the watch see the slow requests; after the cure both are healthy, and what was confirmed before still counts."""
    monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", str(tmp_path / "outputs"))
    opened = flowrex(locked_up, tmp_path, "incident", "open", "Orders time out", "--severity", "P1")
    assert opened.returncode == 0, opened.stderr

    code, resolved, items = checklist(flowrex(locked_up, tmp_path, *RESOLVE))
    assert (code, resolved) == (1, False)
    assert (items["verified"], items["watched"], items["fix-deployed"]) == (False, False, True)

    drills.reset(locked_up, print)
    done = flowrex(locked_up, tmp_path, *RESOLVE)
    code, resolved, items = checklist(done)
    assert (code, resolved) == (0, True), done.stdout + done.stderr
    assert all(items.values())
    shown = flowrex(locked_up, tmp_path, "incident", "show", "latest").stdout
    assert "Resolved" in shown
    assert "not healthy yet, waiting: " in shown
    verified = flowrex(locked_up, tmp_path, "records", "verify", "latest")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.thorough
def test_what_cannot_be_looked_at_is_tried_again_and_then_named(tmp_path: Path) -> None:
    """A platform of which nothing answers is not healthy, however often one asks; nobody waits for it either."""
    (tmp_path / "flowrex-ops.toml").write_text(
        'outputs = "outputs"\n[stack]\nproject = "not-there"\n[limits]\nreading_seconds = 2\n', encoding="utf-8"
    )
    command = [sys.executable, "-c", "from flowrex_ops.cli import main; main()"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
        )

    run("incident", "open", "Nothing answers", "--severity", "P0")
    code, resolved, items = checklist(done := run(*RESOLVE[: RESOLVE.index("--watch")], "--json"))
    assert (code, resolved, items["verified"]) == (1, False, False)
    said = {item["item"]: item["says"] for item in json.loads(done.stdout)["checklist"]}["verified"]
    assert "/003-triage: the run is partial (service.down: the stack knows no service at all; and " in said
    record = load_record(tmp_path / "outputs", "latest")
    assert record.metadata.parameters["reading_seconds"] == 2, "as patient as the settings say"
