"""The procedures that replace replicas, as an engineer runs them: shown first, applied when approved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.proxy.rotation import LIST
from flowrex_ops.record.result import RunResult
from flowrex_ops.record.runbook import run_runbook
from flowrex_sandbox.drills import reset
from flowrex_sandbox.faults.http import deploy
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    reset(any_sandbox, print)


def run(sandbox: Sandbox, name: str, *approve: str, **more: Any) -> RunResult:
    given = {
        "settings": str(sandbox.settings_file),
        "operator": "ada",
        "approve": list(approve),
        "since": "10m",
        **more,
    }
    result = run_runbook(name, given)
    assert "Traceback" not in result.html.read_text(encoding="utf-8")
    return result


def state_of(result: RunResult) -> tuple[str, str]:
    [mitigation] = result.mitigations
    return result.status.value, mitigation.state


def await_answer(sandbox: Sandbox) -> None:
    """The proxy's log has an answer of the version that runs."""
    await_condition(lambda: get_answer(f"{sandbox.url}/api/prices") == 200, "prices were served", timeout_seconds=20)


@pytest.mark.thorough
def test_restart_changes_nothing_until_it_is_approved(platform: Sandbox) -> None:
    """Run All shows the plan; approved, every replica is another process, and the record says how."""
    before = {replica.name: replica.identity for replica in platform.replicas()}
    assert state_of(run(platform, "service_restart")) == ("complete", "planned")
    assert {replica.name: replica.identity for replica in platform.replicas()} == before

    assert state_of(run(platform, "service_restart", "rolling-restart")) == ("complete", "verified")
    after = {replica.name: replica.identity for replica in platform.replicas()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh_kernels")
def test_a_kernel_that_dies_while_it_restarts(platform: Sandbox) -> None:
    """The record says so, the platform serves, and the same notebook ends what was begun."""
    slow = {"websocket_seconds": 30.0}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, platform, "service_restart", "rolling-restart", **slow)
        await_condition((platform.control / LIST).exists, "a replica left the rotation", timeout_seconds=60)
        kill_kernel()
        result = running.result(60)
    assert result.status.value == "failed"
    assert "killed by SIGKILL" in (result.reason or "")
    await_answer(platform)
    shown = run(platform, "service_restart")
    assert state_of(shown) == ("complete", "planned")
    assert "which this one ends" in shown.html.read_text(encoding="utf-8")
    assert state_of(run(platform, "service_restart", "rolling-restart")) == ("complete", "verified")
    assert not (platform.control / LIST).exists()


def kill_kernel() -> None:
    """As the kernel of the system does it to one that takes too much memory."""
    found = [int(pid) for pid in children_of(os.getpid()) if b"ipykernel" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert found
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def children_of(parent: int) -> list[str]:
    """Of every thread of it."""
    return [
        pid
        for task in Path(f"/proc/{parent}/task").iterdir()
        for pid in (task / "children").read_text(encoding="ascii").split()
    ]


@pytest.mark.thorough
def test_rollback_shows_both_versions_and_goes_back(platform: Sandbox) -> None:
    """The table names what ran; nothing is changed before it is approved; then every replica is of the version before."""
    await_answer(platform)
    deploy(platform, "1.5.0")
    await_answer(platform)
    shown = run(platform, "rollback")
    page = shown.html.read_text(encoding="utf-8")
    assert state_of(shown) == ("complete", "planned")
    assert "1.4.2" in page
    assert "1.5.0" in page
    assert {replica.version for replica in platform.replicas()} == {"1.5.0"}

    assert state_of(run(platform, "rollback", "rollback-backend")) == ("complete", "verified")
    assert {replica.version for replica in platform.replicas()} == {"1.4.2"}
