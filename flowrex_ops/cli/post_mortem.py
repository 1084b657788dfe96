"""``flowrex-ops post-mortem``: what the archive knows is written, what people wrote stays."""

from __future__ import annotations

import typer

from flowrex_ops.cli.incident import ByOption, IdArgument
from flowrex_ops.cli.options import JsonOption, SettingsOption, echo_json, load_settings


def post_mortem(
    incident: IdArgument, by: ByOption = "", settings: SettingsOption = "", as_json: JsonOption = False
) -> None:
    """Write an incident's post-mortem, or renew what is known in it; text and action items of people stay as they are.

    Call it again after editing post_mortem.md: action items are read back, and the incident is sealed again.

    Example: flowrex-ops post-mortem latest
    """
    from flowrex_ops.archive.incidents import current_user
    from flowrex_ops.incident.review_files import write_post_mortem

    written = write_post_mortem(incident, load_settings(settings), settings, operator=by or current_user())
    facts = written.to_dict()
    if as_json:
        echo_json(facts)
        return
    for name in ("document", "notebook", "html"):
        typer.echo(f"{name:<9} {facts[name]}")
    for row in written.actions.itertuples():
        typer.echo(f"  {row.status:<8} {row.action} ({row.owner or 'nobody'}, {row.due or 'no date'})")
    typer.echo(f"still to write: {', '.join(written.to_write) or 'nothing'}")
