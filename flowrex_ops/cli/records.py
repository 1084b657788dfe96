"""``flowrex-ops records``: list, show and verify what was kept; what else is asked of it stands in ``archive.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli import archive
from flowrex_ops.cli.archive import WantedArgument
from flowrex_ops.cli.options import JsonOption, SettingsOption, echo, load_settings

if TYPE_CHECKING:
    from flowrex_ops.archive.records import Record

app = typer.Typer(no_args_is_help=True, help="What was kept of earlier runs.", rich_markup_mode=None)


@app.command("list")
def list_(settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """List all records, newest first.

    Example: flowrex-ops records list --json
    """
    from flowrex_ops.archive.records import list_records

    records = list_records(load_settings(settings).outputs)
    found = [_facts(record) for record in records]
    lines = [
        f"{one['started'] or '':<26} {one['id']:<48} {one['status']:<12} {one['severity'] or '  '} {one['diagnosis'] or '-'}"
        for one in found
    ]
    echo(found, lines or ["no records yet; make one with 'flowrex-ops run RUNBOOK'"], as_json=as_json)


@app.command()
def show(record: WantedArgument = "latest", settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """Show one record's outcome and where its files are.

    Example: flowrex-ops records show latest
    """
    from flowrex_ops.archive.records import load_record

    found = load_record(load_settings(settings).outputs, record)
    facts = _facts(found)
    lines = [f"{name:<10} {value if value is not None else '-'}" for name, value in facts.items()]
    lines += [f"  {one['verdict']:<12} {one['cause']}: {one['reason']}" for one in found.metadata.get("verdicts", [])]
    lines += [f"  {one['slug']}: {one['state']}: {one['reason']}" for one in found.metadata.get("mitigations", [])]
    echo({**facts, "record": found.metadata}, lines, as_json=as_json)


@app.command()
def verify(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="A record or incident; all when left out.")] = "",
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check that nothing was changed since it was written: manifest and timeline of every incident. Exit 1 names what was.

    Of a timeline the first line is named that does not follow from the one before.

    Example: flowrex-ops records verify
    """
    from flowrex_ops.archive.manifest import verify as verify_folder
    from flowrex_ops.archive.records import find_incidents

    folders = find_incidents(load_settings(settings).outputs, record)
    problems = [(folder.name, problem) for folder in folders for problem in verify_folder(folder)]
    told = [{"incident": name, "kind": one.kind, "path": one.path, "text": one.text} for name, one in problems]
    lines = [f"{name}: {problem}" for name, problem in problems]
    lines = lines or [f"{len(folders)} incidents verified, nothing was changed"]
    echo({"incidents": len(folders), "problems": told}, lines, as_json=as_json)
    if problems:
        raise typer.Exit(1)


@app.command()
def reindex(settings: SettingsOption = "", as_json: JsonOption = False) -> None:
    """Make the index anew from the folders. It is derived, and heals by itself; this is for whoever wants to be sure.

    Records whose runner was killed are finished on the way: they get their page, and stand in the manifest and the store.

    Example: flowrex-ops records reindex
    """
    from flowrex_ops.archive.index import FILE, rebuild
    from flowrex_ops.record.orphaned import recover_all_orphaned

    loaded = load_settings(settings)
    outputs = loaded.outputs
    finished = recover_all_orphaned(loaded)
    counts = rebuild(outputs)
    lines = [f"{name}: its runner had been killed; finished as interrupted" for name in finished]
    lines += [f"{counts['records']} records of {counts['incidents']} incidents in '{outputs / FILE}'"]
    echo({"index": str(outputs / FILE), **counts, "finished": finished}, lines, as_json=as_json)


for command in (archive.search, archive.similar, archive.diff, archive.trend, archive.export, archive.import_):
    app.command(command.__name__.rstrip("_"))(command)


def _facts(record: Record) -> dict[str, Any]:
    about = record.metadata
    return {
        "id": record.id,
        "runbook": about.get("runbook"),
        "status": record.status,
        "severity": about.get("severity"),
        "diagnosis": about.get("diagnosis"),
        "started": about.get("started"),
        "seconds": about.get("seconds"),
        "operator": about.get("operator"),
        "notebook": str(record.path),
        "html": str(record.html) if record.html else None,
    }
