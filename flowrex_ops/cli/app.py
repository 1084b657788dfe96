"""The table of commands. Each command's module is small, and imports what it needs when it is called."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

import typer

from flowrex_ops.cli import (
    backup,
    batch,
    doctor,
    incident,
    init,
    message,
    notebooks,
    post_mortem,
    records,
    run,
    runbooks,
    serve,
)

app = typer.Typer(
    name="flowrex-ops",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Executable incident runbooks for Flowrex: run one, read its record, apply what you approve.",
    epilog="Example: flowrex-ops run database_connections",
)
app.command()(doctor.doctor)
app.command()(init.init)
app.command()(runbooks.runbooks)
app.command()(run.run)
app.command()(run.triage)
app.command()(batch.batch)
app.command()(backup.backup)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(notebooks.notebooks)
app.add_typer(incident.app, name="incident")
app.command()(message.message)
app.command(name="post-mortem")(post_mortem.post_mortem)
app.command()(serve.serve)
app.add_typer(records.app, name="records")
for plugged in entry_points(group="flowrex_ops.commands"):  # what other packages bring, as the sandbox does
    app.add_typer(plugged.load(), name=plugged.name)


def _show_version(wanted: bool) -> None:
    if wanted:
        from flowrex_ops import __version__

        typer.echo(f"flowrex-ops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Executable incident runbooks for Flowrex: run one, read its record, apply what you approve."""
