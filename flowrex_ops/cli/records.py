"""``flowrex-ops records``: what was kept of earlier runs, listed, verified, searched, compared, packed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli import complete, options

if TYPE_CHECKING:
    from flowrex_ops.archive.records import Record

app = typer.Typer(no_args_is_help=True, help="List, search, compare and pack past runs.", rich_markup_mode=None)

WantedArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECORD", help="A record's id, the beginning of one, or latest.", autocompletion=complete.records
    ),
]
SinceOption = Annotated[str, options.option("--since", "TIME", "7d for ago, or 2026-01-31, UTC.")]
UntilOption = Annotated[str, options.option("--until", "TIME", "The same, not included.")]


@app.command("list")
def list_(
    html: Annotated[
        Path | None, options.option("--html", "FILE", "Write a page of runs and incidents instead.")
    ] = None,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """List all records, newest first. The page outputs/index.html has the newest, with incidents and filters.

    Example: flowrex-ops records list --json

    Example: flowrex-ops records list --html runs.html
    """
    from flowrex_ops.archive.records import list_records
    from flowrex_ops.record.index_page import write_index

    outputs = options.load_settings(settings).outputs
    if html is not None:
        written = str(write_index(outputs, html))
        options.echo({"html": written}, [written], as_json=as_json)
        return
    records = list_records(outputs)
    found = [_facts(record) for record in records]
    lines = [
        f"{one['started'] or '':<26} {one['id']:<48} {one['status']:<12} {one['severity'] or '  '} {one['diagnosis'] or '-'}"
        for one in found
    ]
    options.echo(found, lines or ["no records yet; make one with 'flowrex-ops run RUNBOOK'"], as_json=as_json)


@app.command()
def show(
    record: WantedArgument = "latest", settings: options.SettingsOption = "", as_json: options.JsonOption = False
) -> None:
    """Show one record's outcome and where its files are.

    Example: flowrex-ops records show latest
    """
    from flowrex_ops.archive.records import load_record

    found = load_record(options.load_settings(settings).outputs, record)
    facts = _facts(found)
    lines = [f"{name:<10} {value if value is not None else '-'}" for name, value in facts.items()]
    lines += [f"  {one.kind:<12} {one.cause}: {one.reason}" for one in found.metadata.verdicts]
    lines += [f"  {one.slug}: {one.state}: {one.reason}" for one in found.metadata.mitigations]
    options.echo({**facts, "record": found.metadata.to_dict()}, lines, as_json=as_json)


@app.command()
def verify(
    record: Annotated[
        str,
        typer.Argument(
            metavar="RECORD", help="A record, run or incident; all when left out.", autocompletion=complete.records
        ),
    ] = "",
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Check that nothing was changed since it was written: manifest and timeline of every incident and run. Exit 1 names what was.

    Of a timeline the first line is named that does not follow from the one before.

    Example: flowrex-ops records verify
    """
    from flowrex_ops.archive.manifest import verify as verify_folder
    from flowrex_ops.archive.records import find_folders

    folders = find_folders(options.load_settings(settings).outputs, record)
    problems = [(folder.name, problem) for folder in folders for problem in verify_folder(folder)]
    reported = [{"incident": name, "kind": one.kind, "path": one.path, "text": one.text} for name, one in problems]
    lines = [f"{name}: {problem}" for name, problem in problems]
    lines = lines or [f"{len(folders)} folders verified, nothing was changed"]
    options.echo({"incidents": len(folders), "problems": reported}, lines, as_json=as_json)
    if problems:
        raise typer.Exit(1)


@app.command()
def reindex(settings: options.SettingsOption = "", as_json: options.JsonOption = False) -> None:
    """Rebuild the search index from the folders. It is derived, and repairs itself; this is for whoever wants to be sure.

    Records whose runner was killed are finished on the way: they get their page, and stand in the manifest and the store.

    Example: flowrex-ops records reindex
    """
    from flowrex_ops.archive.index import FILE, rebuild
    from flowrex_ops.record.orphaned import recover_all_orphaned

    loaded = options.load_settings(settings)
    outputs = loaded.outputs
    finished = recover_all_orphaned(loaded)
    counts = rebuild(outputs)
    lines = [f"{name}: its runner had been killed; finished as interrupted" for name in finished]
    lines += [f"{counts['records']} records in {counts['incidents']} folders, indexed in '{outputs / FILE}'"]
    options.echo({"index": str(outputs / FILE), **counts, "finished": finished}, lines, as_json=as_json)


