"""How the command is found out: what it says to whoever leaves something out, asks for help, or knows yesterday's names."""

from __future__ import annotations

from pathlib import Path

import in_process
import pytest
import typer
from generate_cli import find_commands, get_help

from flowrex_ops.archive.incidents import find_incident
from flowrex_ops.cli import options
from flowrex_ops.cli.app import app
from flowrex_ops.incident.incident import close, open_new
from flowrex_ops.redaction.redactor import Redactor


def test_without_arguments_it_shows_its_help_as_it_is(tmp_path: Path) -> None:
    """Grouped by the moment in which a command is needed; exit code 2, for nothing was done."""
    code, out, err = in_process.call(cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: flowrex-ops [OPTIONS] COMMAND [ARGS]...")
    moments = ["Look and change:", "Incident:", "Archive:", "Set up:", "Practice:"]
    assert [line for line in err.splitlines() if line in moments] == moments


def test_a_missing_argument_shows_how_the_command_is_called(tmp_path: Path) -> None:
    """Its usage, and what is missing."""
    code, _, err = in_process.call("run", cwd=tmp_path)
    assert code == 2
    assert err.startswith("Usage: flowrex-ops run [OPTIONS] {RUNBOOK}")
    assert "Missing argument 'RUNBOOK'" in err


@pytest.mark.parametrize("words", [(), ("incident",), ("records", "search"), ("drill", "run")])
def test_dash_h_is_help(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Everywhere."""
    code, out, _ = in_process.call(*words, "-h", cwd=tmp_path)
    assert (code, out.startswith("Usage: flowrex-ops")) == (0, True)


def test_former_names_still_work_and_no_help_shows_them(tmp_path: Path) -> None:
    """Every one of them means an option that there is; helps speak of that."""
    former = {**options.FORMER_NAMES, "to": "receiver"}
    helps = "\n".join(get_help(path) for path in find_commands())
    assert [name for name in former if f"--{name} " in helps] == []
    assert [name for name in former.values() if f"--{name} " not in helps] == []

    facts = ("--told", "team lead", "--by", "ada", "--note", "called")
    in_process.call("incident", "open", "x", "--by", "ada", cwd=tmp_path)
    in_process.call("incident", "update", "latest", *facts, cwd=tmp_path)
    assert in_process.call("message", "initial", "latest", "--to", "all", cwd=tmp_path)[0] == 0
    in_process.call("incident", "resolve", "latest", "--every", "1s", "--anyway", "no incident", cwd=tmp_path)
    assert in_process.call("incident", "export", "latest", "--to", "x.zip", cwd=tmp_path)[0] == 0
    shown = in_process.call("incident", "show", "latest", cwd=tmp_path)[1]
    assert all(text in shown for text in ("ada         Team lead notified", "open: no incident", "Resolved")), shown
    assert in_process.call("records", "import", "x.ipynb", "--again", cwd=tmp_path)[2].startswith(
        "flowrex-ops: notebook 'x.ipynb'"
    )


def test_the_latest_is_the_newest_that_is_open(tmp_path: Path) -> None:
    """A resolved one only where there is no other; within one minute the order is that of opening, not of the ids."""
    folders = [open_new(tmp_path, {"title": str(n)}, by="ada", redactor=Redactor()) for n in range(3)]
    assert find_incident(tmp_path, "latest") == folders[2]
    for folder, expected in ((folders[2], 1), (folders[0], 1), (folders[1], 2)):
        close(folder, by="ada", text="resolved", redactor=Redactor())
        assert find_incident(tmp_path, "latest") == folders[expected]


@pytest.mark.parametrize(("wanted", "code"), [("latest", 0), ("INC-2", 0), ("INC-1", 2)])
def test_a_run_is_added_to_the_incident_that_is_meant(tmp_path: Path, wanted: str, code: int) -> None:
    """By ``latest`` and the beginning of an id too; a slip starts nothing."""
    folder = open_new(tmp_path / "outputs", {"title": "x"}, by="ada", redactor=Redactor())
    done = in_process.call("run", "service_restart", "--incident", wanted, "--json", cwd=tmp_path)
    assert done[0] == code, done[2]
    assert len(list((folder / "records").glob("*.ipynb"))) == (not code)


def test_every_command_is_in_a_moment() -> None:
    """The first help that one reads leaves none over."""
    group = typer.main.get_command(app)
    assert all(command.rich_help_panel for command in group.commands.values())  # type: ignore[attr-defined]  # a group's
