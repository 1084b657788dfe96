"""``flowrex-ops message`` and ``post-mortem``: what people are told of an incident, while it lasts and after."""

from __future__ import annotations

from typing import Annotated

import typer

from flowrex_ops.cli import options
from flowrex_ops.errors import FlowrexOpsError, ParameterError


def message(
    kind: Annotated[str, typer.Argument(metavar="initial|update|resolved", help="Which message.")],
    incident: options.IncidentArgument,
    service: options.ServiceOption = "",
    impact: options.ImpactOption = "",
    root_cause: options.CauseOption = "",
    resolution: options.ResolutionOption = "",
    eta: options.EtaOption = "",
    next_update: options.NextUpdateOption = "",
    edit: Annotated[bool, typer.Option("--edit", help="Write it in $EDITOR before it is kept.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Send it; otherwise it is shown and kept.")] = False,
    receiver: Annotated[
        list[str] | None, options.option("--receiver", "NAME", "One of notify.urls; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Send 'resolved' of an incident that is open; needs --reason.")
    ] = False,
    reason: Annotated[str, options.option("--reason", "TEXT", "Why --force; stands on the timeline.")] = "",
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Fill in a message from the incident, keep it, and send it only with --send. What the options say, the incident keeps.

    Example: flowrex-ops message initial latest --impact "no orders are filled" --send --receiver incident
    """
    facts = options.incident_facts(locals())
    from flowrex_ops.incident import messages
    from flowrex_ops.incident.incident import change, load

    if kind not in messages.KINDS:
        raise ParameterError(f"'{kind}' is not a message; give {', '.join(messages.KINDS)}")
    if force != bool(reason.strip()):
        raise ParameterError("--force and --reason go together; say why with --reason TEXT")
    session = options.Session.open(settings, author)
    notify = session.settings.notify
    receivers = messages.choose_receivers(notify, receiver or ()) if send else {}
    folder, found = load(session.settings.outputs, incident)
    if send and not force:
        messages.require_resolved(kind, found)
    if facts:
        found = change(folder, facts, **session.who)
    recorded = messages.read_records(folder)
    text = messages.compose(kind, found, force=force, recorded=recorded, timezone=session.settings.timezone)
    if edit:
        text = _edited(text)
    if send:
        messages.require_complete(text)
    kept = messages.save_draft(folder, kind, text, **session.who)
    if force:
        note = f"message {kept.name} by force, the incident is '{found.status}': {reason}"
        change(folder, {}, note=note, **session.who)
    if send:
        kept = messages.send(folder, kept, receivers, incident=found, settings=notify, **session.who)
    session.push()
    lines = [kept.text, f"kept as {kept.path.relative_to(folder.parent)}" + ("" if send else "; nothing was sent")]
    options.echo(kept.to_dict(), [*lines, *(f"  {one}" for one in kept.deliveries)], as_json=as_json)
    missed = [one.receiver for one in kept.deliveries if not one.delivered]
    if missed:
        raise FlowrexOpsError(f"the message did not reach {', '.join(missed)}; it is kept, send it again or by hand")


def post_mortem(
    incident: options.IncidentArgument,
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Write an incident's post-mortem, or renew what is known in it; text and action items of people stay as they are.

    Call it again after editing post_mortem.md: action items are read back, and the incident is sealed again.

    Example: flowrex-ops post-mortem latest
    """
    from flowrex_ops.incident.review import write_post_mortem

    session = options.Session.open(settings, author)
    facts = write_post_mortem(incident, session.settings, settings, operator=session.author)
    session.push()
    lines = [f"{name:<9} {facts[name]}" for name in ("document", "notebook", "html")]
    for one in facts["actions"]:
        lines += [f"  {one['status']:<8} {one['action']} ({one['owner'] or 'nobody'}, {one['due'] or 'no date'})"]
    lines += [f"still to write: {', '.join(facts['to_write']) or 'nothing'}"]
    options.echo(facts, lines, as_json=as_json)


def _edited(text: str) -> str:
    from click import edit

    written: str | None = edit(text, extension=".txt")
    if written is None or not written.strip():
        raise ParameterError("the editor was left without saving; nothing was kept or sent")
    return written
