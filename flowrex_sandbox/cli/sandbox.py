"""``flowrex-ops sandbox``: the stand-in platform up, down, and how it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flowrex_ops.cli.options import HomeOption, JsonOption, StackOption, echo_json, progress
from flowrex_ops.errors import ParameterError

app = typer.Typer(no_args_is_help=True, help="A small real platform on this machine.", rich_markup_mode=None)


def home_of(stack: str, home: Path | None) -> Path:
    """The folder given, or the stack's own; ParameterError for a stack that there is not."""
    from flowrex_sandbox.control import DEFAULT_HOMES

    if stack not in DEFAULT_HOMES:
        raise ParameterError(f"--stack: '{stack}' is not a stack; give {' or '.join(DEFAULT_HOMES)}")
    return home or DEFAULT_HOMES[stack]


@app.command()
def up(
    stack: StackOption = "supervisor",
    home: HomeOption = None,
    replicas: Annotated[int, typer.Option("--replicas", min=1, max=20, help="Backend replicas.")] = 3,
    alerts_to: Annotated[
        str, typer.Option("--alerts-to", metavar="URL", help="Alertmanager sends its alerts there; else to nobody.")
    ] = "",
) -> None:
    """Start the sandbox and wait until it is healthy; nothing happens to one that already runs.

    Example: flowrex-ops sandbox up --stack compose

    Example: flowrex-ops sandbox up --alerts-to http://127.0.0.1:9099/alertmanager
    """
    from flowrex_sandbox import control as sandbox
    from flowrex_sandbox.monitoring.alerts import send_alerts_to

    started = sandbox.up(stack, home_of(stack, home), replicas=replicas, on_progress=progress)
    if alerts_to:
        send_alerts_to(started, alerts_to)
    typer.echo(f"sandbox {started.name} is up")
    typer.echo(f"settings: {started.settings_file}")
    typer.echo(f"try: flowrex-ops run database_connections --settings {started.settings_file}")


@app.command()
def down(stack: StackOption = "supervisor", home: HomeOption = None) -> None:
    """Stop the sandbox and remove everything it made.

    Example: flowrex-ops sandbox down
    """
    from flowrex_sandbox import control as sandbox

    where = home_of(stack, home)
    typer.echo("sandbox is down" if sandbox.down(where) else f"there was no sandbox in '{where}'")


@app.command()
def status(stack: StackOption = "supervisor", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what runs.

    Example: flowrex-ops sandbox status --json
    """
    from flowrex_sandbox import control as sandbox

    services = sandbox.status(home_of(stack, home))
    if as_json:
        echo_json([asdict(service) for service in services])
        return
    for service in services:
        typer.echo(f"{service.name:<18} {service.state:<10} {service.ready:<10} {service.address}")
    if not services:
        typer.echo("no sandbox runs; start one with 'flowrex-ops sandbox up'")
