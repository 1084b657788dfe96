"""``flowrex-ops incident``: opened, changed, resolved by its checklist, shown, taken along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli.options import JsonOption, SettingsOption, echo_json, load_settings
from flowrex_ops.errors import ParameterError

if TYPE_CHECKING:
    from flowrex_ops.incident.facts import Incident
    from flowrex_ops.settings import Settings

app = typer.Typer(no_args_is_help=True, help="An incident from its first report to its end.", rich_markup_mode=None)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="An incident's id, the beginning of one, or latest.")]
ByOption = Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so; your login unless given.")]
SeverityOption = Annotated[str, typer.Option("--severity", metavar="P0|P1|P2|P3")]
ServiceOption = Annotated[str, typer.Option("--service", metavar="NAME", help="What is affected.")]
ImpactOption = Annotated[str, typer.Option("--impact", metavar="TEXT", help="What users cannot do, and how many.")]
StartedOption = Annotated[
    str, typer.Option("--started", metavar="TIME", help="When it began: 04:12 (UTC), 2026-01-31 04:12, or 20m for ago.")
]
RoleOption = Annotated[
    list[str] | None, typer.Option("--role", metavar="ROLE=NAME", help="Such as commander=ada; may be repeated.")
]
CauseOption = Annotated[str, typer.Option("--root-cause", metavar="TEXT", help="Why it happened, as far as known.")]
ResolutionOption = Annotated[str, typer.Option("--resolution", metavar="TEXT", help="What was done.")]


@app.command("open")
def open_(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The symptom, in the user's words.")],
    severity: SeverityOption = "",
    service: ServiceOption = "",
    impact: ImpactOption = "",
    started: StartedOption = "",
    role: RoleOption = None,
    by: ByOption = "",
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Open an incident: its folder, its channel's name, and who is to be told by when.

    Example: flowrex-ops incident open "Orders time out" --severity P1 --service backend --role commander=ada
    """
    from flowrex_ops.incident.lifecycle import load, open_new

    loaded = load_settings(settings)
    facts = incident_facts(title=title, severity=severity, service=service, impact=impact, started=started, role=role)
    folder = open_new(loaded.outputs, facts, by=by or _login(), redactor=_redactor(loaded))
    send_changes(loaded)
    _print(load(loaded.outputs, folder.name), loaded, as_json)


