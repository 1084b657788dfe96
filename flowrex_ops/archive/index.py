"""``outputs/index.sqlite``: what is asked of the archive, kept beside it and derived from it.

Every question compares the index with the folders first (name, size and time of each file) and takes in the incidents that
changed, so that it cannot be stale; a missing or damaged index, or one of another version, is made anew. Where it cannot be
written (a read-only archive, a full disk), the question is answered from memory.

Each question compares it with the folders first: a thousand stats are quick, and an index that may be stale is one
nobody believes. What cannot be written is answered from memory.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flowrex_ops.archive.folders import list_folders
from flowrex_ops.archive.incidents import INCIDENT_FILE, read_incident
from flowrex_ops.archive.outcome import RecordMetadata, RunOutcome, iso
from flowrex_ops.errors import RecordError
from flowrex_ops.files import locked
from flowrex_ops.model import Evidence, VerdictKind

T = TypeVar("T")

FILE = "index.sqlite"
VERSION = 2
BUSY_SECONDS = 3.0
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, stamp TEXT, started TEXT, resolved TEXT);
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY, id TEXT, incident TEXT, runbook TEXT, severity TEXT, started TEXT, ended TEXT, imported TEXT,
    metadata TEXT
);
CREATE INDEX IF NOT EXISTS records_by_incident ON records (incident);
CREATE TABLE IF NOT EXISTS features (record INTEGER, kind TEXT, value TEXT);
CREATE INDEX IF NOT EXISTS features_by_value ON features (kind, value);
CREATE INDEX IF NOT EXISTS features_by_record ON features (record);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (text, services, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3');
PRAGMA user_version = {VERSION};
COMMIT;
"""
_KNOWN = "SELECT id, stamp FROM incidents"
_RECORD_NAME = re.compile(r"\d{3,}-.+\.ipynb")
_ABOUT = {"db": "postgres", "redis": "redis", "tls": "nginx", "external": "outside"}
"""What causes of a family are about, where it is not the backend."""
_SIGNED = re.compile(r"\d+ |raised at$|error$|refusal$")
_MASKED = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)*")
_EXCEPTION = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Timeout|Interrupt|Detected|Violation|Refused|Connections)\b")


def ask(outputs: Path, question: Callable[[sqlite3.Connection], T], *, limit_seconds: float = math.inf) -> T:
    """The answer of *question*, which gets a connection to the index as it is after all changes were taken in.

    *limit_seconds* bounds the taking in; what is left then is for the next time. Rows are ``sqlite3.Row``.
    """
    deadline = time.monotonic() + limit_seconds
    for _attempt in range(2 if list_folders(outputs) else 0):
        try:
            return _ask(outputs / FILE, outputs, question, deadline)
        except sqlite3.OperationalError:  # it is busy, or cannot be written
            break
        except sqlite3.DatabaseError:
            _discard(outputs)
    return _ask(":memory:", outputs, question, deadline)


def rebuild(outputs: Path) -> dict[str, int]:
    """Make the index anew from the folders; ``{"records", "incidents"}``, how many there are."""
    _discard(outputs)
    sql = "SELECT (SELECT count(*) FROM records) AS records, (SELECT count(*) FROM incidents) AS incidents"
    return dict(ask(outputs, lambda index: index.execute(sql).fetchone()))


def features(outcome: RunOutcome) -> list[tuple[str, str]]:
    """What a record is recognized by: ``(kind, value)`` with the kinds cause, signature, resolved (mitigations that acted), runbook.

    Signatures are the texts of evidence that counts lines of a log or says where an error was raised, with numbers and quoted
    values masked, and names of exceptions. A runbook is one only where it found something.
    """
    found = [("cause", finding.cause) for finding in outcome.findings]
    for evidence in _evidence(outcome):
        if _SIGNED.match(evidence.name) and evidence.source != "access log" and evidence.value:
            signatures = [" ".join(_MASKED.sub("#", evidence.value).split())[:200], *_EXCEPTION.findall(evidence.value)]
            found += [("signature", signature) for signature in signatures]
    found += [("resolved", one.slug) for one in outcome.mitigations if one.applied]
    found += [("runbook", outcome.runbook)] if outcome.diagnosis else []
    return list(dict.fromkeys(found))


def read_metadata(path: Path) -> RecordMetadata | None:
    """``metadata.flowrex_ops.record`` of the notebook at *path*; ``None`` for whatever is no record."""
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
        return RecordMetadata.read(json.loads(path.read_bytes())["metadata"]["flowrex_ops"]["record"])
    return None


def find_notebooks(incident: Path) -> list[Path]:
    """The files in the folder *incident* that are called as records are (``001-<runbook>.ipynb``), the oldest first."""
    return sorted(path for path in incident.glob("records/*.ipynb") if _RECORD_NAME.fullmatch(path.name))


