"""A restore killed (SIGKILL) at every step: users have the old data or the new, and the same procedure finishes or undoes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrex_ops.mitigations.swap import Swap
from flowrex_ops.model import MitigationState
from flowrex_ops.sandbox import Sandbox
from flowrex_ops.sandbox.sandbox import get_answer

from .restoring import clear, comment, databases, make_old_backup, read_generation
from .running import mitigate

STEPS = 11
"""Of a restore: ``test_every_step_is_counted`` holds this true."""

BACK_STEPS = 6

INSIDE_SECONDS = 0.08
"""How long after a step was announced its kill comes, for those that are killed in the middle of it."""

CHILD = """
import os, signal, sys, threading
from flowrex_ops.mitigations import find
from flowrex_ops.mitigations.guard import Approval, guard
from flowrex_ops.investigation import Investigation

settings, slug, wanted, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
seen = 0
def end(): os.kill(os.getpid(), getattr(signal, sys.argv[5]))
def timeline(kind, facts):
    global seen
    if kind != "mitigation-step":
        return
    print(facts["action"], flush=True)
    seen += 1
    if seen == wanted:
        threading.Timer(delay, end).start() if delay else end()
context = Investigation.open("database_restore", settings=settings, approve=[slug], operator="ada")
outcome = guard(find(slug).build(context), verdicts={}, approval=context.approval, timeline=timeline, max_targets=5)
print(outcome.state.value, outcome.reason)
"""


def run(
    sandbox: Sandbox, slug: str, *, at: int = 0, delay: float = 0.0, by: str = "SIGKILL"
) -> subprocess.CompletedProcess[str]:
    """The procedure in a process of its own, ended at its step number *at*; zero lets it end by itself."""
    command = [sys.executable, "-c", CHILD, str(sandbox.settings_file), slug, str(at), str(delay), by]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Of generation ``new``, with a backup of ``old``."""
    monkeypatch.chdir(tmp_path)
    make_old_backup(any_sandbox)
    yield any_sandbox
    clear(any_sandbox)


def require_serving(sandbox: Sandbox) -> None:
    """Every replica runs and answers from the database; nothing half is left, nothing is noted as under way."""
    assert len(sandbox.replicas()) == sandbox.state.replicas
    assert all(sandbox.ask(replica, "/api/portfolio?account=1") == 200 for replica in sandbox.replicas())
    assert databases(sandbox, "restore") == []
    assert comment(sandbox) is None
    deadline = time.monotonic() + 10
    while get_answer(f"{sandbox.url}/api/portfolio?account=1") != 200:
        assert time.monotonic() < deadline, "users get no answer"
        time.sleep(0.1)


def test_every_step_is_counted(platform: Sandbox) -> None:
    """Else a new step would not be killed at."""
    for slug, steps in (("restore-database", STEPS), ("swap-back-database", BACK_STEPS)):
        told = run(platform, slug).stdout.splitlines()
        assert told[-1].startswith("verified"), told
        assert told[-1 - steps].startswith(("operator", "read all")), told


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_restore_is_finished_by_the_next(platform: Sandbox, step: int) -> None:
    """Every other one in the middle of the step instead of before it."""
    killed = run(platform, "restore-database", at=step, delay=INSIDE_SECONDS * (step % 2))
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    assert read_generation(platform) in ("old", "new")
    again = mitigate(platform, "restore-database")
    assert again.state is MitigationState.VERIFIED, again.reason
    assert read_generation(platform) == "old"
    require_serving(platform)


@pytest.mark.parametrize("step", [3, 7, 9, 10])
def test_killed_restore_is_undone_by_swapping_back(platform: Sandbox, step: int) -> None:
    """Before the swap it is given up, after it the database from before comes back; before the journal there is nothing to undo."""
    run(platform, "restore-database", at=step, delay=INSIDE_SECONDS)
    undone = mitigate(platform, "swap-back-database")
    assert undone.state is MitigationState.VERIFIED, undone.reason
    assert read_generation(platform) == "new"
    require_serving(platform)


@pytest.mark.parametrize("step", range(1, BACK_STEPS + 1))
def test_killed_swap_back_is_finished_by_the_next(platform: Sandbox, step: int) -> None:
    """It is not swapped twice."""
    assert mitigate(platform, "restore-database").state is MitigationState.VERIFIED
    run(platform, "swap-back-database", at=step, delay=INSIDE_SECONDS * (step % 2))
    assert read_generation(platform) in ("old", "new")
    again = mitigate(platform, "swap-back-database")
    assert again.state is MitigationState.VERIFIED, again.reason
    assert read_generation(platform) == "new"
    require_serving(platform)
