"""An incident's timeline: lines of JSON, only ever appended, each carrying the hash of the one before.

A line is ``{"seq", "at", "kind", "text", …, "prev", "hash"}``; ``hash`` is the SHA-256 over the line's other
members as canonical JSON, ``prev`` is the hash of the line before (64 zeros on the first).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked, record_error

FILE = "timeline.jsonl"
STORE_STATE = ".store"
"""Folder in ``outputs`` with what is known of a store (``store.py``)."""
_FIRST = "0" * 64
_LAST_BYTES = 2**16


def append(folder: Path, event: Mapping[str, Any]) -> dict[str, Any]:
    """Append *event* (``kind`` and ``text`` at least, JSON values only, already redacted) and return its line.

    Safe from several processes at once. A line that a crash cut in half is closed off first, so that it stays
    visible to ``verify`` and the chain goes on after it. RecordError where the disk is full.
    """
    with writing(folder) as write:
        return write(event)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Hold the incident's lock and yield what ``append`` does: nobody else changes anything of it meanwhile."""
    path = folder / FILE
    require_own(folder)
    with locked(path) as descriptor:

        def write(event: Mapping[str, Any]) -> dict[str, Any]:
            seq, previous, torn = _tail(path)
            line = {"seq": seq, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **event, "prev": previous}
            line["hash"] = _hash(line)
            raw = (b"\n" if torn else b"") + json.dumps(line, ensure_ascii=False).encode() + b"\n"
            _write(descriptor, raw, path)
            return line

        yield write


def is_fetched(folder: Path) -> bool:
    """Whether another machine writes this incident, and it is a copy from the store."""
    return any((folder.parent / STORE_STATE).glob(f"{folder.name}@*"))


def require_own(folder: Path) -> None:
    """RecordError where the incident is another machine's: each has one writer."""
    if is_fetched(folder):
        hosts = ", ".join(
            path.name.partition("@")[2] for path in (folder.parent / STORE_STATE).glob(f"{folder.name}@*")
        )
        raise RecordError(
            f"'{folder.name}' was fetched from the store, and is only read here; go on with it on '{hosts}', or open a new one"
        )


def read(folder: Path) -> list[dict[str, Any]]:
    """All readable lines, oldest first; broken ones are left out (``verify`` names them)."""
    return [line for _, line in _lines(folder / FILE) if line is not None]


def read_since(folder: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Readable lines beyond the first *offset* bytes, and how far that was; a line without its end is left for the next time."""
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    data = data[: data.rfind(b"\n") + 1]
    return [line for line in map(_parse, data.splitlines()) if line is not None], offset + len(data)


def verify(folder: Path) -> str | None:
    """``None`` for an unbroken chain; else which line is the first broken one, and how."""
    previous = _FIRST
    for number, line in _lines(folder / FILE):
        if line is None:
            return f"{FILE} line {number} is not a line of JSON"
        if line.get("prev") != previous:
            return f"{FILE} line {number} does not follow the line before it: a line was removed, inserted or changed"
        if line.get("hash") != _hash(line) or line.get("seq") != number:
            return f"{FILE} line {number} was changed after it was written"
        previous = str(line["hash"])
    return None


def _hash(line: Mapping[str, Any]) -> str:
    content = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    # Of bytes: of text, splitlines would also split at U+2028, which an alert may bring.
    if path.exists():
        yield from enumerate(map(_parse, path.read_bytes().splitlines()), start=1)


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _tail(path: Path) -> tuple[int, str, bool]:
    """The next sequence number, the hash to chain on, and whether the last line lacks its end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_BYTES))
        end = file.read()
    last = _parse(end.splitlines()[-1]) if end.endswith(b"\n") else None
    if last and isinstance(last.get("seq"), int) and isinstance(last.get("hash"), str):
        return last["seq"] + 1, last["hash"], False
    # A line that a crash cut in half, or one longer than that: count them all.
    lines = list(_lines(path))
    previous = next((str(line.get("hash", _FIRST)) for _, line in reversed(lines) if line is not None), _FIRST)
    return len(lines) + 1, previous, end[-1:] not in (b"", b"\n")


def _write(descriptor: int, raw: bytes, path: Path) -> None:
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, raw) != len(raw):
            os.ftruncate(descriptor, before)
            raise RecordError(f"'{path}' could not be written: no space left on device; free some space")
        os.fsync(descriptor)
    except OSError as error:
        raise record_error(error, path) from error
