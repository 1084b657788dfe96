"""A run beside plain papermill with nbconvert's page, on one idle embedded platform: cold, warm, and many at once.

Reported as ratios of medians, not asserted; a run of ours also keeps a record, redacts, seals and draws a page of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowrex_ops.catalog import get_runbook
from flowrex_ops.record.forked import VARIABLE
from flowrex_ops.record.runner_process import Request, RunnerProcess
from flowrex_ops.record.warm import warm_parent
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

ROUNDS, MANY = 7, 24
PAPERMILL = "one run by papermill and nbconvert"
COMMAND = [sys.executable, "-m", "flowrex_ops"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and nothing warm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def warm(elsewhere: None) -> Iterator[None]:
    """What ``serve`` and ``batch`` keep."""
    with warm_parent():
        await_condition(Path(os.environ[VARIABLE]).exists, "the warm parent was ready", timeout_seconds=60)
        yield


def by_papermill(runbook: str, settings: Path) -> None:
    notebook = str(get_runbook(runbook).path)
    execute = [
        sys.executable,
        "-m",
        "papermill",
        notebook,
        "out.ipynb",
        "--no-progress-bar",
        "-p",
        "settings",
        str(settings),
    ]
    page = [sys.executable, "-m", "nbconvert", "--to", "html", "out.ipynb"]
    for command in (execute, page):
        subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("runbook", ["database_connections", "triage"])
class TestOneRun:
    def test_by_papermill_and_nbconvert(
        self, benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox, runbook: str
    ) -> None:
        benchmark.name = f"{runbook}: {PAPERMILL}"
        benchmark.pedantic(by_papermill, args=(runbook, supervisor_sandbox.settings_file), rounds=ROUNDS)

    def test_cold(self, benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox, runbook: str) -> None:
        benchmark.name = f"{runbook}: one run of ours, cold"
        benchmark.extra_info["beside"] = f"{runbook}: {PAPERMILL}"
        command = [*COMMAND, "run", runbook, "--settings", str(supervisor_sandbox.settings_file)]
        benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=ROUNDS)

    def test_warm(self, benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox, warm: None, runbook: str) -> None:
        """As an alert starts it."""
        benchmark.name = f"{runbook}: one run of ours, warm"
        benchmark.extra_info["beside"] = f"{runbook}: {PAPERMILL}"
        asked = Request(runbook, {"settings": str(supervisor_sandbox.settings_file)}, "benchmark")
        benchmark.pedantic(lambda: RunnerProcess(asked).wait(seconds=120), rounds=ROUNDS, warmup_rounds=3)


def test_many_by_papermill_and_nbconvert(benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox) -> None:
    benchmark.name = f"certificate_expiry: {PAPERMILL}"
    benchmark.pedantic(by_papermill, args=("certificate_expiry", supervisor_sandbox.settings_file), rounds=ROUNDS)


def test_many_by_batch(benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """A batch of 24, two at once, beside 24 times one after another."""
    benchmark.name = f"certificate_expiry: {MANY} runs by batch"
    benchmark.extra_info |= {"beside": f"certificate_expiry: {PAPERMILL}", "times": MANY}
    plan = tmp_path / "plan.toml"
    runs = '[[runs]]\nrunbook = "certificate_expiry"\n' * MANY
    plan.write_text(f'jobs = 2\n[platforms]\none = "{supervisor_sandbox.settings_file}"\n{runs}', encoding="utf-8")
    command = [*COMMAND, "batch", "--plan", str(plan)]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=3)
