"""Parameters as people give them: understood, or refused in one line before a kernel starts."""

from __future__ import annotations

from typing import Any

import pytest

from flowrex_ops.catalog import find_runbooks, get_runbook
from flowrex_ops.durations import format_seconds, parse_duration
from flowrex_ops.errors import ParameterError
from flowrex_ops.parameters import validate, validate_started

UNDERSTOOD = {
    "number": ({"idle_after_seconds": "2.5"}, {"idle_after_seconds": 2.5}),
    "list by commas": (
        {"approve": "restart-backend, cancel-long-queries", "operator": "ada"},
        {"approve": ["restart-backend", "cancel-long-queries"], "operator": "ada"},
    ),
    "list as JSON": (
        {"approve": '["restart-backend"]', "operator": "ada"},
        {"approve": ["restart-backend"], "operator": "ada"},
    ),
    "approval with hash": (
        {"approve": ["restart-backend@0123"], "operator": "ada"},
        {"approve": ["restart-backend@0123"], "operator": "ada"},
    ),
    "span": ({"since": "2h"}, {"since": "2h"}),
    "incident": ({"incident_id": "INC-20260131-0412-a1b2"}, {"incident_id": "INC-20260131-0412-a1b2"}),
    "nothing": ({}, {}),
}
REFUSED = {
    "unknown, with the nearest": ({"idle_after_second": "1"}, "did you mean 'idle_after_seconds'"),
    "unknown, with all": ({"zzz": "1"}, "there are: incident_id, since"),
    "no number": ({"idle_after_seconds": "soon"}, "idle_after_seconds: 'soon' is not a number"),
    "not a finite number": ({"idle_after_seconds": "nan"}, "is not a number"),
    "truth is no number": ({"idle_after_seconds": True}, "is not a number"),
    "no time": ({"idle_after_seconds": "0"}, "give more than 0 seconds"),
    "negative": ({"long_query_seconds": "-5"}, "give more than 0 seconds"),
    "more than all": ({"connections_ratio": "1.5"}, "at most 1"),
    "no span": ({"since": "yesterday"}, "since: 'yesterday' is not a span of time"),
    "no incident": ({"incident_id": "../../etc"}, "is not an incident"),
    "no mitigation": ({"approve": "drop-database"}, "approve: 'drop-database' is not a mitigation"),
    "blanks approve": ({"approve": "restart-backend", "operator": "  "}, "operator: '  ' names nobody"),
    "an invisible character approves": ({"approve": "restart-backend", "operator": "\u200b"}, "names nobody"),
    "nobody approves": ({"approve": "restart-backend"}, "add --operator NAME"),
    "broken list": ({"approve": "[restart"}, "is not a list"),
    "no file": ({"settings": "/no/such/file.toml"}, "does not exist"),
}


@pytest.mark.parametrize("example", UNDERSTOOD)
def test_understood(example: str) -> None:
    """Text becomes the parameter's type."""
    given, expected = UNDERSTOOD[example]
    assert validate(get_runbook("database_connections"), given) == expected


@pytest.mark.parametrize("example", REFUSED)
def test_refused(example: str) -> None:
    """One line names the parameter and what it takes."""
    given, words = REFUSED[example]
    with pytest.raises(ParameterError) as refusal:
        validate(get_runbook("database_connections"), given)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)])
def test_span(text: str, seconds: float) -> None:
    """A number and a unit."""
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.3, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_span_for_people(seconds: float, text: str) -> None:
    """Short, with units."""
    assert format_seconds(seconds) == text


class TestStartedBySomebodyElse:
    """papermill's own command and JupyterLab check nothing: what they give is understood, or refused in one line."""

    @pytest.mark.parametrize(
        ("given", "expected"),
        [("restart-backend", ["restart-backend"]), ('["restart-backend"]', ["restart-backend"]), (None, []), ([], [])],
    )
    def test_approvals(self, given: Any, expected: list[str]) -> None:
        """``-p approve X``, ``-p approve '["X"]'`` and ``-y 'approve: null'``."""
        assert validate_started("database_connections", {"approve": given}, {})["approve"] == expected

    @pytest.mark.parametrize(("name", "value"), [("since", 30), ("operator", 7)])
    def test_numbers_that_papermill_made(self, name: str, value: int) -> None:
        """``-p since 30`` and ``-p operator 007``."""
        with pytest.raises(ParameterError) as refusal:
            validate_started("database_connections", {name: value}, {})
        assert str(refusal.value).startswith(f"{name}: '{value}' is not a text")
        assert f"papermill's -r {name} keeps what was typed" in str(refusal.value)

    def test_the_others_are_in_the_kernel(self) -> None:
        """Of the runbook's own parameters, too: a number as text is a number, and no number is refused."""
        held = {"connections_ratio": "0.5", "unrelated": "x"}
        validate_started("database_connections", {}, held)
        assert held == {"connections_ratio": 0.5, "unrelated": "x"}
        with pytest.raises(ParameterError, match="at most 1"):
            validate_started("database_connections", {}, {"connections_ratio": 7})

    def test_every_default_is_possible(self) -> None:
        """A fragmentation of 1.5 is no share, whatever it is called."""
        for slug, runbook in find_runbooks().items():
            held = {parameter.name: parameter.default for parameter in runbook.parameters}
            assert validate_started(slug, {}, dict(held))["since"] == "30m"
            assert validate(runbook, held) == held

    def test_a_notebook_of_ones_own(self) -> None:
        assert validate_started("my_own", {"since": "2h"}, {})["since"] == "2h"
