"""What a record says of what was done about its cause, and what is to be done now."""

from __future__ import annotations

from typing import Any

import pytest

from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.record.page import render_page
from flowrex_ops.record.words import do_next, headline

STEPS = [{"kind": "mitigation", "target": "terminate-root-blocker", "text": "end the session at the root"}]
LOCKS = {"cause": "db.lock-contention", "severity": "P1", "title": "4 sessions wait behind pid 15", "next_steps": STEPS}


def record(
    *states: str, status: str = "complete", finding: dict[str, Any] | None = LOCKS, **more: Any
) -> RecordMetadata:
    """A record of lock contention, with a mitigation for each of the *states* that it came to."""
    about = {
        "id": "INC-20261129-0412-a1b2/001-database_connections",
        "incident": "INC-20261129-0412-a1b2",
        "runbook": "database_connections",
        "title": "Requests hang",
        "status": status,
        "reason": None,
        "severity": finding["severity"] if finding else None,
        "diagnosis": finding["cause"] if finding else None,
        "findings": [finding] if finding else [],
        "verdicts": [{"cause": "db.lock-contention", "verdict": "ruled out", "reason": "none waits"}],
        "mitigations": [{"slug": "terminate-root-blocker", "state": state, "reason": "as it is"} for state in states],
        "platform": "flowrex",
        "host": "desk",
        "started": "2026-11-29T04:12:00+00:00",
        "seconds": 4.2,
        "parameters": {},
        "versions": {},
        "cells": "2 of 2 cells ran",
    }
    return RecordMetadata.model_validate({**about, **more})


def page(of: RecordMetadata) -> str:
    """The page of a record without cells."""
    return render_page(
        {"cells": [], "metadata": {"flowrex_ops": {"record": of.to_dict()}}, "nbformat": 4, "nbformat_minor": 5}
    )


@pytest.mark.parametrize(
    ("states", "said", "tone"),
    [
        (("planned",), "P1 · 4 sessions wait behind pid 15", "bad"),
        (("refused",), "P1 · 4 sessions wait behind pid 15", "bad"),
        (
            ("verified",),
            "4 sessions wait behind pid 15: terminate-root-blocker verified; its effect was seen",
            "good",
        ),
        (
            ("applied-unverified",),
            "4 sessions wait behind pid 15: terminate-root-blocker applied-unverified; its effect could not be seen",
            "unsure",
        ),
        (("failed",), "4 sessions wait behind pid 15: terminate-root-blocker failed; not all of it worked", "bad"),
    ],
)
def test_what_was_done_is_told_with_its_cause(states: tuple[str, ...], said: str, tone: str) -> None:
    """A cause that was dealt with is no red page any more; one of which only a plan was made is."""
    assert headline(record(*states)) == said
    assert f'<header class="{tone}">' in page(record(*states))


def test_after_a_cure_the_next_step_is_no_second_one() -> None:
    """To tell people, to watch and to resolve; where it failed, what the catalogue says."""
    commands = [target for target, _ in do_next(record("verified"))]
    assert commands == [
        "flowrex-ops message update INC-20261129-0412-a1b2",
        "flowrex-ops incident resolve INC-20261129-0412-a1b2 --watch",
    ]
    assert do_next(record("failed")) == [("terminate-root-blocker", "end the session at the root")]


def test_an_interrupted_run_has_ruled_out_nothing_for_good() -> None:
    """Three checks of eight say nothing of the other five."""
    assert headline(record(status="interrupted", finding=None)) == "Interrupted before anything was confirmed"


def test_a_procedure_judges_no_cause() -> None:
    """It changed something, or nothing."""
    assert headline(record("verified", finding=None)) == "terminate-root-blocker verified; its effect was seen"
    assert headline(record("planned", finding=None, verdicts=[])) == "Nothing was changed"


def test_whom_to_ask_is_not_typed() -> None:
    """A person stands in bold, with a colon; a command as code."""
    steps = [{"kind": "person", "target": "owner of the route", "text": "is it meant?"}]
    asked = record(finding=LOCKS | {"next_steps": steps})
    assert do_next(asked)[0] == ("Owner of the route:", "is it meant?")
    assert "<b>Owner of the route:</b> is it meant?" in page(asked)


def test_a_runbook_that_is_next_is_named_once_and_as_it_is_typed() -> None:
    """By what users feel and by the finding itself; the finding's own reason says more."""
    steps = [{"kind": "runbook", "target": "error_rate", "text": "where replicas are healthy"}]
    triage = record(
        finding=LOCKS | {"next_steps": steps}, runbook="triage", next_runbooks=("trade_failures", "error_rate")
    )
    assert do_next(triage) == [
        ("flowrex-ops run trade_failures --incident INC-20261129-0412-a1b2", "it explains what users or alerts tell"),
        ("flowrex-ops run error_rate --incident INC-20261129-0412-a1b2", "where replicas are healthy"),
    ]