def _ask(place: Path | str, outputs: Path, question: Callable[[sqlite3.Connection], T], deadline: float) -> T:
    with contextlib.closing(sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"version {version}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # it is derived: after a power cut it is made anew
        connection.executescript("" if version else _SCHEMA)
        _refresh(connection, outputs, deadline)
        return question(connection)


def _refresh(connection: sqlite3.Connection, outputs: Path, deadline: float) -> None:
    """Take in what changed in the folders since, the newest first; nothing is written where nothing did."""
    folders = [folder for folder in list_folders(outputs) if folder.is_dir()]
    found = {
        folder.name: " ".join(map(_stamp, [folder / INCIDENT_FILE, *find_notebooks(folder)])) for folder in folders
    }
    if dict(connection.execute(_KNOWN).fetchall()) == found:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        known = dict(connection.execute(_KNOWN).fetchall())
        for name in sorted(known.keys() | found.keys(), key=lambda name: name[4:], reverse=True):
            if known.get(name) != found.get(name) and time.monotonic() < deadline:
                _forget(connection, name)
                if name in found:
                    _take(connection, outputs / name, found[name])


def _forget(connection: sqlite3.Connection, incident: str) -> None:
    for table, key in (("words", "rowid"), ("features", "record"), ("records", "number")):
        sql = f"DELETE FROM {table} WHERE {key} IN (SELECT number FROM records WHERE incident = ?)"  # noqa: S608  # our own names
        connection.execute(sql, (incident,))
    connection.execute("DELETE FROM incidents WHERE id = ?", (incident,))


def _take(connection: sqlite3.Connection, folder: Path, stamp: str) -> None:
    about: dict[str, Any] = {}
    with contextlib.suppress(RecordError):
        about = read_incident(folder)
    times = [str(about.get(name) or "") for name in ("started", "resolved")]
    connection.execute("INSERT INTO incidents VALUES (?, ?, ?, ?)", (folder.name, stamp, *times))
    for path in find_notebooks(folder):
        record = read_metadata(path)
        if record is not None:
            facts = [record.runbook, record.severity or "", iso(record.started) or "", iso(record.ended) or ""]
            imported = record.imported.get("sha256", "")
            row = (f"{folder.name}/{path.stem}", folder.name, *facts, imported, record.model_dump_json(fallback=str))
            number = connection.execute("INSERT INTO records VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid
            rows = [(number, *feature) for feature in features(record)]
            connection.executemany("INSERT INTO features VALUES (?, ?, ?)", rows)
            words = (
                number,
                "\n".join(_words(record)),
                "\n".join([*_services(record), str(about.get("service") or "")]),
            )
            connection.execute("INSERT INTO words (rowid, text, services) VALUES (?, ?, ?)", words)


def _words(record: RecordMetadata) -> Iterator[str]:
    """What search looks through; not what was ruled out, for each record names every cause that it ruled out."""
    yield from (f"{one.cause} {one.severity or ''} {one.title} {one.reason}" for one in record.findings)
    yield from (f"{one.name} {one.value}" for one in _evidence(record))
    planned = [one for one in record.mitigations if one.plan_hash]
    yield from (f"{one.slug} {one.state} {one.reason} {one.action or ''} {' '.join(one.targets)}" for one in planned)
    yield " ".join((record.title, record.runbook, record.operator, record.trigger, record.reason or ""))


def _services(record: RecordMetadata) -> Iterator[str]:
    """What confirmed causes are about, what their evidence and mitigations name, and the platform."""
    for finding in record.findings:
        yield _ABOUT.get(finding.cause.partition(".")[0], "backend")
        yield f"{finding.cause} {finding.title}"
        yield from (evidence.name for evidence in finding.evidence)
    yield from (" ".join(one.targets) for one in record.mitigations)
    yield record.platform


def _evidence(outcome: RunOutcome) -> Iterator[Evidence]:
    """Of findings, and of hypotheses that stayed open: what was seen counts also where it proved nothing."""
    open_ones = [one for one in outcome.verdicts if one.kind is VerdictKind.INCONCLUSIVE]
    for one in (*outcome.findings, *open_ones):
        yield from one.evidence


def _discard(outputs: Path) -> None:
    """Remove the index; who has it open goes on with the removed one, and the next one to ask makes another."""
    with contextlib.suppress(OSError, RecordError), locked(outputs / f".{FILE}.lock"):
        for suffix in ("", "-wal", "-shm"):
            (outputs / f"{FILE}{suffix}").unlink(missing_ok=True)


def _stamp(path: Path) -> str:
    with contextlib.suppress(OSError):
        status = path.stat()
        return f"{path.name}:{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"
    return "-"
