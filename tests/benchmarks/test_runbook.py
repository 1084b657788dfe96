"""How long a person waits: the runbook beside the playbook's own commands, on the same compose sandbox, in one run.

The playbook's commands are its database section and its quick diagnostics, pasted one after another. Reported, not asserted.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.docker, pytest.mark.benchmark(group="from Enter to the answer")]
COMMAND = [
    sys.executable,
    "-c",
    "from flowrex_ops.cli import main; main()",
    "run",
    "database_connections",
    "--settings",
]
COMPOSE = "docker-compose -f docker-compose.prod.yml"
PLAYBOOK = [
    f'{COMPOSE} exec -T postgres psql -U flowrex -c "SELECT count(*) FROM pg_stat_activity;"',
    (
        f'{COMPOSE} exec -T postgres psql -U flowrex -c "SELECT pid, now() - query_start AS duration, query '
        "FROM pg_stat_activity WHERE state = 'active' ORDER BY duration DESC LIMIT 10;\""
    ),
    (
        f'{COMPOSE} exec -T postgres psql -U flowrex -c "SELECT blocked_locks.pid AS blocked_pid, blocking_locks.pid AS blocking_pid, '
        "blocked_activity.query AS blocked_query FROM pg_catalog.pg_locks blocked_locks "
        "JOIN pg_catalog.pg_stat_activity blocked_activity ON blocked_activity.pid = blocked_locks.pid "
        "JOIN pg_catalog.pg_locks blocking_locks ON blocking_locks.locktype = blocked_locks.locktype "
        "JOIN pg_catalog.pg_stat_activity blocking_activity ON blocking_activity.pid = blocking_locks.pid "
        'WHERE NOT blocked_locks.granted;"'
    ),
    f"{COMPOSE} ps",
    f"{COMPOSE} logs --tail=100 backend",
    f"{COMPOSE} logs --tail=100 frontend",
    f"{COMPOSE} logs backend 2>&1 | grep -i error",
    f"{COMPOSE} exec -T postgres pg_isready",
    f"{COMPOSE} exec -T redis redis-cli ping",
    "docker stats --no-stream",
]


@pytest.fixture(scope="module")
def locked_up(compose_sandbox: Sandbox) -> object:
    """A platform in which a chain of sessions waits behind one."""
    drills.inject(compose_sandbox, drills.get_drill("lock-chain"), print)
    yield compose_sandbox
    drills.reset(compose_sandbox, print)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_whole_run_with_record_and_page(benchmark: BenchmarkFixture, locked_up: Sandbox) -> None:
    """The headless run, from the command to the written page."""

    def run() -> str:
        done = subprocess.run(
            [*COMMAND, str(locked_up.settings_file), "--json"], capture_output=True, text=True, check=True
        )
        return str(json.loads(done.stdout)["diagnosis"])

    assert benchmark.pedantic(run, rounds=3, warmup_rounds=1) == "db.lock-contention"


def test_playbook_commands_one_after_another(benchmark: BenchmarkFixture, locked_up: Sandbox) -> None:
    """What the playbook asks a person to paste."""

    def paste() -> int:
        codes = [
            subprocess.run(["sh", "-c", line], cwd=locked_up.home, capture_output=True, check=False).returncode
            for line in PLAYBOOK
        ]
        return len(codes)

    assert benchmark.pedantic(paste, rounds=3, warmup_rounds=1) == len(PLAYBOOK)


def test_first_finding_on_the_terminal(benchmark: BenchmarkFixture, locked_up: Sandbox) -> None:
    """From pressing Enter to the first finding that a person can read, on a real terminal."""

    def first_finding() -> float:
        started = time.monotonic()
        reader, writer = pty.openpty()
        process = subprocess.Popen([*COMMAND, str(locked_up.settings_file)], stdout=writer, stderr=writer)
        os.close(writer)
        seen = b""
        while b"confirmed" not in seen:
            ready, _, _ = select.select([reader], [], [], 60)
            assert ready, seen
            seen += os.read(reader, 4096)
        elapsed = time.monotonic() - started
        _drain(reader)
        process.wait(60)
        return elapsed

    # The rest of each run is not part of what is measured: the figure is in the extra information.
    times = benchmark.pedantic(lambda: [first_finding() for _ in range(3)], rounds=1)
    benchmark.extra_info["first finding, seconds"] = sorted(times)
    sys.stdout.write(f"first finding after {', '.join(f'{seconds:.2f} s' for seconds in sorted(times))}\n")


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass
    os.close(descriptor)
