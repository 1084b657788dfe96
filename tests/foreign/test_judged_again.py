"""What was read on the foreign platform, healthy and with each fault, judged again: nothing is started for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from captures import FOREIGN, capture_of
from run_cells import run_side_by_side
from test_harbor import IN_ORDER, PARAMETERS, RUNBOOKS


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_the_right_cause_comes_first(runbook: str, tmp_path: Path) -> None:
    """And none on the platform as it is when nothing is wrong."""
    expected = {"healthy": "None"} | {one.name: one.causes[runbook] for one in IN_ORDER if runbook in one.causes}
    given = {"healthy": {}} | {one.name: one.parameters for one in IN_ORDER}
    cases = [
        {
            "name": name,
            "runbook": runbook,
            "parameters": given[name] | PARAMETERS.get(runbook, {}),
            "replay": str(capture_of(f"{name}-{runbook}", FOREIGN)),
        }
        for name in expected
    ]
    said = {one["name"]: one for one in run_side_by_side(cases, tmp_path, processes=1)}
    assert [one["traceback"] for one in said.values() if "traceback" in one] == []
    found = {name: str(one["diagnosis"]) for name, one in said.items()}
    assert {name: cause for name, cause in found.items() if not re.fullmatch(expected[name], cause)} == {}
