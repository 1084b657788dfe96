"""``outputs/index.sqlite``: what is asked of the archive, kept beside it and derived from it.

Every question compares the index with the folders first (name, size and time of each file) and takes in what changed,
so that it cannot be stale; a missing or damaged index, or one of another version, is made anew. Where it cannot be
written (a read-only archive, a full disk), the question is answered from memory.

A record's row has its metadata; ``traits`` has what it is recognized by (see ``traits.py``), ``words`` its full text.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flowrex_ops.archive.incidents import INCIDENT_FILE
from flowrex_ops.archive.metadata import read_metadata
from flowrex_ops.archive.traits import find_traits, find_words
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked

T = TypeVar("T")

FILE = "index.sqlite"
VERSION = 1
BUSY_SECONDS = 3.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = ("files", "incidents", "records", "traits", "words")
_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL);
CREATE TABLE incidents (
    id TEXT PRIMARY KEY, title TEXT, severity TEXT, status TEXT, service TEXT, started TEXT, resolved TEXT, resolution TEXT
);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, incident TEXT NOT NULL, runbook TEXT, status TEXT NOT NULL,
    severity TEXT, diagnosis TEXT, title TEXT, started TEXT, ended TEXT, seconds REAL, operator TEXT, trigger TEXT, platform TEXT,
    imported TEXT, metadata TEXT NOT NULL
);
CREATE INDEX records_by_time ON records (started);
CREATE INDEX records_by_incident ON records (incident);
CREATE TABLE traits (record INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX traits_by_value ON traits (kind, value);
CREATE INDEX traits_by_record ON traits (record);
CREATE VIRTUAL TABLE words USING fts5 (
    title, findings, evidence, mitigations, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
"""
_COLUMNS = ("runbook", "status", "severity", "diagnosis", "title", "started", "ended", "seconds", "operator", "trigger")


def ask(outputs: Path, question: Callable[[sqlite3.Connection], T], *, limit_seconds: float | None = None) -> T:
    """The answer of *question*, which gets a connection to the index as it is after all changes were taken in.

    *limit_seconds* bounds the taking in; what is left then is for the next time. Rows are ``sqlite3.Row``.
    """
    deadline = time.monotonic() + limit_seconds if limit_seconds else None
    if _has_incidents(outputs):
        for last in (False, True):
            try:
                return _ask_file(outputs, question, deadline)
            except sqlite3.Error as error:
                if last or getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    break
                _discard(outputs)
    with contextlib.closing(_connect(":memory:")) as connection:
        refresh(connection, outputs, deadline)
        return question(connection)


def rebuild(outputs: Path) -> dict[str, int]:
    """Make the index anew from the folders; ``{"records", "incidents"}``, how many there are."""

    def count(connection: sqlite3.Connection) -> dict[str, int]:
        tables = ("records", "incidents")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608  # our own names

    _discard(outputs)
    return ask(outputs, count)


def refresh(connection: sqlite3.Connection, outputs: Path, deadline: float | None = None) -> None:
    """Take in what changed in the folders since; nothing is written where nothing did."""
    found = _scan(outputs)
    known = dict(connection.execute("SELECT path, stamp FROM files").fetchall())
    if known == found:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        known = dict(connection.execute("SELECT path, stamp FROM files").fetchall())
        for path in known.keys() - found.keys():
            _forget(connection, path)
        changed = sorted((path for path, stamp in found.items() if known.get(path) != stamp), reverse=True)
        for path in changed:
            if deadline is not None and time.monotonic() > deadline:
                break
            _forget(connection, path)
            _take(connection, outputs, path)
            connection.execute("INSERT INTO files VALUES (?, ?)", (path, found[path]))


