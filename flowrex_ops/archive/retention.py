"""Runs that nobody needs any more. Incidents stay: how long they are kept is for people's rules, not for a tool's."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.archive.folders import FOLDER_ID, list_runs
from flowrex_ops.archive.manifest import LOCK_SUFFIX
from flowrex_ops.files import record_error

_STAMP = "RUN-%Y%m%d-%H%M"


def find_old_runs(outputs: Path, before: datetime) -> list[Path]:
    """Folders of runs that began *before* then, the oldest first; not of one that still runs, or was killed and is not finished yet."""
    runs = [folder for folder in reversed(list_runs(outputs)) if FOLDER_ID.fullmatch(folder.name)]
    return [folder for folder in runs if _began(folder) < before and not _is_open(folder)]


def remove_runs(folders: list[Path]) -> int:
    """Delete them; how many bytes that freed. RecordError where one cannot be deleted."""
    freed = 0
    for folder in folders:
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise record_error(error, folder) from error
    return freed


def _began(folder: Path) -> datetime:
    return datetime.strptime(folder.name[:17], _STAMP).replace(tzinfo=UTC)


def _is_open(folder: Path) -> bool:
    return any((folder / "records").glob(f".*{LOCK_SUFFIX}"))
