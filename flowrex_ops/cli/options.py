"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SettingsOption = Annotated[
    str,
    typer.Option(
        "--settings", metavar="FILE", help="Settings file; else $FLOWREX_OPS_SETTINGS, else ./flowrex-ops.toml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StackOption = Annotated[str, typer.Option("--stack", metavar="STACK", help="supervisor or compose.")]
HomeOption = Annotated[
    Path | None, typer.Option("--home", metavar="FOLDER", help="The sandbox's folder; .sandbox/STACK unless given.")
]


def echo_json(value: object) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(value, indent=2, default=str))


def progress(text: str) -> None:
    """A line about what goes on, on a terminal only; standard output stays for results."""
    import sys

    if sys.stderr.isatty():
        typer.echo(f"  {text}", err=True)
