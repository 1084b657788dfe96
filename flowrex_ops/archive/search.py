"""Full text search over the archive: diagnoses, findings, error signatures, mitigations; by cause, service, severity, time.

A word finds words that begin with it; words in double quotes stand together. Whatever else a text has in it (``*``, ``NEAR``,
brackets, a lone quote) means nothing. A slug such as ``db.lock-contention`` is its words, one after the other.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive.index import ask
from flowrex_ops.causes import find_causes
from flowrex_ops.errors import ParameterError

MOST = 1000
_PARTS = re.compile(r'"([^"]*)"|(\S+)')
_SNIPPET = "snippet(words, -1, '', '', ' … ', 16)"
_TRAIT = "EXISTS (SELECT 1 FROM traits t WHERE t.record = r.number AND t.kind {})"
_SELECT = (
    "SELECT r.number, r.id, r.incident, r.runbook, r.status, r.severity, r.diagnosis, r.started, r.seconds, r.title, {excerpt} AS excerpt "
    "FROM records r {join} WHERE {where} ORDER BY {order} LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; empty means any. ``cause`` may be a family (``db``), ``severity`` is exactly that one, times are UTC."""

    text: str = ""
    cause: str = ""
    service: str = ""
    severity: str = ""
    runbook: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found: ``causes`` it confirmed, mitigations that acted (``resolved_by``), where the text stands."""

    id: str
    incident: str
    runbook: str
    status: str
    severity: str | None
    diagnosis: str | None
    title: str
    started: str
    seconds: float | None
    causes: tuple[str, ...]
    resolved_by: tuple[str, ...]
    excerpt: str

    def to_dict(self) -> dict[str, Any]:
        """As ``records search --json`` prints it."""
        return asdict(self)


def search(outputs: Path, query: Query) -> list[Hit]:
    """The records that fit *query*: the best match first where there is a text, else the newest.

    ParameterError for a text without any word, an unknown cause or runbook, a severity that is none, a limit under 1.
    """
    match = _match(query.text)
    _check(query)
    return ask(outputs, lambda index: _search(index, query, match))


def match_words(text: str) -> str:
    """*text* as FTS5 takes it: each word quoted, so that nothing in it is an operator; empty where it has no word."""
    parts = []
    for phrase, word in _PARTS.findall(text.replace("\0", " ")):
        said = (phrase or word).replace('"', " ").strip()
        if any(character.isalnum() for character in said):
            parts.append(f'"{said}"' if phrase else f'"{said}"*')
    return " ".join(parts)


def _match(text: str) -> str:
    match = match_words(text)
    if text.strip() and not match:
        raise ParameterError(f"'{text}' has no word to look for; give one, such as 'migration'")
    return match


def _check(query: Query) -> None:
    if query.severity and query.severity not in ("P0", "P1", "P2", "P3"):
        raise ParameterError(f"--severity: '{query.severity}' is not a severity; give P0, P1, P2 or P3")
    if not 1 <= query.limit <= MOST:
        raise ParameterError(f"--limit: '{query.limit}' is not possible; give a number from 1 to {MOST}")
    if query.since and query.until and query.since >= query.until:
        raise ParameterError(f"--since: '{query.since:%Y-%m-%d %H:%M}' is not before --until; exchange them")


def _search(index: sqlite3.Connection, query: Query, match: str) -> list[Hit]:
    conditions, values = _conditions(index, query)
    join, excerpt, order = "", "''", "r.started DESC, r.id DESC"
    if match:
        join, excerpt, order = "JOIN words ON words.rowid = r.number", _SNIPPET, "bm25(words), r.started DESC"
        conditions, values = ["words MATCH ?", *conditions], [match, *values]
    where = " AND ".join(conditions) or "1"
    sql = _SELECT.format(excerpt=excerpt, join=join, where=where, order=order)
    rows = index.execute(sql, [*values, query.limit]).fetchall()
    traits = _traits(index, [row["number"] for row in rows])
    return [_hit(row, traits.get(row["number"], [])) for row in rows]


def _conditions(index: sqlite3.Connection, query: Query) -> tuple[list[str], list[Any]]:
    """Conditions over ``records r`` and their values."""
    found: list[tuple[str, list[Any]]] = []
    if query.cause:
        found.append((_TRAIT.format("= 'cause' AND (t.value = ? OR t.value GLOB ?)"), _cause(index, query.cause)))
    if query.service:
        of_incident = "EXISTS (SELECT 1 FROM incidents i WHERE i.id = r.incident AND lower(i.service) = ?)"
        name = query.service.lower()
        of_record = _TRAIT.format("= 'service' AND lower(t.value) = ?")
        found.append((f"({of_record} OR {of_incident})", [name, name]))
    found += [("r.severity = ?", [query.severity])] if query.severity else []
    found += [("r.runbook = ?", [_runbook(index, query.runbook)])] if query.runbook else []
    found += [("r.started >= ?", [_moment(query.since)])] if query.since else []
    found += [("r.started < ?", [_moment(query.until)])] if query.until else []
    return [condition for condition, _ in found], [value for _, values in found for value in values]


def _cause(index: sqlite3.Connection, cause: str) -> list[str]:
    """A slug, and the pattern of a family; of causes that are neither in the catalogue nor in the archive there are none."""
    known = {*find_causes(), *_values(index, "SELECT DISTINCT value FROM traits WHERE kind = 'cause'")}
    family = cause.rstrip(".*")
    if cause not in known and not any(slug.startswith(f"{family}.") for slug in known):
        raise ParameterError(f"--cause: '{cause}' is not a cause; {_near(cause, known)}")
    return [cause, f"{family.replace('[', '').replace('*', '').replace('?', '')}.*"]


def _runbook(index: sqlite3.Connection, runbook: str) -> str:
    known = _values(index, "SELECT DISTINCT runbook FROM records")
    if runbook not in known and known:
        raise ParameterError(f"--runbook: no record is of '{runbook}'; {_near(runbook, known)}")
    return runbook


def _values(index: sqlite3.Connection, sql: str) -> set[str]:
    return {str(row[0]) for row in index.execute(sql)}


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.4)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known))}"


def _moment(moment: datetime) -> str:
    """As records write their times, which then compare as texts."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _traits(index: sqlite3.Connection, numbers: list[int]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    sql = "SELECT record, kind, value FROM traits WHERE record IN (SELECT value FROM json_each(?)) ORDER BY rowid"
    for number, kind, value in index.execute(sql, (json.dumps(numbers),)):
        found.setdefault(number, []).append((kind, value))
    return found


def _hit(row: sqlite3.Row, traits: list[tuple[str, str]]) -> Hit:
    excerpt = " ".join(str(row["excerpt"]).split())
    return Hit(
        id=row["id"],
        incident=row["incident"],
        runbook=row["runbook"] or "",
        status=row["status"],
        severity=row["severity"],
        diagnosis=row["diagnosis"],
        title=row["title"] or "",
        started=row["started"] or "",
        seconds=row["seconds"],
        causes=tuple(value for kind, value in traits if kind == "cause"),
        resolved_by=tuple(value for kind, value in traits if kind == "resolved"),
        excerpt=excerpt,
    )