@app.command()
def update(
    incident: IdArgument,
    status: Annotated[
        str, typer.Option("--status", metavar="STATUS", help="Investigating, Identified or Mitigating.")
    ] = "",
    severity: SeverityOption = "",
    title: Annotated[str, typer.Option("--title", metavar="TEXT")] = "",
    service: ServiceOption = "",
    impact: ImpactOption = "",
    root_cause: CauseOption = "",
    resolution: ResolutionOption = "",
    eta: Annotated[str, typer.Option("--eta", metavar="TEXT", help="When it will be over, as far as known.")] = "",
    started: StartedOption = "",
    next_update: Annotated[str, typer.Option("--next-update", metavar="SPAN", help="Such as 30m.")] = "",
    role: RoleOption = None,
    told: Annotated[
        list[str] | None, typer.Option("--told", metavar="ROLE", help="This role of the escalation matrix was told.")
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A line for the timeline.")] = "",
    by: ByOption = "",
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change what is known of an incident; old and new stand on its timeline.

    Example: flowrex-ops incident update latest --status Identified --root-cause "a report holds a lock" --told "Team lead"
    """
    from flowrex_ops.incident.lifecycle import change, load, note_told

    loaded = load_settings(settings)
    folder, _ = load(loaded.outputs, incident)
    facts = incident_facts(
        status=status,
        severity=severity,
        title=title,
        service=service,
        impact=impact,
        root_cause=root_cause,
        resolution=resolution,
        eta=eta,
        started=started,
        next_update=next_update,
        role=role,
    )
    if not (facts or told or note):
        raise ParameterError("nothing to change was given; see 'flowrex-ops incident update --help'")
    who = by or _login()
    note_told(folder, told or (), by=who)
    change(folder, facts, by=who, redactor=_redactor(loaded), note=note)
    send_changes(loaded)
    _print(load(loaded.outputs, folder.name), loaded, as_json)


@app.command()
def resolve(
    incident: IdArgument,
    root_cause: CauseOption = "",
    resolution: ResolutionOption = "",
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", metavar="ITEM", help="fix-deployed, status-page, channel-closed; may be repeated."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Watch the platform until it has been well long enough.")
    ] = False,
    minutes: Annotated[float, typer.Option("--minutes", help="How long it must have been seen well.")] = 30,
    every: Annotated[str, typer.Option("--every", metavar="SPAN", help="Between two looks.")] = "1m",
    anyway: Annotated[
        str,
        typer.Option("--anyway", metavar="REASON", help="Resolve with items open; the reason stands on the timeline."),
    ] = "",
    by: ByOption = "",
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Resolve an incident by its checklist: what a tool can do is done, the rest is asked for. Exit 1 while something is open.

    Example: flowrex-ops incident resolve latest --root-cause "a report held a lock" --resolution "it has a time limit now" --watch
    """
    from flowrex_ops.durations import parse_duration
    from flowrex_ops.incident.lifecycle import change, load
    from flowrex_ops.incident.resolve import Closing

    loaded = load_settings(settings)
    folder, _ = load(loaded.outputs, incident)
    who, redactor = by or _login(), _redactor(loaded)
    if root_cause or resolution:
        change(folder, incident_facts(root_cause=root_cause, resolution=resolution), by=who, redactor=redactor)
    closing = Closing(folder, loaded, settings, by=who, minutes=minutes, tell=lambda line: typer.echo(line, err=True))
    closing.confirm(confirm or ())
    every_seconds = parse_duration(every, name="--every").total_seconds()
    items = closing.work(watch_every_seconds=every_seconds if watch else None, ask=_ask())
    closed = closing.close(items, anyway=anyway)
    send_changes(loaded)
    if as_json:
        echo_json({"incident": folder.name, "resolved": closed, "checklist": [item.to_dict() for item in items]})
    else:
        for item in items:
            typer.echo(f"  {'●' if item.done else '○'} {item.name:<15} {item.says}")
        typer.echo(
            f"{folder.name} is resolved" if closed else f"{folder.name} is not resolved yet; what is done is kept"
        )
    if not closed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Resolved ones, too.")] = False,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List open incidents, the newest first.

    Example: flowrex-ops incident list --all --json
    """
    from flowrex_ops.incident.lifecycle import find, load

    loaded = load_settings(settings)
    incidents = [load(loaded.outputs, folder.name)[1] for folder in find(loaded.outputs)]
    shown = [incident for incident in incidents if all_ or not incident.over]
    if as_json:
        echo_json([_dict(incident) for incident in shown])
        return
    for one in shown:
        typer.echo(f"{one.id}  {one.severity or '--'}  {one.status.value:<13}  {one.title}")
    if not shown:
        typer.echo("no incident is open" if not all_ else "no incidents yet")


@app.command()
def show(incident: IdArgument = "latest", settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """Show an incident: its facts, who is due to be told, its checklist and its timeline.

    Example: flowrex-ops incident show latest
    """
    from flowrex_ops.archive import timeline
    from flowrex_ops.incident.lifecycle import load

    loaded = load_settings(settings)
    folder, found = load(loaded.outputs, incident)
    _print((folder, found), loaded, as_json)
    if not as_json:
        for line in timeline.read(folder):
            typer.echo(f"  {str(line['at'])[11:19]}  {line.get('by') or '':<10}  {line['text']}")


@app.command()
def export(
    incident: IdArgument = "latest",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="INC-….zip in this folder unless given.")
    ] = None,
    settings: SettingsOption = "",
) -> None:
    """Pack an incident into one zip that opens anywhere: a page with links, records, messages, post-mortem, checksums.

    Example: flowrex-ops incident export latest --to incident.zip
    """
    from flowrex_ops.incident.lifecycle import load
    from flowrex_ops.record.export import export as pack

    loaded = load_settings(settings)
    folder, _ = load(loaded.outputs, incident)
    typer.echo(str(pack(loaded.outputs, folder.name, to)))


def incident_facts(**given: Any) -> dict[str, Any]:
    """The facts that were given as options, with times and roles read."""
    from datetime import UTC, datetime

    from flowrex_ops.durations import parse_duration, parse_moment

    facts = {name: value for name, value in given.items() if value and name != "role"}
    if "started" in facts:
        facts["started"] = parse_moment(facts["started"], name="--started")
    if "next_update" in facts:
        facts["next_update"] = datetime.now(UTC) + parse_duration(facts["next_update"], name="--next-update")
    if given.get("role"):
        facts["roles"] = dict(_role(item) for item in given["role"])
    return facts


def _role(item: str) -> tuple[str, str]:
    role, equals, person = item.partition("=")
    if not equals or not role.strip():
        raise ParameterError(f"--role: '{item}' is not a role; write ROLE=NAME, such as commander=ada")
    return role.strip(), person.strip()


def _print(found: tuple[Path, Incident], settings: Settings, as_json: bool) -> None:
    from datetime import UTC, datetime

    from flowrex_ops.archive import timeline
    from flowrex_ops.incident.escalation import get_deadlines

    folder, incident = found
    deadlines = get_deadlines(incident, timeline.read(folder), contacts=settings.contacts, now=datetime.now(UTC))
    if as_json:
        told = [{"role": d.role, "contact": d.contact, "by": d.by.isoformat(), "state": d.state} for d in deadlines]
        echo_json({**_dict(incident), "folder": str(folder), "escalation": told})
        return
    facts = {
        name.replace("_", " "): value
        for name, value in _dict(incident).items()
        if value and name not in ("runbooks", "roles")
    }
    facts |= {"roles": ", ".join(f"{role} {name}" for role, name in incident.roles.items()) or "no commander yet"}
    for name, value in facts.items():
        typer.echo(f"{name:<12} {value}")
    for one in deadlines:
        typer.echo(f"  {one.state:<8} {one.role} {one.contact} by {one.by:%Y-%m-%d %H:%M} UTC")


def _dict(incident: Incident) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in asdict(incident).items()
    }


def _ask() -> Any:
    """Asks at a terminal, and nobody in a pipe."""
    import sys

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda question: typer.confirm(question, default=False, err=True)


def send_changes(settings: Settings) -> None:
    """Send what a command changed to the store, where there is one; trouble is one line, and loses nothing."""
    from flowrex_ops.archive.store import push

    push(settings)


def _redactor(settings: Settings) -> Any:
    from flowrex_ops.redaction.redactor import Redactor

    return Redactor(settings.secret_values())


def _login() -> str:
    from flowrex_ops.archive.incidents import current_user

    return current_user()