@app.command()
def prune(
    before: Annotated[str, options.option("--before", "TIME", "90d for ago, or 2026-01-31, UTC.")] = "90d",
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only named.")] = False,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Name the runs that began before a time, or delete them. Incidents and their records stay.

    Example: flowrex-ops records prune --before 90d --delete
    """
    from flowrex_ops.archive.retention import find_old_runs, remove_runs
    from flowrex_ops.durations import parse_moment
    from flowrex_ops.record.index_page import refresh_index

    outputs = options.load_settings(settings).outputs
    found = find_old_runs(outputs, parse_moment(before, name="--before"))
    freed = remove_runs(found) if delete else 0
    if delete and found:
        refresh_index(outputs)
    number = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    done = f"{number} deleted, {freed / 1e6:.1f} MB freed" if delete else f"{number}; --delete deletes what is named"
    facts = {"runs": [folder.name for folder in found], "deleted": delete, "bytes": freed}
    options.echo(facts, [*(folder.name for folder in found), done], as_json=as_json)


@app.command()
def search(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help='Words, or their beginnings; "together" in quotes.')
    ] = None,
    cause: Annotated[str, options.option("--cause", "CAUSE", "A cause, or a family such as db.")] = "",
    service: Annotated[str, options.option("--service", "NAME", "Such as backend, redis, nginx.")] = "",
    severity: options.LevelOption = None,
    runbook: Annotated[str, options.option("--runbook", "RUNBOOK", autocompletion=complete.runbooks)] = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, options.option("--limit", "NUMBER", "At most so many.", min=1, max=1000)] = 20,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Find records by text (diagnoses, findings, error signatures, mitigations) and by facts; without text the newest first.

    Example: flowrex-ops records search migration --cause db --since 30d

    Example: flowrex-ops records search "KeyError place" --severity P1 --json
    """
    from flowrex_ops.archive.search import search as find

    found = find(
        options.load_settings(settings).outputs,
        " ".join(text or ()),
        limit=limit,
        cause=cause.rstrip(".*"),
        service=service,
        severity=severity,
        runbook=runbook,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
    )
    lines = [f"{one['id']:<46} {_line(one)}\n    {one['excerpt']}".rstrip() for one in found]
    options.echo(found, lines or ["nothing found"], as_json=as_json)


@app.command()
def similar(
    record: WantedArgument = "latest", settings: options.SettingsOption = "", as_json: options.JsonOption = False
) -> None:
    """Show earlier incidents and runs with the same causes or error signatures, those that share the most first, and what ended them.

    Example: flowrex-ops records similar latest
    """
    from flowrex_ops.archive.records import load_record
    from flowrex_ops.archive.search import find_similar

    outputs = options.load_settings(settings).outputs
    found = find_similar(outputs, load_record(outputs, record).metadata)
    lines = [f"{one.incident}  {_line(one.to_dict())}\n    {one.in_common}" for one in found]
    options.echo([one.to_dict() for one in found], lines or ["nothing earlier was like it"], as_json=as_json)


@app.command()
def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE", help="A record's id, or the beginning of one.", autocompletion=complete.records
        ),
    ],
    after: Annotated[
        str,
        typer.Argument(metavar="AFTER", help="Another record of the same runbook.", autocompletion=complete.records),
    ],
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Show what changed between two runs of one runbook: findings, verdicts, numbers, configuration.

    Example: flowrex-ops records diff INC-20261101-0412-a1b2 latest
    """
    from flowrex_ops.archive.diff import TABLES, compare_records
    from flowrex_ops.archive.records import load_record

    outputs = options.load_settings(settings).outputs
    found = compare_records(load_record(outputs, before).metadata, load_record(outputs, after).metadata)
    lines = [f"{found['before']} -> {found['after']}"]
    for table in TABLES:
        lines += [f"\n{table}:{'' if found[table] else ' nothing changed'}"]
        for row in found[table]:
            lines += [f"  {' '.join(row[name] for name in ('cause', 'name', 'change') if row.get(name))}"]
            lines += [f"    - {row['before'] or 'none'}  {row.get('reason_before', '')}".rstrip()]
            lines += [f"    + {row['after'] or 'none'}  {row.get('reason_after', '')}".rstrip()]
    options.echo(found, lines, as_json=as_json)


@app.command()
def trend(
    what: Annotated[str, typer.Argument(metavar="CAUSE|RUNBOOK")],
    since: SinceOption = "",
    until: UntilOption = "",
    output: Annotated[Path | None, options.option("--output", "FILE.png", "Draw the chart into this file.")] = None,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Show how often a cause was found (or a runbook ran), and how long it lasted.

    Example: flowrex-ops records trend db.lock-contention --since 30d --output trend.png
    """
    from flowrex_ops.archive.trend import draw_trend, get_trend

    times = {"since": _moment(since, "--since"), "until": _moment(until, "--until")}
    found = get_trend(options.load_settings(settings).outputs, what, **times)
    if output is not None:
        draw_trend(found, output)
    table = found.periods[found.periods["times"] > 0].to_string(index=False)
    lines = [f"{what}: {len(found.incidents)} times, by {found.period}", *([table] if len(found.incidents) else [])]
    options.echo({**found.to_dict(), "chart": str(output) if output else None}, lines, as_json=as_json)


