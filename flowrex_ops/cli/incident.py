"""``flowrex-ops incident``: opened, changed, resolved by its checklist, shown, taken along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli import complete, options, records
from flowrex_ops.errors import ParameterError

if TYPE_CHECKING:
    from flowrex_ops.incident.messages import Delivery
    from flowrex_ops.incident.severity import Deadline
    from flowrex_ops.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Open, update, resolve and export incidents.", rich_markup_mode=None)


@app.command("open")
def open_(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The symptom, in the user's words.")],
    severity: options.SeverityOption = "",
    service: options.ServiceOption = "",
    impact: options.ImpactOption = "",
    started: options.StartedOption = "",
    role: options.RoleOption = None,
    from_: Annotated[
        str,
        options.option(
            "--from",
            "RUN",
            "A run that found it: an id, its beginning, or latest. It becomes the incident's.",
            autocompletion=complete.runs,
        ),
    ] = "",
    security: Annotated[
        bool, typer.Option("--security", help="A breach, or a leaked credential: P0, with its checklist.")
    ] = False,
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Open an incident: its folder, its channel's name, and who is to be notified by when.

    Whoever is due at once, the on-call engineer first, is notified through the receiver that is named like the role (notify.urls).

    Example: flowrex-ops incident open "Orders time out" --severity P1 --service backend --role commander=ada

    Example: flowrex-ops incident open "Orders time out" --from latest

    Example: flowrex-ops incident open "The broker's token is in a public repository" --security
    """
    severity = severity or ("P0" if security else "")
    facts = options.incident_facts(locals())
    from flowrex_ops.incident.escalation import notify_opened
    from flowrex_ops.incident.incident import open_new, open_with

    session = options.Session.open(settings, author)
    outputs, who = session.settings.outputs, session.who
    folder = open_with(outputs, from_, facts, **who) if from_ else open_new(outputs, facts, **who)
    sent = notify_opened(folder, session.settings)
    session.push()
    _print(folder, session.settings, as_json, sent)


