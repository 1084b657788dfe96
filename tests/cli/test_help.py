"""The table of commands: each has help with an example, and the page in docs/ says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from generate_cli import find_commands, get_help, render

DOCS = Path(__file__).parents[2] / "docs"

COMMANDS = [path for path in find_commands() if path]
GROUPS = {path[:-1] for path in COMMANDS}


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in GROUPS], ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    """Whoever asks for help sees how the command is called."""
    assert f"Example: flowrex-ops {' '.join(path)}" in get_help(path)


def test_page_in_docs_is_what_the_command_says() -> None:
    """docs/cli.md is generated; run docs/generate_cli.py when this fails."""
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("former", [("drill", "heal"), ("drill", "score")])
def test_former_names_work_and_are_not_told(former: tuple[str, ...]) -> None:
    assert get_help(former).startswith(f"Usage: flowrex-ops {' '.join(former)} [OPTIONS]")
    assert former not in COMMANDS


def test_every_command_of_the_design_is_there() -> None:
    """The verbs that the first runbook needs."""
    expected = "doctor,runbooks,run,notebooks,records list,records show,records verify"
    expected += ",sandbox up,sandbox down,sandbox status,drill list,drill run,drill inject,drill reset,drill run-all"
    expected += ",incident open,incident update,incident resolve,incident list,incident show,incident export,serve,batch,records search,message,post-mortem,triage,backup"
    assert set(expected.split(",")) <= {" ".join(path) for path in COMMANDS}
