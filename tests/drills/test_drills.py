"""Every drill: the fault is real, the runbook names it first, nothing false, and the cure cures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from captures import KEEP, keep_or_compare
from memory_lock import calm_memory

from flowrex_ops.causes import find_causes
from flowrex_sandbox.cli.scoring import UNWATCHED, play
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.drills import DRILLS, get_drill
from flowrex_sandbox.faults import find_faults
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.drill


MAIN = (
    "lock-chain",
    "certificate-renewal",
    "broker-down",
    "bad-deploy",
    "ws-corrected-not-reloaded",
    "redis-rejecting",
    "triage-postgres-down",
    "slow-route",
)
"""One of each runbook, with its cure where there is one; the others are left to ``make test-all``."""

ON_DOCKER_ALONE = {"bad-deploy": "single-replica", "redis-rejecting": None, "slow-route": None}
"""Over a minute each, too long for ``make test``: what is played on the embedded stack instead. What cures nothing is judged there by what was
read in it (test_captures.py)."""

RED_HERRINGS = ("page-cache",)
"""What only containers show, and is no fault: two minutes on Docker, most of it to wait until the machine's memory is calm."""


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records go to the test's own folder. What is tested is the diagnosis, on a machine that is busy: readings get their time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_LIMITS__READING_SECONDS", "10")
    monkeypatch.setenv("FLOWREX_OPS_LIMITS__LOG_SECONDS", "60")


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Drills of memory are not played while another presses the machine's."""
    drill: Drill = request.getfixturevalue("drill")
    about_memory = drill.runbook == "memory_usage"
    with calm_memory(tmp_path_factory, alone=drill.stacks == ("compose",)) if about_memory else nullcontext():
        yield


def drills() -> Iterator[ParameterSet]:
    """Each drill on each of its stacks. What only a container can show belongs to the suite on Docker, as the main ones do."""
    for drill in DRILLS:
        for stack in drill.stacks:
            marks = [pytest.mark.docker] if stack == "compose" else []
            main = MAIN if stack == "compose" else {ON_DOCKER_ALONE.get(scenario, scenario) for scenario in MAIN}
            if drill.scenario not in main and (drill.stacks != ("compose",) or drill.scenario in RED_HERRINGS):
                marks.append(pytest.mark.thorough)
            yield pytest.param(stack, drill, marks=marks, id=f"{stack}-{drill.scenario}")


@pytest.mark.parametrize(("stack", "drill"), drills())
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("machine", "records")
def test_drill(
    request: pytest.FixtureRequest, stack: str, drill: Drill, start_platform: Callable[[str], Sandbox]
) -> None:
    """On a platform of its own: the expected causes are confirmed, no other is; mitigations that are meant to cure it do, verified."""
    captured_here = stack == drill.stacks[0]
    if os.environ.get(KEEP) and not captured_here:
        pytest.skip(f"captured on {drill.stacks[0]}")
    score = play(start_platform(stack), drill, approve=drill.approve, on_progress=print, reset=False)
    assert score.failures == []
    states = {mitigation.slug: mitigation.state.value for mitigation in score.result.mitigations}
    assert all(state in ("refused", "planned") for slug, state in states.items() if slug not in drill.approve)
    assert "Traceback" not in score.result.html.read_text(encoding="utf-8")
    if captured_here and request.config.getoption("suite") == "all":
        keep_or_compare(drill.scenario, score.result)


def test_every_runbook_has_a_main_drill() -> None:
    """A new runbook says which of its drills everybody plays."""
    assert {get_drill(scenario).runbook for scenario in MAIN} == {drill.runbook for drill in DRILLS}


WITHOUT_A_DRILL = {
    "db.unexplained-pool-exhaustion",
    "http.unexplained-errors",
    "memory.unexplained-growth",
    "host.cpu-saturated",
    "host.disk-slow",
    "host.clock-drift",
    "redis.replication-broken",
    "http.unexplained-latency",
    "ws.unexplained-disconnections",
    "service.disk-read-only",
    *UNWATCHED,
}
"""What nothing explains: every fault of the sandbox has an explanation; want of CPU or disk, which all other tests would feel; what takes root, or a
second Redis (tests/memory has one); the machine below. Shown by the examples of their checks."""


def test_former_names_are_taken() -> None:
    """Whoever has written a scenario down need not look it up again."""
    former = ("memory-hill", "ws-tabs-closed", "triage-lock-gone", "high-but-flat")
    found = [get_drill(scenario).scenario for scenario in former]
    assert found == ["memory-spike-over", "ws-clients-leave", "triage-past-lock", "memory-high-steady"]


def test_every_fault_of_a_drill_is_reset() -> None:
    """Whatever a drill can inject is among what ``drill reset`` takes away."""
    assert {type(fault) for drill in DRILLS for fault in drill.faults} <= set(find_faults())


def test_every_cause_has_a_drill() -> None:
    """No cause without a drill that shows it, no drill that expects an unknown cause."""
    assert {cause for drill in DRILLS for cause in drill.expected} == set(find_causes()) - WITHOUT_A_DRILL


def test_mitigations_that_cure_are_shown_by_a_drill() -> None:
    """Each mitigation that a cause points at is proven by a drill that it cures."""
    promised = {
        step.target for cause in find_causes().values() for step in cause.next_steps if step.kind == "mitigation"
    }
    assert {slug for drill in DRILLS if drill.cures for slug in drill.approve} == promised
