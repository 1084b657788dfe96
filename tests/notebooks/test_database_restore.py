"""The restore as an engineer runs it, and the command that takes the backups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from restoring import clear, databases, read_generation, write_generation

from flowrex_ops.record.runbook import run_runbook
from flowrex_sandbox.sandbox import Sandbox

COMMAND = [str(Path(sys.executable).parent / "flowrex-ops"), "backup"]


@pytest.fixture
def platform(supervisor_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    write_generation(supervisor_sandbox, "old")
    yield supervisor_sandbox
    clear(supervisor_sandbox)


def backup(sandbox: Sandbox, *options: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "FLOWREX_OPS_SETTINGS": str(sandbox.settings_file)}
    command = [*COMMAND, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def states(sandbox: Sandbox, *approve: str) -> list[str]:
    given = {"settings": str(sandbox.settings_file), "operator": "ada", "approve": list(approve)}
    result = run_runbook("database_restore", given)
    assert "Traceback" not in result.html.read_text(encoding="utf-8")
    assert result.status.value == "complete"
    return [mitigation.state for mitigation in result.mitigations]


def test_backup_restore_and_back(platform: Sandbox) -> None:
    """Run All shows plans and changes nothing; each direction is applied by its own slug."""
    taken = json.loads(backup(platform, "--json").stdout)
    assert taken["tables"] == 4
    write_generation(platform, "new")
    assert states(platform) == ["planned", "refused"]
    assert read_generation(platform) == "new"
    assert states(platform, "restore-database") == ["verified", "planned"]
    assert read_generation(platform) == "old"
    assert states(platform, "swap-back-database") == ["planned", "verified"]
    assert read_generation(platform) == "new"


@pytest.mark.thorough
def test_list_and_test_restore_of_the_command(platform: Sandbox) -> None:
    """Exit codes: 1 where it could not, 2 for wrong usage."""
    assert backup(platform, "--list", "--test-restore").returncode == 2
    nothing = backup(platform, "--test-restore")
    assert nothing.returncode == 1
    assert "take a backup with 'flowrex-ops backup'" in nothing.stderr
    assert backup(platform).returncode == 0
    [listed] = json.loads(backup(platform, "--list", "--json").stdout)
    assert (listed["readable"], listed["checksum"], listed["tables"]) == (True, "matches", 4)
    assert "readable" in backup(platform, "--list").stdout
    tried = json.loads(backup(platform, "--test-restore", "--json").stdout)
    assert (tried["tables"], databases(platform, "verify")) == (4, [])
    file = Path(tried["backup"])
    os.truncate(file, file.stat().st_size // 2)
    broken = backup(platform, "--test-restore")
    assert broken.returncode == 1
    assert "its checksum differs" in broken.stderr
    assert "Traceback" not in broken.stderr
