"""One moment has one severity, whichever runbook looks at it."""

from __future__ import annotations

from pathlib import Path

from run_cells import run_side_by_side

from flowrex_ops.sandbox import Sandbox

LOOKS = ("triage", "database_connections", "error_rate", "certificate_expiry")
"""What asks everything, what explains a chain of locks, what sees its 5xx, and what has nothing to do with it."""


def test_a_chain_of_locks_is_as_severe_in_each(locked_up: Sandbox, tmp_path: Path) -> None:
    """It takes every connection: P1, also where the certificates are looked at."""
    given = {"settings": str(locked_up.settings_file)}
    cases = [{"name": name, "runbook": name, "parameters": given} for name in LOOKS]
    results = run_side_by_side(cases, tmp_path)
    assert [result["traceback"] for result in results if "traceback" in result] == []
    assert {result["name"]: result["severity"] for result in results} == dict.fromkeys(LOOKS, "P1")
    (unconcerned,) = [result for result in results if result["name"] == "certificate_expiry"]
    assert unconcerned["diagnosis"] is None
    assert unconcerned["next_runbooks"][0] == "database_connections"
