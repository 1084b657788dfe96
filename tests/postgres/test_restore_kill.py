"""A restore killed (SIGKILL) at every step: users have the old data or the new, and the same procedure finishes or undoes it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from restoring import clear, make_old_backup, read_generation, require_serving, run
from running import mitigate

from flowrex_ops.model import MitigationState
from flowrex_sandbox.sandbox import Sandbox

STEPS = 12
"""Of a restore: ``test_every_step_is_counted`` holds this true."""

FIRST_CHANGE = 4
"""The step before which nothing is changed: a run after it is a first run."""

BACK_STEPS = 6

INSIDE_SECONDS = 0.08
"""How long after a step was announced its kill comes, for those that are killed in the middle of it."""


def in_suites(steps: int, *everywhere: int, of: Sequence[int] = ()) -> list[ParameterSet]:
    """Every step (or those of *of*): *everywhere* are those around the moment at which the data are swapped; the others are for ``make test-all``."""
    return [
        pytest.param(step, marks=[] if step in everywhere else [pytest.mark.thorough])
        for step in of or range(1, steps + 1)
    ]


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Of generation ``new``, with a backup of ``old``."""
    monkeypatch.chdir(tmp_path)
    make_old_backup(any_sandbox)
    yield any_sandbox
    clear(any_sandbox)


@pytest.fixture
def on_supervisor(supervisor_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The same on one stack."""
    monkeypatch.chdir(tmp_path)
    make_old_backup(supervisor_sandbox)
    yield supervisor_sandbox
    clear(supervisor_sandbox)


@pytest.mark.thorough
def test_every_step_is_counted(on_supervisor: Sandbox) -> None:
    """Else a new step would not be killed at."""
    platform = on_supervisor
    for slug, steps in (("restore-database", STEPS), ("swap-back-database", BACK_STEPS)):
        reported = run(platform, slug).stdout.splitlines()
        assert reported[-1].startswith("verified"), reported
        assert len([line for line in reported if line.startswith("STEP")]) == steps, reported


@pytest.mark.parametrize("step", in_suites(STEPS, 10))
def test_killed_restore_is_finished_by_the_next(platform: Sandbox, step: int) -> None:
    """Every other one in the middle of the step instead of before it; before anything was changed there is nothing to finish."""
    killed = run(platform, "restore-database", at=step, delay=INSIDE_SECONDS * (step % 2 and step >= FIRST_CHANGE))
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    assert read_generation(platform) in ("old", "new")
    if step < FIRST_CHANGE:
        assert read_generation(platform) == "new"
        require_serving(platform)
        return
    again = mitigate(platform, "restore-database")
    assert again.state is MitigationState.VERIFIED, again.reason
    assert read_generation(platform) == "old"
    require_serving(platform)


@pytest.mark.thorough
@pytest.mark.parametrize("step", in_suites(STEPS, 10, of=(5, 7, 10, 11)))
def test_killed_restore_is_undone_by_swapping_back(on_supervisor: Sandbox, step: int) -> None:
    """Before the swap it is given up, after it the database from before comes back; before the journal there is nothing to undo."""
    platform = on_supervisor
    run(platform, "restore-database", at=step, delay=INSIDE_SECONDS)
    undone = mitigate(platform, "swap-back-database")
    assert undone.state is MitigationState.VERIFIED, undone.reason
    assert read_generation(platform) == "new"
    require_serving(platform)


@pytest.mark.parametrize("step", in_suites(BACK_STEPS, 4))
def test_killed_swap_back_is_finished_by_the_next(on_supervisor: Sandbox, step: int) -> None:
    """It is not swapped twice. On one stack, for its steps are those of a restore."""
    platform = on_supervisor
    assert mitigate(platform, "restore-database").state is MitigationState.VERIFIED
    run(platform, "swap-back-database", at=step, delay=INSIDE_SECONDS * (step % 2))
    assert read_generation(platform) in ("old", "new")
    again = mitigate(platform, "swap-back-database")
    assert again.state is MitigationState.VERIFIED, again.reason
    assert read_generation(platform) == "new"
    require_serving(platform)
