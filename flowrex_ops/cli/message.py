"""``flowrex-ops message``: what people are told, filled in from the incident, kept, and sent when told to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowrex_ops.cli.incident import (
    ByOption,
    CauseOption,
    IdArgument,
    ImpactOption,
    ResolutionOption,
    ServiceOption,
    incident_facts,
    send_changes,
)
from flowrex_ops.cli.options import JsonOption, SettingsOption, echo_json, load_settings
from flowrex_ops.errors import FlowrexOpsError, ParameterError

if TYPE_CHECKING:
    from flowrex_ops.incident.outbox import Message


def message(
    kind: Annotated[str, typer.Argument(metavar="initial|update|resolved", help="Which message.")],
    incident: IdArgument,
    service: ServiceOption = "",
    impact: ImpactOption = "",
    root_cause: CauseOption = "",
    resolution: ResolutionOption = "",
    eta: Annotated[str, typer.Option("--eta", metavar="TEXT", help="When it will be over, as far as known.")] = "",
    next_update: Annotated[str, typer.Option("--next-update", metavar="SPAN", help="Such as 30m.")] = "",
    edit: Annotated[bool, typer.Option("--edit", help="Write it in $EDITOR before it is kept.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Send it; otherwise it is shown and kept.")] = False,
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="NAME", help="A receiver of notify.urls; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Send 'resolved' of an incident that is open; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why --force; stands on the timeline.")] = "",
    by: ByOption = "",
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fill in a message from the incident, keep it, and send it only with --send. What the options say, the incident keeps.

    Example: flowrex-ops message initial latest --impact "no orders are filled" --send --to incident
    """
    from flowrex_ops.archive import timeline
    from flowrex_ops.archive.incidents import current_user
    from flowrex_ops.incident import lifecycle, messages, outbox
    from flowrex_ops.incident.notify import choose
    from flowrex_ops.redaction.redactor import Redactor

    if kind not in messages.KINDS:
        raise ParameterError(f"'{kind}' is not a message; give {', '.join(messages.KINDS)}")
    if force != bool(reason.strip()):
        raise ParameterError("--force and --reason go together; say why with --reason TEXT")
    loaded = load_settings(settings)
    receivers = choose(loaded.notify, to or ()) if send else {}
    folder, found = lifecycle.load(loaded.outputs, incident)
    if send and not force:
        messages.require_true(kind, found)
    who, redactor = by or current_user(), Redactor(loaded.secret_values())
    facts = incident_facts(
        service=service,
        impact=impact,
        root_cause=root_cause,
        resolution=resolution,
        eta=eta,
        next_update=next_update,
    )
    if facts:
        found = lifecycle.change(folder, facts, by=who, redactor=redactor)
    text = messages.compose(kind, found, force=force)
    if edit:
        text = _edited(text)
    if send:
        outbox.require_whole(text)
    kept = outbox.keep(folder, kind, text, by=who, redactor=redactor)
    if force:
        said = redactor.text(f"message {kept.name} by force, the incident is '{found.status.value}': {reason}")
        timeline.append(folder, {"kind": "note", "text": said, "by": who})
    if send:
        kept = outbox.deliver(
            folder, kept, receivers, incident=found, by=who, settings=loaded.notify, redactor=redactor
        )
    send_changes(loaded)
    _show(kept, folder, sent=send, as_json=as_json)
    missed = [one.receiver for one in kept.deliveries if not one.delivered]
    if missed:
        raise FlowrexOpsError(f"the message did not reach {', '.join(missed)}; it is kept, send it again or by hand")


def _show(kept: Message, folder: Path, *, sent: bool, as_json: bool) -> None:
    if as_json:
        echo_json(kept.to_dict())
        return
    typer.echo(kept.text)
    typer.echo(f"kept as {kept.path.relative_to(folder.parent)}" + ("" if sent else "; nothing was sent"))
    for one in kept.deliveries:
        said = "sent to" if one.delivered else "NOT sent to"
        typer.echo(f"  {said} {one.receiver}" + (f": {one.error}" if one.error else ""))


def _edited(text: str) -> str:
    from click import edit

    written: str | None = edit(text, extension=".txt")
    if written is None or not written.strip():
        raise ParameterError("the editor was left without saving; nothing was kept or sent")
    return written