@app.command()
def update(
    incident: options.IncidentArgument,
    status: options.StatusOption = "",
    severity: options.SeverityOption = "",
    title: options.TitleOption = "",
    service: options.ServiceOption = "",
    impact: options.ImpactOption = "",
    root_cause: options.CauseOption = "",
    resolution: options.ResolutionOption = "",
    eta: options.EtaOption = "",
    started: options.StartedOption = "",
    next_update: options.NextUpdateOption = "",
    role: options.RoleOption = None,
    notified: Annotated[
        list[str] | None, options.option("--notified", "ROLE", "Who was notified: a role of the matrix, or another.")
    ] = None,
    note: Annotated[str, options.option("--note", "TEXT", "A line for the timeline.")] = "",
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Change what is known of an incident; old and new stand on its timeline.

    Example: flowrex-ops incident update latest --status Identified --root-cause "a report holds a lock" --notified "Team lead"
    """
    facts = options.incident_facts(locals())
    from flowrex_ops.incident.incident import change, load
    from flowrex_ops.incident.severity import note_notified

    session = options.Session.open(settings, author)
    folder, _ = load(session.settings.outputs, incident)
    if not (facts or notified or note):
        raise ParameterError("nothing to change was given; see 'flowrex-ops incident update --help'")
    note_notified(folder, notified or (), by=session.author)
    change(folder, facts, **session.who, note=note)
    session.push()
    _print(folder, session.settings, as_json)


@app.command()
def page(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Such as 'team lead' or 'database administrator'.")],
    incident: options.IncidentArgument = "latest",
    text: Annotated[str, options.option("--text", "TEXT", "What they are needed for.")] = "",
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Notify a role of an incident now, through the receiver that is named like it. Exit 1 where it was not reached.

    Example: flowrex-ops incident page "database administrator" --text "the restore needs a decision"
    """
    from flowrex_ops.incident.escalation import page as call
    from flowrex_ops.incident.incident import load
    from flowrex_ops.incident.severity import find_role

    session = options.Session.open(settings, author)
    folder, _ = load(session.settings.outputs, incident)
    sent = call(folder, find_role(role, option="ROLE"), text, session.settings, by=session.author)
    session.push()
    options.echo([asdict(one) for one in sent], map(str, sent), as_json=as_json)
    if not all(one.delivered for one in sent):
        raise typer.Exit(1)


@app.command()
def ticket(
    incident: options.IncidentArgument = "latest",
    send: Annotated[bool, typer.Option("--send", help="Make it; otherwise what would be sent is shown.")] = False,
    address: Annotated[str, options.option("--address", "URL", "Keep one that was made by hand.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Make one though an earlier try may have.")] = False,
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Make the incident's ticket where the settings say (GitHub, GitLab, Jira …), once, and keep its address with the incident.

    Example: flowrex-ops incident ticket latest --send
    """
    import json

    from flowrex_ops.incident import tickets
    from flowrex_ops.incident.incident import change, load

    session = options.Session.open(settings, author)
    folder, found = load(session.settings.outputs, incident)
    body = {} if found.ticket or address else tickets.draft(folder, session.settings, session.redactor)
    known = found.ticket
    if address:
        known = change(folder, {"ticket": address}, **session.who).ticket
    elif send:
        known = tickets.send(folder, session.settings, **session.who, force=force)
    session.push()
    shown = [
        "POST " + session.redactor.text(session.settings.ticket.url),
        json.dumps(body, indent=1, ensure_ascii=False),
        "nothing was sent",
    ]
    lines = [f"{found.id} has its ticket: {known}"] if known else shown
    options.echo({"incident": found.id, "ticket": known, "body": body}, lines, as_json=as_json)


@app.command()
def resolve(
    incident: options.IncidentArgument,
    root_cause: options.CauseOption = "",
    resolution: options.ResolutionOption = "",
    confirm: Annotated[
        list[str] | None,
        options.option("--confirm", "ITEM", "fix-deployed, status-page, channel-closed; may be repeated."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait until the platform is healthy, and watch that it stays so.")
    ] = False,
    minutes: Annotated[float, typer.Option("--minutes", help="How long it must have been healthy.")] = 30,
    interval: Annotated[str, options.option("--interval", "SPAN", "Time between two looks.")] = "1m",
    force: Annotated[
        str, options.option("--force", "REASON", "Resolve with items open; the reason stands on the timeline.")
    ] = "",
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Resolve an incident by its checklist: what a tool can do is done, the rest is asked for. Exit 1 while something is open.

    Example: flowrex-ops incident resolve latest --root-cause "a report held a lock" --resolution "it has a time limit now" --watch
    """
    facts = options.incident_facts(locals())
    from flowrex_ops.durations import parse_duration
    from flowrex_ops.incident.incident import change, load
    from flowrex_ops.incident.resolution import Resolution

    session, seconds = (
        options.Session.open(settings, author),
        parse_duration(interval, name="--interval").total_seconds(),
    )
    folder, _ = load(session.settings.outputs, incident)
    if facts:
        change(folder, facts, **session.who)
    spans = {"minutes": minutes, "wait_minutes": min(10, max(2, minutes))}
    work = Resolution(folder, session.settings, settings, session.author, tell=partial(typer.echo, err=True), **spans)
    work.confirm(confirm or ())
    items = work.work(watch_every_seconds=seconds if watch else None, ask=_ask())
    closed = work.close(items, force=force)
    session.push()
    lines = [f"  {'●' if item.done else '○'} {item.name:<15} {item.says}" for item in items]
    lines += [f"{folder.name} is resolved" if closed else f"{folder.name} is not resolved yet; what is done is kept"]
    facts = {"incident": folder.name, "resolved": closed, "checklist": [item.to_dict() for item in items]}
    options.echo(facts, lines, as_json=as_json)
    if not closed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Resolved ones, too.")] = False,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """List open incidents, the newest first.

    Example: flowrex-ops incident list --all --json
    """
    from flowrex_ops.incident.incident import find, read_incident

    incidents = [read_incident(folder) for folder in find(options.load_settings(settings).outputs)]
    shown = [incident for incident in incidents if all_ or not incident.over]
    lines = [f"{one.id}  {one.severity or '--'}  {one.status:<13}  {one.title}" for one in shown]
    nothing = "no incidents yet" if all_ else "no incident is open"
    options.echo([one.model_dump(mode="json") for one in shown], lines or [nothing], as_json=as_json)


@app.command()
def show(
    incident: options.IncidentArgument = "latest",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Show an incident: its facts, who is due to be notified, and its timeline.

    Example: flowrex-ops incident show latest
    """
    from flowrex_ops.archive import timeline
    from flowrex_ops.archive.incidents import find_incident

    loaded = options.load_settings(settings)
    folder = find_incident(loaded.outputs, incident)
    _print(folder, loaded, as_json)
    for line in timeline.read(folder) if not as_json else ():
        at, text = str(line.get("said_at") or line["at"]), " ".join(str(line["text"]).split())
        typer.echo(f"  {at[11:19]}  {line.get('by') or '':<10}  {text}")


@app.command()
def actions(settings: options.SettingsOption = "", as_json: options.JsonOption = False) -> None:
    """List the action items of all post-mortems that are not done. Exit 1 where one is overdue, or cannot be read.

    Example: flowrex-ops incident actions
    """
    from flowrex_ops.incident.history import open_actions

    found, unreadable = open_actions(options.load_settings(settings).outputs, today=datetime.now(UTC).date())
    rows = found.astype(object).where(found.notna(), None).to_dict("records")
    lines = [
        f"{'OVERDUE' if one['overdue'] else '':<8}{one['due'] or 'no date'!s:<11} {one['owner'] or 'nobody':<16} {one['action']}  ({one['status']}, {one['incident']})"
        for one in rows
    ]
    options.echo(
        {"actions": rows, "unreadable": unreadable}, [*lines, *unreadable] or ["nothing is left to do"], as_json=as_json
    )
    if unreadable or found["overdue"].any():
        raise typer.Exit(1)


@app.command()
def stats(
    since: Annotated[str, options.option("--since", "TIME", "90d for ago, or 2026-01-31, UTC.")] = "90d",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Show how long incidents took to detect, acknowledge, diagnose, mitigate and resolve: medians by severity.

    Example: flowrex-ops incident stats --since 30d --json
    """
    from flowrex_ops.durations import format_seconds, parse_moment
    from flowrex_ops.incident.history import measure_incidents

    found = measure_incidents(options.load_settings(settings).outputs, since=parse_moment(since, name="--since"))
    rows = found.astype(object).where(found.notna(), None).to_dict("records")
    lines = [f"severity  to {'':<12} median      of"] if rows else [f"no incident since {since}"]
    for one in rows:
        took = format_seconds(one["median_seconds"]) if one["of"] else "no trace"
        lines.append(f"{one['severity']:<9} {one['time']:<14} {took:<11} {one['of']} of {one['incidents']}")
    options.echo(rows, lines, as_json=as_json)


@app.command("import-chat")
def import_chat(
    export: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="A channel's folder of a Slack export, or a day's file.")
    ],
    incident: options.IncidentArgument = "latest",
    author: options.AuthorOption = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Put what people said in the incident's channel on its timeline, and so into its post-mortem; again adds what is new.

    Example: flowrex-ops incident import-chat export/incident-20260131-0412 latest
    """
    from flowrex_ops.incident.chat import import_chat as take
    from flowrex_ops.incident.incident import load

    session = options.Session.open(settings, author)
    folder, found = load(session.settings.outputs, incident)
    number = take(folder, export, **session.who)
    session.push()
    options.echo(
        {"incident": found.id, "messages": number},
        [f"new on the timeline of {found.id}: {number}"],
        as_json=as_json,
    )


@app.command()
def export(
    incident: options.IncidentArgument = "latest",
    output: options.ZipOption = None,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Pack an incident into one zip that opens anywhere: a page, the records, all files, checksums.

    Example: flowrex-ops incident export latest --output incident.zip
    """
    records.export(options.incident_id(incident, settings), output, settings, as_json)


def _print(folder: Path, settings: Settings, as_json: bool, sent: Sequence[Delivery] = ()) -> None:
    from flowrex_ops.archive import timeline
    from flowrex_ops.incident.incident import COMMANDER, read_incident
    from flowrex_ops.incident.severity import get_contacts, get_deadlines, respond_by, update_due
    from flowrex_ops.incident.templates import fill_in

    found, history = read_incident(folder), timeline.read(folder)
    deadlines = get_deadlines(found, history, contacts=settings.contacts, now=datetime.now(UTC))
    by, contacts = respond_by(found, history), get_contacts(settings.contacts)
    roles = ", ".join(f"{role} {name}" for role, name in found.roles.items()) or "no commander yet"
    facts = {name: value for name, value in found if value and name not in ("runbooks", "security")} | {
        "roles": roles,
        "respond_by": by,
    }
    lines = [f"{name.replace('_', ' '):<12} {_text(value)}" for name, value in facts.items() if value]
    lines += [*(f"  {_due(one)}" for one in deadlines), *(f"  {one}" for one in sent)]
    commander = found.roles.get(COMMANDER)
    operators = {str(line.get("operator", "")).partition(" (as typed")[0] for line in history}
    if commander in operators and not found.over:
        lines += [f"  {commander} commands, and changes the platform too: hand one of both to somebody else"]
    if promised := update_due(found, history):
        lines += [f"  Next message: {'overdue since' if promised < datetime.now(UTC) else 'due by'} {_text(promised)}"]
    others = [
        f"{role} ({contacts[role]})" for role in contacts.keys() - {one.role for one in deadlines} if contacts[role]
    ]
    lines += [f"  Also: {', '.join(sorted(others))}"] if others and not found.over else []
    lines += [fill_in("security.txt.j2", id=found.id).rstrip()] if found.security and not found.over else []
    due = [{"role": d.role, "contact": d.contact, "by": d.by.isoformat(), "state": d.state} for d in deadlines]
    reported = {**found.model_dump(mode="json"), "folder": str(folder), "escalation": due, "respond_by": by}
    options.echo(reported | {"notified": [asdict(one) for one in sent]}, lines, as_json=as_json)


def _due(one: Deadline) -> str:
    now = one.state == "overdue" and datetime.now(UTC) - one.by < timedelta(minutes=1)
    by = {"notified": "notified", "due": f"due by {_text(one.by)}", "overdue": f"overdue since {_text(one.by)}"}
    return f"{one.role}{f' ({one.contact})' if one.contact else ''}: {'due now' if now else by[one.state]}"


def _text(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)


def _ask() -> Any:
    """Asks at a terminal, and nobody in a pipe."""
    import sys

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda question: typer.confirm(question, default=False, err=True)
