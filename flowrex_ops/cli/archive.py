"""``flowrex-ops records search|similar|diff|trend|export|import``: what is asked of the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli.options import JsonOption, SettingsOption, echo_json

if TYPE_CHECKING:
    import pandas as pd

    from flowrex_ops.archive.trend import Trend
    from flowrex_ops.settings import Settings

WantedArgument = Annotated[
    str, typer.Argument(metavar="RECORD", help="A record's id, the beginning of one, or latest.")
]
SinceOption = Annotated[str, typer.Option("--since", metavar="TIME", help="7d for ago, or 2026-01-31, UTC.")]
UntilOption = Annotated[str, typer.Option("--until", metavar="TIME", help="The same, not included.")]
BAR = 40


def open_archive(settings: str) -> Settings:
    """The settings whose ``outputs`` is the archive, with what a store has of it fetched first."""
    from flowrex_ops.settings import load

    loaded = load(settings or None)
    if loaded.outputs_url:
        from flowrex_ops.archive.store import pull

        pull(loaded)
    return loaded


def search(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help='Words, or their beginnings; "together" in quotes.')
    ] = None,
    cause: Annotated[str, typer.Option("--cause", metavar="CAUSE", help="A cause, or a family such as db.")] = "",
    service: Annotated[str, typer.Option("--service", metavar="NAME", help="Such as backend, redis, nginx.")] = "",
    severity: Annotated[str, typer.Option("--severity", metavar="P0|P1|P2|P3")] = "",
    runbook: Annotated[str, typer.Option("--runbook", metavar="RUNBOOK")] = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", help="At most so many.")] = 20,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find records by text (diagnoses, findings, error signatures, mitigations) and by facts; without text the newest first.

    Example: flowrex-ops records search migration --cause db --since 30d

    Example: flowrex-ops records search "KeyError place" --severity P1 --json
    """
    from flowrex_ops.archive.search import Query
    from flowrex_ops.archive.search import search as find

    query = Query(
        " ".join(text or ()),
        cause=cause,
        service=service,
        severity=severity.upper(),
        runbook=runbook,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        limit=limit,
    )
    hits = find(open_archive(settings).outputs, query)
    if as_json:
        echo_json([hit.to_dict() for hit in hits])
        return
    for hit in hits:
        resolved = f"  resolved by {', '.join(hit.resolved_by)}" if hit.resolved_by else ""
        found = f"{hit.severity or '  '} {hit.diagnosis or 'no diagnosis'}"
        typer.echo(f"{hit.started[:16].replace('T', ' ')}  {hit.id:<46} {found}{resolved}")
        if hit.excerpt:
            typer.echo(f"    {hit.excerpt}")
    if not hits:
        typer.echo("nothing found")


def similar(record: WantedArgument = "latest", settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """Show earlier incidents that were like this one: the same causes or error signatures, and what ended them.

    What is rare counts for more: the percentage is what they have in common out of all that they have.

    Example: flowrex-ops records similar latest
    """
    from flowrex_ops.archive.records import load_record
    from flowrex_ops.archive.similar import find_similar, in_common

    outputs = open_archive(settings).outputs
    found = find_similar(outputs, load_record(outputs, record))
    if as_json:
        echo_json([one.to_dict() for one in found])
        return
    for one in found:
        resolved = f"resolved by {', '.join(one.resolved_by)}" if one.resolved_by else "not resolved by this tool"
        typer.echo(
            f"{one.likeness:>4.0%}  {one.incident}  {one.started[:10]}  {one.severity or '  '} {one.diagnosis or '-'}"
        )
        typer.echo(f"      {in_common(one.causes, one.signatures)}; {resolved}")
    if not found:
        typer.echo("no earlier incident was like it")


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

    outputs = open_archive(settings).outputs
    found = compare_records(load_record(outputs, before).metadata, load_record(outputs, after).metadata)
    if as_json:
        echo_json(found.to_dict())
        return
    typer.echo(f"{found.before} -> {found.after}")
    for name in TABLES:
        _print_table(name, getattr(found, name))


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
    from flowrex_ops.archive.trend import get_trend

    found = get_trend(
        open_archive(settings).outputs, what, since=_moment(since, "--since"), until=_moment(until, "--until")
    )
    if to is not None:
        _draw(found, to)
    if as_json:
        echo_json({**found.to_dict(), "chart": str(to) if to else None})
        return
    _print_trend(found)
    if to is not None:
        typer.echo(f"chart: {to}")


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
    """Pack an incident, or one record of it, into one zip that opens anywhere: a page, the records, all files, checksums.

    Example: flowrex-ops records export INC-20261101-0412-a1b2 --to incident.zip
    """
    from flowrex_ops.record.export import export as pack

    file = pack(open_archive(settings).outputs, wanted, to)
    if as_json:
        echo_json({"file": str(file.absolute()), "bytes": file.stat().st_size})
        return
    typer.echo(f"{file} ({file.stat().st_size / 1e6:.1f} MB); unzip it and open index.html")


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

    result = import_notebook(notebook, open_archive(settings), incident_id=incident or None, again=again)
    if as_json:
        echo_json(result.to_json())
        return
    typer.echo(summary(result, verdicts_shown=False))


def _moment(text: str, name: str) -> Any:
    from flowrex_ops.durations import parse_moment

    return parse_moment(text, name=name) if text else None


def _print_table(name: str, frame: pd.DataFrame) -> None:
    typer.echo(f"\n{name}: {'nothing changed' if frame.empty else ''}".rstrip())
    for row in frame.to_dict("records"):
        first = " ".join(str(row[column]) for column in ("cause", "name") if column in row)
        change = f"  ({row['change']})" if row.get("change") else ""
        typer.echo(f"  {first}{change}")
        typer.echo(
            f"    - {row['before'] or 'none'}" + (f": {row['reason_before']}" if row.get("reason_before") else "")
        )
        typer.echo(f"    + {row['after'] or 'none'}" + (f": {row['reason_after']}" if row.get("reason_after") else ""))


def _draw(found: Trend, to: Path) -> None:
    from flowrex_ops.archive.trend_chart import plot_trend
    from flowrex_ops.errors import ParameterError
    from flowrex_ops.files import write_atomic

    if to.suffix.lower() != ".png":
        raise ParameterError(f"--to: '{to}' is not a PNG file; give a name that ends with .png")
    from io import BytesIO

    picture = BytesIO()
    plot_trend(found.incidents, found.periods, what=found.what, period=found.period).savefig(picture, format="png")
    write_atomic(to, picture.getvalue())


def _print_trend(found: Trend) -> None:
    from flowrex_ops.durations import format_seconds

    verb = "found in" if found.is_cause else "run in"
    typer.echo(f"{found.what}: {verb} {len(found.incidents)} incidents, by {found.period}")
    most = max(1, int(found.periods["times"].max()) if len(found.periods) else 1)
    for row in found.periods.itertuples():
        bar = "█" * round(BAR * min(1.0, row.times / max(most, BAR)))
        lasted = ""
        if row.times:
            median, longest = (format_seconds(60 * minutes) for minutes in (row.median_minutes, row.longest_minutes))
            lasted = f"  lasted {longest}" if row.times == 1 else f"  half under {median}, longest {longest}"
        typer.echo(f"{row.begins:%Y-%m-%d}  {row.times:>4} {bar}{lasted}".rstrip())
