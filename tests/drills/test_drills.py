"""Every drill: the fault is real, the runbook names it first, nothing false, and the cure cures."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from suite import WHOLE

from flowrex_ops.causes import CAUSES
from flowrex_ops.cli.scoring import play
from flowrex_ops.errors import SandboxError
from flowrex_ops.sandbox import Sandbox
from flowrex_ops.sandbox.drill import Drill
from flowrex_ops.sandbox.drills import DRILLS

pytestmark = pytest.mark.drill


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records of drills go to the test's own folder. What is tested is the diagnosis, on a machine that is busy: logs get their time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_LIMITS__LOG_SECONDS", "60")
    return tmp_path / "outputs"


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pressure on memory is felt by the whole machine: drills of memory are played by one worker at a time."""
    drill: Drill = request.getfixturevalue("drill")
    with (tmp_path_factory.getbasetemp().parent / "memory.lock").open("w") as lock:
        if drill.runbook == "memory_usage":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shown(drill: Drill) -> set[str]:
    """What *drill* shows that the suite wants to see: causes, and mitigations that cure. That nothing is found where nothing is, plain papermill shows."""
    return {*drill.expected, *(drill.approve if drill.cures else ())}


def sample() -> list[Drill]:
    """A few drills that show all there is to show: each next one shows the most that is still missing."""
    missing = set().union(*map(shown, DRILLS))
    chosen = []
    while missing:
        chosen.append(max(DRILLS, key=lambda drill: len(shown(drill) & missing)))
        missing -= shown(chosen[-1])
    return sorted(chosen, key=DRILLS.index)


def played() -> Iterator[ParameterSet]:
    """Which drill on which stack: of the sample each on one of its stacks, in turn."""
    for number, drill in enumerate(DRILLS if WHOLE else sample()):
        for stack in drill.stacks if WHOLE else (drill.stacks[number % len(drill.stacks)],):
            marks = [pytest.mark.docker] if stack == "compose" else []
            yield pytest.param(stack, drill, marks=marks, id=f"{stack}-{drill.scenario}")


@pytest.mark.parametrize(("any_sandbox", "drill"), played(), indirect=["any_sandbox"])
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("machine")
def test_drill(
    any_sandbox: Sandbox, drill: Drill, records: Path, record_property: Callable[[str, object], None]
) -> None:
    """The expected causes are confirmed, no other is; mitigations that are meant to cure it do, verified.

    A fault is real, and so is the load of the machine: one that fails is healed and played once more, and the summary says so.
    """
    try:
        score = play(any_sandbox, drill, approve=drill.approve, on_progress=print)
        first = "; ".join(score.failures)
    except SandboxError as error:
        first = str(error)
    if first:
        record_property("played twice", f"{any_sandbox.state.stack} {drill.scenario}: {first}")
        score = play(any_sandbox, drill, approve=drill.approve, on_progress=print)
    assert score.failures == []
    states = {mitigation["slug"]: mitigation["state"] for mitigation in score.result.mitigations}
    assert all(state in ("refused", "planned") for slug, state in states.items() if slug not in drill.approve)
    page = score.result.html.read_text(encoding="utf-8")
    assert "Traceback" not in page


def test_every_cause_has_a_drill() -> None:
    """No cause without a drill that shows it, no drill that expects an unknown cause."""
    assert {cause for drill in DRILLS for cause in drill.expected} == set(CAUSES)


def test_mitigations_that_cure_are_shown_by_a_drill() -> None:
    """Each mitigation that a cause points at is proven by a drill that it cures."""
    promised = {step.target for cause in CAUSES.values() for step in cause.next_steps if step.kind == "mitigation"}
    assert {slug for drill in DRILLS if drill.cures for slug in drill.approve} == promised