def _ask_file(outputs: Path, question: Callable[[sqlite3.Connection], T], deadline: float | None) -> T:
    with contextlib.closing(_connect(outputs / FILE)) as connection:
        refresh(connection, outputs, deadline)
        return question(connection)


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # it is derived: after a power cut it is made anew
        _migrate(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """An index of another version is emptied: the folders have everything."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _discard(outputs: Path) -> None:
    """Remove the index; who has it open goes on with the removed one, and the next one to ask makes another."""
    if not outputs.is_dir():
        return
    with contextlib.suppress(OSError, RecordError), locked(outputs / f".{FILE}.lock"):
        for suffix in ("", "-wal", "-shm"):
            (outputs / f"{FILE}{suffix}").unlink(missing_ok=True)


def _has_incidents(outputs: Path) -> bool:
    return outputs.is_dir() and next(outputs.glob("INC-*"), None) is not None


def _scan(outputs: Path) -> dict[str, str]:
    """Every record's notebook and every ``incident.json`` by its path within *outputs*, with what changes when it does."""
    found: dict[str, str] = {}
    for incident in _entries(outputs):
        if incident.name.startswith("INC-") and incident.is_dir():
            with contextlib.suppress(OSError):
                found[f"{incident.name}/{INCIDENT_FILE}"] = _stamp(os.stat(f"{incident.path}/{INCIDENT_FILE}"))  # noqa: PTH116  # thousands of them
            for entry in _entries(f"{incident.path}/records"):
                if is_record_name(entry.name):
                    with contextlib.suppress(OSError):
                        found[f"{incident.name}/records/{entry.name}"] = _stamp(entry.stat())
    return found


def is_record_name(name: str) -> bool:
    """Whether a file is called as a record is: ``001-<runbook>.ipynb``."""
    number, dash, rest = name.partition("-")
    return name.endswith(".ipynb") and bool(dash) and number.isdigit() and len(number) > 2 and rest != ".ipynb"  # noqa: PLR2004  # three digits


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"


def _take(connection: sqlite3.Connection, outputs: Path, path: str) -> None:
    if path.endswith(INCIDENT_FILE):
        _take_incident(connection, outputs / path)
        return
    record = read_metadata(outputs / path)
    if record is None:
        return
    incident, _, name = path.removesuffix(".ipynb").partition("/records/")
    imported = record.get("imported") or {}
    values = [f"{incident}/{name}", incident, *(_plain(record.get(column)) for column in _COLUMNS)]
    values += [_plain(record.get("platform")), _plain(imported.get("sha256")), json.dumps(record, ensure_ascii=False)]
    columns = ", ".join(("id", "incident", *_COLUMNS, "platform", "imported", "metadata"))
    marks = ", ".join("?" * len(values))
    number = connection.execute(f"INSERT INTO records ({columns}) VALUES ({marks})", values).lastrowid  # noqa: S608  # our own names
    traits = [(number, kind, value) for kind, value in find_traits(record).items()]
    connection.executemany("INSERT INTO traits VALUES (?, ?, ?)", traits)
    words = (number, *find_words(record))
    connection.execute(
        "INSERT INTO words (rowid, title, findings, evidence, mitigations) VALUES (?, ?, ?, ?, ?)", words
    )


def _take_incident(connection: sqlite3.Connection, path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(value, dict):
        names = ("title", "severity", "status", "service", "started", "resolved", "resolution")
        row = (path.parent.name, *(_plain(value.get(name)) for name in names))
        connection.execute("INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def _forget(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("DELETE FROM files WHERE path = ?", (path,))
    if path.endswith(INCIDENT_FILE):
        connection.execute("DELETE FROM incidents WHERE id = ?", (path.partition("/")[0],))
        return
    name = path.removesuffix(".ipynb").replace("/records/", "/")
    for (number,) in connection.execute("SELECT number FROM records WHERE id = ?", (name,)).fetchall():
        connection.execute("DELETE FROM traits WHERE record = ?", (number,))
        connection.execute("DELETE FROM words WHERE rowid = ?", (number,))
        connection.execute("DELETE FROM records WHERE number = ?", (number,))


def _plain(value: Any) -> Any:
    """What SQLite can keep: a number or a text."""
    return value if isinstance(value, (int, float, str)) or value is None else str(value)
