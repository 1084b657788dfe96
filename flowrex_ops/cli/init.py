"""``flowrex-ops init``: a settings file out of what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowrex_ops.cli.options import ProjectOption, SettingsOption, option


def init(
    settings: SettingsOption = "",
    project: ProjectOption = "",  # noqa: ARG001  # its callback uses it
    output: Annotated[
        Path | None, option("--output", "FILE", "Where to write; ./flowrex-ops.toml unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write flowrex-ops.toml from what is found of the running platform: each line says where it came from.

    Passwords are not written: they are found again each time, and a comment says where.

    Example: flowrex-ops init --project flowrex
    """
    from flowrex_ops.discovery.endpoints import discover
    from flowrex_ops.discovery.inventory import write_inventory
    from flowrex_ops.errors import SourceUnavailableError, UsageError
    from flowrex_ops.settings import DEFAULT_FILE, load

    file = output or Path(DEFAULT_FILE)
    if file.exists() and not force:
        raise UsageError(f"'{file}' is there already; give --force to write over it, or --output another name")
    endpoints = discover(load(settings or None))
    if endpoints.stack_error:
        raise SourceUnavailableError(endpoints.stack_error)
    file.write_text(write_inventory(endpoints), encoding="utf-8")
    typer.echo(f"wrote '{file}'; look at it, then run 'flowrex-ops doctor'")
