"""``flowrex-ops records search|similar|diff|trend|export|import``: what is asked of the archive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flowrex_ops.cli.options import JsonOption, SettingsOption, echo, load_settings
from flowrex_ops.model import Severity

WantedArgument = Annotated[
    str, typer.Argument(metavar="RECORD", help="A record's id, the beginning of one, or latest.")
]
SinceOption = Annotated[str, typer.Option("--since", metavar="TIME", help="7d for ago, or 2026-01-31, UTC.")]
UntilOption = Annotated[str, typer.Option("--until", metavar="TIME", help="The same, not included.")]


def search(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help='Words, or their beginnings; "together" in quotes.')
    ] = None,
    cause: Annotated[str, typer.Option("--cause", metavar="CAUSE", help="A cause, or a family such as db.")] = "",
    service: Annotated[str, typer.Option("--service", metavar="NAME", help="Such as backend, redis, nginx.")] = "",
    severity: Annotated[Severity | None, typer.Option("--severity", case_sensitive=False)] = None,
    runbook: Annotated[str, typer.Option("--runbook", metavar="RUNBOOK")] = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", help="At most so many.", min=1, max=1000)] = 20,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find records by text (diagnoses, findings, error signatures, mitigations) and by facts; without text the newest first.

    Example: flowrex-ops records search migration --cause db --since 30d

    Example: flowrex-ops records search "KeyError place" --severity P1 --json
    """
    from flowrex_ops.archive.search import search as find

    found = find(
        load_settings(settings).outputs,
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
    echo(found, lines or ["nothing found"], as_json=as_json)


def similar(record: WantedArgument = "latest", settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """Show earlier incidents with the same causes or error signatures, those that share the most first, and what ended them.

    Example: flowrex-ops records similar latest
    """
    from flowrex_ops.archive.records import load_record
    from flowrex_ops.archive.search import find_similar, in_common

    outputs = load_settings(settings).outputs
    found = find_similar(outputs, load_record(outputs, record).metadata)
    lines = [f"{one['incident']}  {_line(one)}\n    {in_common(one)}" for one in found]
    echo(found, lines or ["no earlier incident was like it"], as_json=as_json)


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A record's id, or the beginning of one.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another record of the same runbook.")],
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what changed between two runs of one runbook: findings, verdicts, numbers, configuration.

    Example: flowrex-ops records diff INC-20261101-0412-a1b2 latest
    """
    from flowrex_ops.archive.diff import TABLES, compare_records
    from flowrex_ops.archive.records import load_record

    outputs = load_settings(settings).outputs
    found = compare_records(load_record(outputs, before).metadata, load_record(outputs, after).metadata)
    lines = [f"{found['before']} -> {found['after']}"]
    for table in TABLES:
        lines += [f"\n{table}:{'' if found[table] else ' nothing changed'}"]
        for row in found[table]:
            lines += [f"  {' '.join(row[name] for name in ('cause', 'name', 'change') if row.get(name))}"]
            lines += [f"    - {row['before'] or 'none'}  {row.get('reason_before', '')}".rstrip()]
            lines += [f"    + {row['after'] or 'none'}  {row.get('reason_after', '')}".rstrip()]
    echo(found, lines, as_json=as_json)


def trend(
    what: Annotated[str, typer.Argument(metavar="CAUSE|RUNBOOK")],
    since: SinceOption = "",
    until: UntilOption = "",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE.png", help="Draw the chart into this file.")] = None,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how often a cause was found (or a runbook ran), and how long those incidents lasted.

    Example: flowrex-ops records trend db.lock-contention --since 30d --to trend.png
    """
    from flowrex_ops.archive.trend import draw_trend, get_trend

    times = {"since": _moment(since, "--since"), "until": _moment(until, "--until")}
    found = get_trend(load_settings(settings).outputs, what, **times)
    if to is not None:
        draw_trend(found, to)
    table = found.periods[found.periods["times"] > 0].to_string(index=False)
    lines = [f"{what}: {len(found.incidents)} incidents, by {found.period}", *([table] if len(found.incidents) else [])]
    echo({**found.to_dict(), "chart": str(to) if to else None}, lines, as_json=as_json)


def export(
    wanted: Annotated[
        str, typer.Argument(metavar="INCIDENT|RECORD", help="An id, the beginning of one, or latest.")
    ] = "latest",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The zip; INC-….zip here unless given.")
    ] = None,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Pack an incident into one zip that opens anywhere: a page, the records, all files, checksums.

    Example: flowrex-ops records export INC-20261101-0412-a1b2 --to incident.zip
    """
    from flowrex_ops.record.export import export as pack

    file = pack(load_settings(settings).outputs, wanted, to)
    size = file.stat().st_size
    line = f"{file} ({size / 1e6:.1f} MB); unzip it and open index.html"
    echo({"file": str(file.absolute()), "bytes": size}, [line], as_json=as_json)


def import_(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A runbook that was run live, and saved.")],
    incident: Annotated[
        str, typer.Option("--incident", metavar="ID", help="Add it to this incident; else its own, or a new one.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Also where it was imported before.")] = False,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a record of a runbook that was run live in JupyterLab: checked, redacted, with banner and page.

    Example: flowrex-ops records import notebooks/incidents/error_rate.ipynb --incident INC-20261101-0412-a1b2
    """
    from flowrex_ops.cli.report import summary
    from flowrex_ops.record.importing import import_notebook

    result = import_notebook(notebook, load_settings(settings), incident_id=incident or None, again=again)
    echo(result.to_json(), [summary(result, verdicts_shown=False)], as_json=as_json)


def _moment(text: str, name: str) -> datetime | None:
    from flowrex_ops.durations import parse_moment

    return parse_moment(text, name=name) if text else None


def _line(one: Mapping[str, Any]) -> str:
    resolved = f"  resolved by {', '.join(one['resolved_by'])}" if one["resolved_by"] else ""
    return f"{str(one['started'])[:16]}  {one['severity'] or '--'} {one['diagnosis'] or 'no diagnosis'}{resolved}"
