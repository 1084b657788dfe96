"""The end of a run on a terminal: what was found, what was done, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.cli.report import summary
from flowrex_ops.cli.run import again
from flowrex_ops.record.banner import banner
from flowrex_ops.record.result import RunResult
from flowrex_sandbox.cli.drill import _screen
from flowrex_sandbox.cli.scoring import Score
from flowrex_sandbox.drills import get_drill
from tests.record.test_words import page, record


def result(*states: str, **facts: Any) -> RunResult:
    """A run that found lock contention, with a mitigation for each of the *states*."""
    why = {"refused": "its cause is not confirmed (x)"}
    mitigations = [
        {"slug": "terminate-root-blocker", "state": one, "reason": why.get(one, "as it is"), "plan_hash": "abc123"}
        for one in states
    ]
    of = record(mitigations=mitigations, **facts)
    return RunResult.of(of, Path("/out/001.ipynb"), Path("/out/001.html"))


def test_what_was_planned_is_applied_by_a_line_to_paste() -> None:
    """With the run's own parameters, settings and incident, quoted for the shell."""
    command = again("database_connections", ["reason=two words"], "my.toml", "INC-20261129-0412-a1b2")
    said = summary(result("planned"), verdicts_shown=True, command=command)
    assert (
        "To apply    flowrex-ops run database_connections -p 'reason=two words' --settings my.toml"
        " --incident INC-20261129-0412-a1b2 --approve terminate-root-blocker@abc123 --operator NAME"
        in said.splitlines()
    )


def test_what_has_no_cause_here_is_one_line() -> None:
    """Not a refusal each."""
    said = summary(result("refused"), verdicts_shown=False)
    assert "Not needed  terminate-root-blocker: their causes are not confirmed" in said
    assert said.count("terminate-root-blocker") == 2, "there, and as the next step"


def test_after_a_cure_it_says_what_to_do_now() -> None:
    """The catalogue's next step has been taken."""
    said = summary(result("verified"), verdicts_shown=True)
    assert "Done        terminate-root-blocker verified; its effect was seen" in said
    assert "Do next     flowrex-ops message update INC-20261129-0412-a1b2  (tell people what was done)" in said


def test_after_a_change_it_says_how_users_are_now() -> None:
    """On the terminal, the page and in the banner; what was so severe before that is told as past."""
    of = result(
        "verified", severity="P0", impact="alert FrontDoorDown", users="not healthy yet: backend-1 is not ready"
    )
    terminal = summary(of, verdicts_shown=True)
    assert "Users       not healthy yet: backend-1 is not ready" in terminal
    assert "Severity    P0 at first: alert FrontDoorDown" in terminal
    for text in (page(of), banner(of)):
        assert "Users are not healthy yet: backend-1 is not ready" in text
        assert "P0 at first: alert FrontDoorDown" in text


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("verified", []),
        ("applied-unverified", []),
        ("refused", ["terminate-root-blocker"]),
        ("failed", ["terminate-root-blocker"]),
    ],
)
def test_an_approval_that_came_to_nothing_is_known(state: str, left: list[str]) -> None:
    """``run --approve`` then ends with 1."""
    assert result(state, parameters={"approve": ["terminate-root-blocker@abc123"]}).not_applied == left


def test_a_drill_ends_with_what_was_broken_and_what_was_found() -> None:
    """In how long, what was expected, and the command that applies what was planned, on the stack that it was run on."""
    score = Score(get_drill("lock-chain"), result("planned"))
    assert list(_screen(score, "compose")) == [
        "Broken      a migration holds a row, and a chain of sessions waits behind it",
        "Found       db.lock-contention in 4.2 s",
        "Expected    db.lock-contention",
        "To apply    flowrex-ops drill run lock-chain --stack compose --approve  (terminate-root-blocker)",
        "Drill       passed",
    ]
    assert list(_screen(Score(get_drill("lock-chain"), result()), "supervisor"))[-1] == "Drill       passed"
