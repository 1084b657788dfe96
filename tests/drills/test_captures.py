"""Every drill, judged again from what was read in it: no platform is started for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from captures import FOLDER, capture_of
from run_cells import run_side_by_side

from flowrex_ops.archive.readings import SUFFIX
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.drills import DRILLS

CAPTURED = {path.name.removesuffix(SUFFIX) for path in FOLDER.iterdir()}


def failures(drill: Drill, said: dict[str, object]) -> list[str]:
    """As a drill's score, but for what it cures; a reading that was not captured leaves its cause open."""
    if "traceback" in said:
        return [str(said["traceback"])]
    confirmed = [cause for cause, kind, _ in said["verdicts"] if kind == "confirmed"]  # type: ignore[attr-defined]  # of a JSON object
    wrong = [f"did not confirm {cause}" for cause in drill.expected if cause not in confirmed]
    wrong += [f"confirmed {cause}, which was not injected" for cause in confirmed if cause in drill.forbidden]
    expected = drill.expected[0] if drill.expected else None
    return wrong + ([f"diagnosis {said['diagnosis']}, not {expected}"] if said["diagnosis"] != expected else [])


@pytest.mark.parametrize("runbook", sorted({drill.runbook for drill in DRILLS}))
def test_every_drill_is_judged_again(runbook: str, tmp_path: Path) -> None:
    """The expected causes are confirmed, no other is."""
    played = {drill.scenario: drill for drill in DRILLS if drill.runbook == runbook and drill.scenario in CAPTURED}
    cases = [
        {"name": name, "runbook": runbook, "parameters": drill.parameters, "replay": str(capture_of(name))}
        for name, drill in played.items()
    ]
    results = run_side_by_side(cases, tmp_path, processes=1)
    found = {one["name"]: failures(played[one["name"]], one) for one in results}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_each_capture_is_of_a_drill() -> None:
    """One that was renamed takes its capture along."""
    assert {drill.scenario for drill in DRILLS} >= CAPTURED


@pytest.mark.thorough  # a drill that was just written is captured before a release
def test_each_drill_was_captured() -> None:
    assert {drill.scenario for drill in DRILLS} == CAPTURED, "run 'make captures'"
