"""Readings of then, judged by the checks of today: without a platform, and without changing anything."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import in_process
import pytest
from database_examples import idle_in_transaction, limits, locks, sessions, waiting

from flowrex_ops.archive.readings import SUFFIX, Capture, platform_reading
from flowrex_ops.causes import causes_by_runbook
from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.redaction.redactor import Redactor

PLANNED = "this is a replay: with these readings it would have been planned so; nothing is changed"


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    """What a run of database_connections read while a migration held a lock."""
    evidence = tmp_path / "site" / "evidence"
    evidence.parent.mkdir()
    capture = Capture(evidence / f"001-database_connections{SUFFIX}", Redactor())
    held = sessions(idle_in_transaction(1, 30, application="migration"), waiting(2, 20, 1), waiting(3, 10, 2))
    platform = platform_reading(Endpoints(stack=None, stack_line="compose 'harbor'", application_role="flowrex"))  # type: ignore[arg-type]  # nobody asks it
    for reading in (platform, held, limits(12), replace(locks(), what="locks of blockers")):
        capture.write(reading)
    return evidence


def test_judged_again(captured: Path, tmp_path: Path) -> None:
    """The cause of then is named; what was not captured stays unknown; a plan is shown, and nothing is changed."""
    code, out, err = in_process.call(
        "run", "database_connections", "--from", str(next(captured.glob(f"*{SUFFIX}"))), "--json", cwd=tmp_path
    )
    result = json.loads(out)
    assert (code, result["diagnosis"], result["status"]) == (0, "db.lock-contention", "partial"), err
    verdicts = {one["cause"]: one for one in result["verdicts"]}
    assert "it was not asked when these readings were captured" in verdicts["db.replication-lag"]["reason"]
    states = {one["slug"]: one["state"] for one in result["mitigations"]}
    assert states.pop("terminate-root-blocker") == "planned"
    assert set(states.values()) == {"refused"}
    text = Path(result["record"]).read_text(encoding="utf-8")
    for said in (PLANNED, "in this replay it cannot be planned: which replicas leak", "end the session at the root of"):
        assert said in text
    assert f"judged by flowrex-ops {version('flowrex-ops')}" in text
    assert "readings of another run are judged; nothing is asked" in text
    again = ("run", "database_connections", "--from", str(next(captured.glob(f"*{SUFFIX}"))))
    for more, says in (
        (("--open",), "--open notifies people now"),
        (("--approve", "a", "--operator", "b"), "leave out approve"),
    ):
        code, _, err = in_process.call(*again, *more, cwd=tmp_path)
        assert (code, says in err) == (2, True), err
    assert not list((tmp_path / "outputs").glob("INC-*"))
    assert not list(Path(result["record"]).parent.parent.glob(f"evidence/*{SUFFIX}"))


def test_right_and_wrong(captured: Path, tmp_path: Path) -> None:
    """By what somebody wrote beside the readings; nothing is left in the archive."""
    beside = captured / "001-database_connections-expected.txt"
    code, _, err = in_process.call("backtest", "site", cwd=tmp_path)
    assert (code, "write the cause, or none, into" in err) == (2, True), err
    beside.write_text("db.lock-contention\n")
    code, out, err = in_process.call("backtest", "site", cwd=tmp_path)
    assert (code, "1 captures: 1 right, 0 wrong" in out) == (0, True), out + err
    beside.write_text("db.max-connections")
    code, out, err = in_process.call("backtest", "site", cwd=tmp_path)
    assert (code, "db.lock-contention, not db.max-connections" in out) == (1, True), out + err
    assert not (tmp_path / "outputs").exists()


def test_everything_is_read_once(tmp_path: Path) -> None:
    """Of a platform of which nothing answers: each runbook has its record and its readings there, and is judged alike again."""
    (tmp_path / "flowrex-ops.toml").write_text("[limits]\nreading_seconds = 1\n")
    code, out, err = in_process.call("capture", "-o", "site", cwd=tmp_path)
    names = sorted(file.name.partition("-")[2] for file in (tmp_path / "site").glob(f"*/evidence/*{SUFFIX}"))
    assert (code, names) == (0, sorted(f"{runbook}{SUFFIX}" for runbook in causes_by_runbook())), out + err
    assert "judge it: flowrex-ops backtest site" in out
    assert not (tmp_path / "outputs").exists()
    code, out, err = in_process.call("backtest", "site", cwd=tmp_path)
    assert (code, f"{len(names)} captures: {len(names)} right" in out) == (0, True), out + err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("run", "triage", "--from", "INC-1/001"), "there are no readings of 'INC-1/001'"),
        (("backtest", "nowhere"), "'nowhere' does not exist"),
        (("backtest", "."), "there are no readings in these folders"),
    ],
)
def test_nothing_to_judge(given: tuple[str, ...], says: str, tmp_path: Path) -> None:
    code, _, err = in_process.call(*given, cwd=tmp_path)
    assert (code, says in err) == (2, True), err
