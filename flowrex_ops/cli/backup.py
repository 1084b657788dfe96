"""``flowrex-ops backup``: take one, list them, try one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowrex_ops.cli.options import JsonOption, SettingsOption, echo, progress

if TYPE_CHECKING:
    import pandas as pd

    from flowrex_ops.discovery.endpoints import Endpoints
    from flowrex_ops.postgres.backups.backup import BackupStore
    from flowrex_ops.settings import Settings


def backup(
    list_: Annotated[
        bool, typer.Option("--list", help="List the backups: age, size, whether they can be read.")
    ] = False,
    test_restore: Annotated[
        bool,
        typer.Option("--test-restore", help="Restore the newest backup into a scratch database, check it, drop it."),
    ] = False,
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a backup of the database with its checksum, or look after those there are. Users notice nothing of it.

    A backup is written under a name of its own and renamed once all of it was read again, so that none is ever half.
    With --test-restore the newest one is tried out, which is exit 1 where it cannot be restored.

    Example: flowrex-ops backup

    Example: flowrex-ops backup --list --json

    Example: flowrex-ops backup --test-restore
    """
    from flowrex_ops.discovery.endpoints import discover
    from flowrex_ops.errors import UsageError
    from flowrex_ops.postgres.backups.backup import BackupStore
    from flowrex_ops.settings import load

    if list_ and test_restore:
        raise UsageError("--list and --test-restore are two things; give one of them")
    endpoints = discover(load(settings or None))
    loaded = endpoints.settings
    if list_:
        _list(loaded, endpoints, as_json=as_json)
        return
    backups = BackupStore.open(loaded, endpoints)
    facts = _test(backups) if test_restore else _take(backups)
    echo(facts, [f"{name:<12} {value}" for name, value in facts.items()], as_json=as_json)


def _take(backups: BackupStore) -> dict[str, Any]:
    from flowrex_ops.postgres.backups.source import checksum_file

    file = backups.take(progress)
    return {
        "backup": str(file),
        "size_bytes": file.stat().st_size,
        "sha256": checksum_file(file).read_text(encoding="ascii").split()[0],
        "tables": backups.look(file).tables,
    }


def _test(backups: BackupStore) -> dict[str, Any]:
    file = backups.choose()
    contents = backups.test(file, progress)
    return {
        "backup": str(file),
        "restored": "yes, into a scratch database that was dropped again",
        "tables": len(contents.tables),
        "rows": contents.rows,
        "newest_trade": contents.newest,
    }


def _list(settings: Settings, endpoints: Endpoints, *, as_json: bool) -> None:
    from flowrex_ops.durations import format_seconds
    from flowrex_ops.errors import BackupError
    from flowrex_ops.postgres.backups.source import BackupsSource, open_tools

    # All of them are looked into, however long that takes: nobody waits for it in an incident.
    limits: dict[str, Any] = {"limit_seconds": settings.backup.seconds, "limit_rows": settings.limits.rows}
    reading = BackupsSource(settings.backup.folder, lambda: open_tools(settings, endpoints), **limits).get_backups()
    if not reading.available:
        raise BackupError(str(reading.error))
    frame: pd.DataFrame = reading.require()
    lines = []
    for row in frame.itertuples():
        readable = {True: "readable", False: "NOT READABLE"}.get(row.readable, "not known")
        facts = f"{row.size_bytes / 1e6:>10.2f} MB  {readable:<12} checksum {row.checksum:<8} {row.detail}"
        lines.append(f"{row.name:<48} {f'{format_seconds(row.age_seconds)} old':<14} {facts}")
    reported = frame.astype(object).where(frame.notna(), None).to_dict("records")
    echo(reported, lines or ["no backups yet; take one with 'flowrex-ops backup'"], as_json=as_json)
