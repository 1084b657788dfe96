"""Options that several commands take."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowrex_ops.settings import Settings


def _name_project(name: str) -> str:
    """For this process and the kernels it starts; the setting of a file gives way to it."""
    if name:
        os.environ["FLOWREX_OPS_STACK__PROJECT"] = name
    return name


SettingsOption = Annotated[
    str,
    typer.Option(
        "--settings", metavar="FILE", help="Settings file; else $FLOWREX_OPS_SETTINGS, else ./flowrex-ops.toml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProjectOption = Annotated[
    str,
    typer.Option(
        "--project", metavar="NAME", callback=_name_project, help="The compose project; else that of this folder."
    ),
]
StackOption = Annotated[str, typer.Option("--stack", metavar="STACK", help="supervisor or compose.")]
HomeOption = Annotated[
    Path | None, typer.Option("--home", metavar="FOLDER", help="The sandbox's folder; .sandbox/STACK unless given.")
]


def echo_json(value: object) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(value, indent=2, default=str))


def echo(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """*value* for programs, or *lines* for people."""
    if as_json:
        echo_json(value)
    else:
        typer.echo("\n".join(lines))


def progress(text: str) -> None:
    """A line about what goes on, on a terminal only; standard output stays for results."""
    import sys

    if sys.stderr.isatty():
        typer.echo(f"  {text}", err=True)


def load_settings(settings: str) -> Settings:
    """The settings that a command works by; what the store has of incidents, where there is one, is here afterwards."""
    from flowrex_ops.archive.store import pull
    from flowrex_ops.settings import load

    loaded = load(settings or None)
    pull(loaded)
    return loaded
