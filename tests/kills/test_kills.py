"""``make test-kills``: SIGKILL at 200 moments that a seed chose, to everything that may be killed during an incident.

After each: what is recorded is true, nothing is left running, and the next run works. Figures: docs/reliability.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil
import psycopg
import pytest
from record_bench import read

from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.records import Record, list_records
from flowrex_ops.record.orphaned import recover_all_orphaned
from flowrex_ops.settings import Settings
from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

pytestmark = [pytest.mark.kills, pytest.mark.timeout(120)]

SEED = 20261130
RUNNERS, KERNELS, DATABASES = 100, 50, 20
"""With the 10 of Docker Engine and the 20 of ``serve`` (tests/compose/test_engine_killed.py, tests/serve/test_storm.py) 200; test_mitigations.py has more."""
RUNBOOK = "database_connections"
LONGEST_SECONDS = 60.0
"""Of a run whose source or kernel is killed, its kernel fresh, on a machine that does other things too."""
ENDED = {"complete", "partial", "failed", "interrupted"}


def moments(kind: str, count: int) -> list[object]:
    """Shares of a run's whole time, spread evenly so that no part of it is left out, and moved by chance."""
    random = Random(f"{SEED} {kind}")  # noqa: S311  # it chooses moments
    return [pytest.param((n + random.random()) / count, id=f"{kind}-{n:03d}") for n in range(count)]


class Run:
    """``flowrex-ops run`` in a process and a folder of its own, as a person has it."""

    def __init__(self, sandbox: Sandbox, folder: Path, runbook: str = RUNBOOK) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
        command = [sys.executable, "-m", "flowrex_ops", "run", runbook, "--settings", str(sandbox.settings_file)]
        self.process = subprocess.Popen(
            [*command, "-p", "since=10m"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def end(self) -> str:
        """What it said, once it has ended by itself or by a signal."""
        return self.process.communicate(timeout=LONGEST_SECONDS)[0]

    def kernels(self) -> list[psutil.Process]:
        """Whatever it started."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def record(self) -> Record | None:
        """The only one, if the run came so far."""
        found = list_records(self.outputs)
        assert len(found) <= 1
        return found[0] if found else None


@pytest.fixture(scope="module")
def whole_seconds(supervisor_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Of a run that nobody kills, the second one, when everything is compiled and cached."""
    for number in range(2):
        started = time.monotonic()
        run = Run(supervisor_sandbox, tmp_path_factory.mktemp(f"whole{number}"))
        assert "Traceback" not in run.end()
    return time.monotonic() - started


def assert_true(record: Record) -> None:
    """No cell claims more than its outputs, the page is there, and the manifest holds."""
    assert record.status in ENDED
    notebook = read(record.path)
    states = [cell.metadata.flowrex_ops.state for cell in notebook.cells if cell.cell_type == "code"]
    last = max((number for number, state in enumerate(states) if state != "did not run"), default=0)
    assert all(state == "completed" for state in states[:last])
    if record.status in ("complete", "partial"):
        assert all(state == "completed" for state in states)
    assert record.html is not None
    assert record.html.stat().st_size > 1000
    assert "Traceback (most recent call last)" not in record.path.read_text(encoding="utf-8")
    assert verify(record.incident) == []


def assert_nothing_left(run: Run, kernels: list[psutil.Process], sandbox: Sandbox) -> None:
    """Neither a process of the run nor a session in the database."""
    await_condition(
        lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in kernels),
        "the kernel had ended",
        timeout_seconds=20,
    )
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flowrex-ops%'"
    await_condition(lambda: sandbox.query(sessions) == [(0,)], "its sessions had ended", timeout_seconds=20)


@pytest.mark.parametrize("share", moments("runner", RUNNERS))
def test_the_runner(share: float, whole_seconds: float, supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """What it leaves is finished by whoever comes next, and says that it was interrupted."""
    run = Run(supervisor_sandbox, tmp_path)
    time.sleep(share * whole_seconds)  # the moment itself is what is tried
    kernels = run.kernels()
    run.process.kill()
    run.end()
    assert_nothing_left(run, kernels, supervisor_sandbox)
    recover_all_orphaned(Settings(outputs=run.outputs))
    if record := run.record():
        assert_true(record)


@pytest.mark.parametrize("share", moments("kernel", KERNELS))
def test_the_kernel(share: float, whole_seconds: float, supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """Its run ends by itself, and says what ended it."""
    run = Run(supervisor_sandbox, tmp_path)
    time.sleep(share * whole_seconds)  # as above
    kernels = run.kernels()
    for one in kernels:
        one.kill()
    said = run.end()
    assert "Traceback" not in said
    assert_nothing_left(run, kernels, supervisor_sandbox)
    record = run.record()
    assert record is not None, said
    assert_true(record)
    if record.status == "failed":
        assert "kernel" in (record.metadata.reason or "")
        assert run.process.returncode not in (0, None)


@pytest.fixture
def postmaster(supervisor_sandbox: Sandbox) -> Iterator[psutil.Process]:
    """PostgreSQL's first process; another is in its place, and the platform as before, when the test ends."""
    file = Path(supervisor_sandbox.query("SHOW data_directory")[0][0]) / "postmaster.pid"
    first = int(file.read_text(encoding="utf-8").split()[0])
    yield psutil.Process(first)

    def is_back() -> bool:
        try:
            return int(file.read_text(encoding="utf-8").split()[0]) != first and bool(
                supervisor_sandbox.query("SELECT 1")
            )
        except (OSError, ValueError, IndexError, psycopg.Error):
            return False

    await_condition(is_back, "PostgreSQL was back", timeout_seconds=60)
    drills.reset(supervisor_sandbox, print)


@pytest.mark.parametrize("share", moments("database", DATABASES))
def test_the_database(
    share: float, whole_seconds: float, supervisor_sandbox: Sandbox, postmaster: psutil.Process, tmp_path: Path
) -> None:
    """The run goes on without it: what it could not read is unknown, and no hypothesis is ruled out for it."""
    run = Run(supervisor_sandbox, tmp_path)
    time.sleep(share * whole_seconds)  # as above
    postmaster.kill()
    said = run.end()
    assert "Traceback" not in said
    record = run.record()
    assert record is not None, said
    assert_true(record)
    assert record.status in ("complete", "partial")


def test_the_next_run_works(supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """After all of them, on the same platform."""
    run = Run(supervisor_sandbox, tmp_path)
    said = run.end()
    assert run.process.returncode == 0, said
    assert (record := run.record()) is not None
    assert record.status == "complete"
