"""The table of commands. Each command's module is small, and imports what it needs when it is called."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flowrex_ops.cli import (
    backup,
    batch,
    captures,
    doctor,
    incident,
    init,
    message,
    new,
    notebooks,
    records,
    run,
    runbooks,
    serve,
)
from flowrex_ops.cli.options import current_names

LOOK, INCIDENT, ARCHIVE, SET_UP, PRACTICE = "Look and change", "Incident", "Archive", "Set up", "Practice"


class ByMoment(TyperGroup):
    """Help that lists the commands by the moment in which they are needed, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # the base's
        moments: dict[str, list[tuple[str, str]]] = {one: [] for one in (LOOK, INCIDENT, ARCHIVE, SET_UP, PRACTICE)}
        for name, command in self.commands.items():
            moment = getattr(command, "rich_help_panel", None) or "Commands"
            moments.setdefault(moment, []).append((name, command.get_short_help_str(200)))
        for moment, rows in moments.items():
            if rows:
                with formatter.section(moment):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="flowrex-ops",
    cls=ByMoment,
    context_settings={"help_option_names": ["-h", "--help"], **current_names(heal="reset", score="run-all")},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Executable incident runbooks for Flowrex: run one, read its record, apply what you approve.",
    epilog="Example: flowrex-ops run database_connections",
)
app.command(rich_help_panel=LOOK)(run.triage)
app.command(rich_help_panel=LOOK)(run.run)
app.command(rich_help_panel=LOOK)(runbooks.runbooks)
app.command(rich_help_panel=LOOK)(batch.batch)
app.command(rich_help_panel=LOOK, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    notebooks.notebooks
)
app.command(rich_help_panel=LOOK)(backup.backup)
app.add_typer(incident.app, name="incident", cls=ByMoment, rich_help_panel=INCIDENT)
app.command(rich_help_panel=INCIDENT, context_settings=current_names(to="receiver"))(message.message)
app.command(name="post-mortem", rich_help_panel=INCIDENT)(message.post_mortem)
app.command(rich_help_panel=ARCHIVE)(captures.capture)
app.command(rich_help_panel=ARCHIVE)(captures.backtest)
app.add_typer(records.app, name="records", cls=ByMoment, rich_help_panel=ARCHIVE)
app.command(rich_help_panel=SET_UP)(doctor.doctor)
app.command(rich_help_panel=SET_UP)(init.init)
app.command(rich_help_panel=SET_UP)(new.new)
app.command(rich_help_panel=SET_UP)(serve.serve)
for plugged in entry_points(group="flowrex_ops.commands"):  # what other packages bring, as the sandbox does
    app.add_typer(plugged.load(), name=plugged.name, cls=ByMoment, rich_help_panel=PRACTICE)


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