@app.command()
def export(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="INCIDENT|RUN|RECORD", help="An id, the beginning of one, or latest: the newest record's."
        ),
    ] = "latest",
    output: options.ZipOption = None,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Pack an incident or a run into one zip that opens anywhere: a page, the records, all files, checksums.

    Example: flowrex-ops records export INC-20261101-0412-a1b2
    """
    from flowrex_ops.record.export import export as pack

    file = pack(options.load_settings(settings).outputs, wanted, output)
    size = file.stat().st_size
    line = f"{file} ({size / 1e6:.1f} MB); unzip it and open index.html"
    options.echo({"file": str(file.absolute()), "bytes": size}, [line], as_json=as_json)


@app.command("import")
def import_(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A runbook that was run live, and saved.")],
    incident: options.IncidentOption = "",
    force: Annotated[bool, typer.Option("--force", help="Also where it was imported before.")] = False,
    settings: options.SettingsOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Make a record of a runbook that was run live in JupyterLab: checked, redacted, with banner and page.

    Without --incident it goes to the incident that it was run in, or is a run of its own.

    Example: flowrex-ops records import notebooks/incidents/error_rate.ipynb --incident INC-20261101-0412-a1b2
    """
    from flowrex_ops.cli.report import summary
    from flowrex_ops.record.importing import import_notebook

    wanted = options.incident_id(incident, settings) or None
    result = import_notebook(notebook, options.load_settings(settings), incident_id=wanted, again=force)
    options.echo(result.to_json(), [summary(result, verdicts_shown=False)], as_json=as_json)


def _facts(record: Record) -> dict[str, Any]:
    names = ("runbook", "status", "severity", "diagnosis", "started", "seconds", "operator")
    about = record.metadata.to_dict()
    reported = {name: about[name] for name in names} | {"status": record.status}
    return {
        "id": record.id,
        **reported,
        "notebook": str(record.path),
        "html": str(record.html) if record.html else None,
    }


def _moment(text: str, name: str) -> datetime | None:
    from flowrex_ops.durations import parse_moment

    return parse_moment(text, name=name) if text else None


def _line(one: Mapping[str, Any]) -> str:
    resolved = f"  resolved by {', '.join(one['resolved_by'])}" if one["resolved_by"] else ""
    return f"{str(one['started'])[:16]}  {one['severity'] or '--'} {one['diagnosis'] or 'no diagnosis'}{resolved}"
