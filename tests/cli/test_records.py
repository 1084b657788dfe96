"""The archive's commands: what they print for people and for programs, and one line for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from generated import BEGIN, add_incident, metadata
from typer.testing import CliRunner

from flowrex_ops.cli.app import app
from flowrex_ops.errors import FlowrexOpsError

Call = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command in a folder with two records of one runbook; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWREX_OPS_SETTINGS", "FLOWREX_OPS_OUTPUTS"):
        monkeypatch.delenv(name, raising=False)
    for day, cause in enumerate(("db.lock-contention", "db.lock-contention")):
        at = BEGIN + timedelta(days=day)
        add_incident(Path("outputs"), at, [metadata("database_connections", cause, at, n=2 + day)], number=day)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["records", *arguments], catch_exceptions=True)
        assert done.exit_code == code or isinstance(done.exception, FlowrexOpsError), done
        return str(done.exception) if isinstance(done.exception, FlowrexOpsError) else done.output

    return run


FIRST, SECOND = "INC-20261101-0000-0000", "INC-20261102-0000-0001"

SAYS = {
    "search": (["search", "blocker", "--cause", "db"], f"{FIRST}/001-database_connections"),
    "search that finds nothing": (["search", "earthquake"], "nothing found"),
    "similar": (["similar", SECOND], "resolved by terminate-root-blocker"),
    "similar to nothing": (["similar", FIRST], "nothing earlier was like it"),
    "diff": (["diff", FIRST, SECOND], "db.lock-contention root blocker PID 3"),
    "trend": (
        ["trend", "db.lock-contention", "--since", "2026-11-01"],
        "2026-11-02 00:00:00+00:00      1            21.0",
    ),
    "reindex": (["reindex"], "2 records in 2 folders"),
    "verify": (["verify"], "2 folders verified, nothing was changed"),
    "export": (["export", FIRST], f"{FIRST}.zip (0.0 MB); unzip it and open index.html"),
}

BAD = {
    "text without a word": (["search", "*"], "has no word to look for"),
    "unknown cause": (["search", "--cause", "db.lock-contentoin"], "did you mean 'db.lock-contention'?"),
    "time that is none": (["search", "--since", "yesterday"], "--since: 'yesterday' is not a time"),
    "unknown record": (["similar", "INC-1999"], "no record is called 'INC-1999'"),
    "neither cause nor runbook": (["trend", "earthquake"], "neither a cause nor a runbook"),
    "chart that is no PNG": (["trend", "db.lock-contention", "--output", "x.doc"], "give a name that ends with .png"),
    "missing notebook": (["import", "gone.ipynb"], "cannot be read"),
    "export to nowhere": (["export", FIRST, "--output", "gone/x.zip"], "is not a folder"),
}


@pytest.mark.parametrize("example", SAYS)
def test_command(call: Call, example: str) -> None:
    """For people."""
    arguments, words = SAYS[example]
    assert words in call(*arguments)


@pytest.mark.parametrize("example", BAD)
def test_bad_input_is_one_line(call: Call, example: str) -> None:
    """It names the value and the next step."""
    arguments, words = BAD[example]
    said = call(*arguments, code=2)
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["search"], {"id", "incident", "diagnosis", "causes", "resolved_by", "excerpt"}),
        (["similar", SECOND], {"incident", "likeness", "causes", "signatures"}),
        (["diff", FIRST, SECOND], {"before", "after", "findings", "numbers", "configuration"}),
        (["trend", "database_connections"], {"what", "kind", "period", "incidents", "periods"}),
        (["export", FIRST, "--output", "x.zip"], {"file", "bytes"}),
        (["reindex"], {"index", "records", "incidents", "finished"}),
        (["verify"], {"incidents", "problems"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_json(call: Call, arguments: list[str], keys: set[str]) -> None:
    """For programs."""
    value: Any = json.loads(call(*arguments, "--json"))
    assert keys <= set(value[0] if isinstance(value, list) else value)


def test_chart_is_a_picture(call: Call) -> None:
    """Of the trend."""
    call("trend", "db.lock-contention", "--output", "trend.png")
    assert Path("trend.png").read_bytes()[:4] == b"\x89PNG"


def test_verify_of_nothing_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the folder of outputs is not there yet; nothing is made."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["records", "verify"])
    assert (done.exit_code, done.output) == (0, "0 folders verified, nothing was changed\n")
    assert list(tmp_path.iterdir()) == []


def test_verify_names_the_first_broken_line(call: Call) -> None:
    """Of an incident in which nothing has run, too."""
    timeline = Path("outputs") / FIRST / "timeline.jsonl"
    timeline.write_text(timeline.read_text().replace("opened", "closed"))
    assert "timeline.jsonl line 1 was changed after it was written" in call("verify", FIRST, code=1)
