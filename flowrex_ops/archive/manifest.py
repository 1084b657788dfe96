"""What an incident's folder held when its last run ended, and whether it still does.

``manifest.json`` is ``{"version": 1, "written", "files": {path: {"sha256", "bytes"}}}``. The timeline may grow after;
its beginning must still be the same, and its chain unbroken.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.errors import RecordError
from flowrex_ops.files import TEMPORARY_PREFIX, is_locked, locked, write_atomic

FILE = "manifest.json"
LOCK_SUFFIX = ".lock"
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a folder is not what its manifest says.

    ``kind`` is ``changed``, ``missing``, ``unexpected``, ``broken-chain``, ``unfinished`` or ``no-manifest``.
    """

    kind: str
    path: str
    text: str

    def __str__(self) -> str:
        return self.text


def write_manifest(folder: Path, *, finished: Path | None = None) -> None:
    """Rewrite the manifest over every finished file in *folder*; records still running are left out.

    *finished* is a record that still holds its lock and is done: the lock goes in the same turn, or the manifest of
    another run that ends at this moment would leave the record out.
    """
    with locked(folder / timeline.FILE):
        files = {name: _entry(folder / name) for name in finished_files(folder, finished)}
        manifest = {"version": 1, "written": datetime.now(UTC).isoformat(timespec="seconds"), "files": files}
        write_atomic(folder / FILE, json.dumps(manifest, indent=1) + "\n")
        if finished is not None:
            lock_of(finished).unlink(missing_ok=True)


def verify(folder: Path) -> list[Problem]:
    """Everything in *folder* that is not as it was written, worst first; empty when all is well.

    An incident in which no run has ended yet has no manifest, which is no problem; its timeline must be unbroken all the
    same. What somebody is writing at this moment does not fit for that moment: only what is still so a little later
    is a problem. RecordError where *folder* is no incident folder.
    """
    if not folder.is_dir():
        raise RecordError(f"'{folder}' is not an incident folder; see 'flowrex-ops records list'")
    seen = _look(folder)
    if not seen:
        return []
    time.sleep(_SETTLE_SECONDS)
    return [problem for problem in _look(folder) if problem in seen]


def _look(folder: Path) -> list[Problem]:
    try:
        listed = json.loads((folder / FILE).read_text())["files"]
    except FileNotFoundError:
        return [*_no_manifest(folder), *_no_timeline(folder), *_chain(folder), *_unfinished(folder)]
    except (ValueError, KeyError, TypeError):
        return [Problem("changed", FILE, f"{FILE} cannot be read: it was changed after it was written")]
    return [*_changed(folder, listed), *_chain(folder), *_unlisted(folder, listed)]


def unfinished(folder: Path) -> set[str]:
    """Paths (relative to *folder*) of records that hold or left behind a lock: running, or their runner is gone."""
    names = {lock.name.removeprefix(".").removesuffix(LOCK_SUFFIX) for lock in (folder / "records").glob(".*.lock")}
    return {
        str(path.relative_to(folder))
        for name in names
        for path in (folder / "records").glob(f"{name}-*")
        if path.is_file()
    }


def _changed(folder: Path, listed: dict[str, Any]) -> Iterator[Problem]:
    for name, entry in listed.items():
        path = folder / name
        if not path.is_file():
            yield Problem("missing", name, f"{name} is missing")
        elif _entry(path, entry["bytes"] if name == timeline.FILE else None) != entry:
            yield Problem("changed", name, f"{name} was changed after it was written")


def _no_manifest(folder: Path) -> Iterator[Problem]:
    finished = {path.relative_to(folder).as_posix() for path in folder.glob("records/*.ipynb")} - unfinished(folder)
    if finished:
        yield Problem(
            "no-manifest", FILE, f"'{folder.name}' has no {FILE}, and {min(finished)} has ended: it was removed"
        )


def _no_timeline(folder: Path) -> Iterator[Problem]:
    if not (folder / timeline.FILE).is_file():
        yield Problem("missing", timeline.FILE, f"{timeline.FILE} is missing")


def _unfinished(folder: Path) -> Iterator[Problem]:
    for name in sorted(unfinished(folder)):
        if not is_locked(lock_of(folder / name)):
            yield Problem(
                "unfinished",
                name,
                f"{name} was never finished: its runner is gone; 'flowrex-ops records reindex' finishes it",
            )


def _chain(folder: Path) -> Iterator[Problem]:
    broken = timeline.verify(folder)
    if broken:
        yield Problem("broken-chain", timeline.FILE, broken)


def _unlisted(folder: Path, listed: dict[str, Any]) -> Iterator[Problem]:
    being_written = _with_evidence(folder, unfinished(folder))
    for name in _all_files(folder):
        if name not in listed and name not in being_written:
            yield Problem("unexpected", name, f"{name} is not in the manifest: it was added by other means")
    yield from _unfinished(folder)


def lock_of(record: Path) -> Path:
    """The lock that the runner of *record* (``records/001-….ipynb``) holds while it runs."""
    return record.parent / f".{record.name.partition('-')[0]}{LOCK_SUFFIX}"


def finished_files(folder: Path, finished: Path | None = None) -> Iterator[str]:
    """Every file of *folder* by its path in it, but for the manifest, locks, and records that are not finished."""
    open_records = unfinished(folder)
    if finished is not None:
        open_records -= {
            (finished.relative_to(folder).with_suffix(suffix)).as_posix() for suffix in (".ipynb", ".html")
        }
    being_written = _with_evidence(folder, open_records)
    yield from (name for name in _all_files(folder) if name not in being_written)


def _with_evidence(folder: Path, records: set[str]) -> set[str]:
    """*records* and their tables, which begin with a record's name."""
    stems = tuple(f"{Path(name).stem}-" for name in records)
    tables = (path for path in folder.glob("evidence/*") if path.name.startswith(stems))
    return records | {path.relative_to(folder).as_posix() for path in tables}


def _all_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        hidden = path.name.startswith(TEMPORARY_PREFIX) or path.name.endswith(LOCK_SUFFIX)
        if path.is_file() and not hidden and path != folder / FILE:
            yield path.relative_to(folder).as_posix()


def entry_of(raw: bytes) -> dict[str, Any]:
    """What the manifest says of a file with this content."""
    return {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}


def _entry(path: Path, limit: int | None = None) -> dict[str, Any]:
    return entry_of(path.read_bytes()[:limit])
