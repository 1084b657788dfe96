"""What the archive is asked by text and by likeness: full text search, and earlier incidents that were like one.

A word finds words that begin with it; words in double quotes stand together. Whatever else a text has in it (``*``, ``NEAR``,
brackets, a lone quote) means nothing. A slug such as ``db.lock-contention`` is its words, one after the other.

What was ruled out is not searched: each record names every cause it ruled out, and each would be found by all of
them. A word finds what begins with it, without stemming: what is found can be foretold.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.index import ask, features
from flowrex_ops.archive.outcome import EarlierIncident, RecordMetadata, RunOutcome, iso
from flowrex_ops.causes import find_causes
from flowrex_ops.errors import FlowrexOpsError, ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from flowrex_ops.investigation import Investigation

SHOWN, IN_BANNER = 5, 3
BANNER_SECONDS = 1.0
"""So long a run may wait for the index to take in what is new."""
_PARTS = re.compile(r'"([^"]*)"|(\S+)')
_HIT = ("runbook", "status", "severity", "diagnosis", "title", "started", "seconds")
OF_CAUSE = "EXISTS (SELECT 1 FROM features f WHERE f.record = r.number AND f.kind = 'cause' AND f.value || '.' GLOB ?)"
"""Condition over ``records r``: it confirmed the cause, or one of the family, of the pattern ``<name>.*``."""
_FILTERS = {
    "cause": OF_CAUSE,
    "severity": "r.severity = ?",
    "runbook": "r.runbook = ?",
    "since": "r.started >= ?",
    "until": "r.started < ?",
}
_SIMILAR = """
SELECT r.incident, r.id AS record, max(r.started) AS started, r.metadata, count(DISTINCT f.kind || f.value) AS shared,
    json_group_array(DISTINCT f.value) FILTER (WHERE f.kind = 'cause') AS causes,
    json_group_array(DISTINCT f.value) FILTER (WHERE f.kind = 'signature') AS signatures,
    (SELECT json_group_array(DISTINCT acted.value) FROM features acted JOIN records o ON o.number = acted.record
     WHERE o.incident = r.incident AND acted.kind = 'resolved') AS resolved_by
FROM json_each(?) wanted
JOIN features f ON f.kind = json_extract(wanted.value, '$[0]') AND f.value = json_extract(wanted.value, '$[1]')
JOIN records r ON r.number = f.record
WHERE r.incident <> ? AND r.started < ? GROUP BY r.incident ORDER BY shared DESC, started DESC LIMIT ?
"""


def search(outputs: Path, text: str = "", *, limit: int = 20, **filters: str | datetime | None) -> list[dict[str, Any]]:
    """The records that fit all that is given: the best match first where there is a text, else the newest.

    *filters*: ``cause`` (or a family such as ``db``), ``service`` (a word in what was found), ``severity``, ``runbook``, ``since``,
    ``until``. ParameterError for a text without any word, and for a cause or a runbook that is none.
    """
    match = match_words(text)
    if text.strip() and not match:
        raise ParameterError(f"'{text}' has no word to look for; give one, such as 'migration'")
    given = {name: iso(value) if isinstance(value, datetime) else value for name, value in filters.items() if value}
    service = given.pop("service", None)
    conditions = [_FILTERS[name] for name in given]
    values = [f"{value}.*" if name == "cause" else value for name, value in given.items()]
    named = match_words(f'"{service}"') if service else ""
    if words := " AND ".join(filter(None, [match and f"({match})", named and f"services : {named}"])):
        conditions, values = [*conditions, "words MATCH ?"], [*values, words]
    excerpt, order = ("snippet(words, 0, '', '', ' … ', 16)", "bm25(words), ") if match else ("''", "")
    sql = (
        f"SELECT r.*, {excerpt} AS excerpt FROM records r JOIN words ON words.rowid = r.number "  # noqa: S608  # our own words
        f"WHERE {' AND '.join(conditions) or '1'} ORDER BY {order}r.started DESC, r.id DESC LIMIT ?"
    )

    def read(index: sqlite3.Connection) -> list[dict[str, Any]]:
        for name in given.keys() & {"cause", "runbook"}:
            is_cause(index, str(given[name]))
        return [_hit(row) for row in index.execute(sql, (*values, limit))]

    return ask(outputs, read)


def match_words(text: str) -> str:
    """*text* as FTS5 takes it: each word quoted, so that nothing in it is an operator; empty where it has no word."""
    parts = []
    for phrase, word in _PARTS.findall(text.replace("\0", " ")):
        said = (phrase or word).replace('"', " ").strip()
        if any(character.isalnum() for character in said):
            parts.append(f'"{said}"' if phrase else f'"{said}"*')
    return " ".join(parts)


def is_cause(index: sqlite3.Connection, name: str) -> bool:
    """Whether *name* is a cause or a family of causes, or else a runbook with records. ParameterError where it is neither."""
    causes = {*find_causes(), *(row[0] for row in index.execute("SELECT value FROM features WHERE kind = 'cause'"))}
    runbooks = {row[0] for row in index.execute("SELECT runbook FROM records")}
    if any(f"{cause}.".startswith(f"{name}.") for cause in causes):
        return True
    if name in runbooks:
        return False
    hint = nearest(name, sorted(causes | runbooks), otherwise="see 'flowrex-ops runbooks' and docs/causes.md")
    raise ParameterError(f"'{name}' is neither a cause nor a runbook with records; {hint}")


def find_similar(
    outputs: Path, outcome: RunOutcome, *, limit: int = SHOWN, limit_seconds: float = math.inf
) -> list[EarlierIncident]:
    """Incidents before *outcome* with causes or error signatures of it; those with the most first, then the newest.

    Also those in which a runbook found something that *outcome* names as the next. ``causes`` and ``signatures`` are those in
    common, ``likeness`` is what share of *outcome*'s own they are.
    """
    wanted = [feature for feature in features(outcome) if feature[0] in ("cause", "signature")]
    wanted += [("runbook", name) for name in outcome.next_runbooks]
    values = (json.dumps(wanted), outcome.incident or outcome.run or "", iso(outcome.started) or "9", limit)
    rows = ask(outputs, lambda index: index.execute(_SIMILAR, values).fetchall(), limit_seconds=limit_seconds)
    return [_earlier(row, len(wanted)) for row in rows]


def seen_before(outputs: Path, outcome: RunOutcome, *, limit: int = IN_BANNER) -> list[EarlierIncident]:
    """What a finished record says of earlier incidents; nothing where that cannot be told, since no run fails for it."""
    try:
        return find_similar(outputs, outcome, limit=limit, limit_seconds=BANNER_SECONDS)
    except (OSError, ValueError, sqlite3.Error, FlowrexOpsError):
        return []


def earlier_incidents(investigation: Investigation) -> pd.DataFrame:
    """For triage: incidents that were like what *investigation* has found so far."""
    import pandas as pd

    rows = [
        {
            **one.to_dict(),
            "started": f"{one.started:%Y-%m-%d %H:%M}" if one.started else "",
            "in_common": one.in_common,
            "resolved_by": ", ".join(one.resolved_by),
        }
        for one in seen_before(investigation.settings.outputs, investigation.outcome, limit=SHOWN)
    ]
    return pd.DataFrame(rows, columns=["incident", "started", "severity", "diagnosis", "in_common", "resolved_by"])


def _hit(row: sqlite3.Row) -> dict[str, Any]:
    about = RecordMetadata.model_validate_json(row["metadata"])
    found = features(about)
    reported: dict[str, Any] = {name: value for name, value in about.to_dict().items() if name in _HIT}
    reported["causes"] = [value for kind, value in found if kind == "cause"]
    reported["resolved_by"] = [value for kind, value in found if kind == "resolved"]
    return {"id": row["id"], "incident": row["incident"], **reported, "excerpt": " ".join(row["excerpt"].split())}


def _earlier(row: sqlite3.Row, wanted: int) -> EarlierIncident:
    about = RecordMetadata.model_validate_json(row["metadata"])
    return EarlierIncident(
        incident=row["incident"],
        record=row["record"],
        **{name: getattr(about, name) for name in ("started", "title", "severity", "diagnosis")},
        **{name: json.loads(row[name]) for name in ("causes", "signatures", "resolved_by")},
        likeness=round(row["shared"] / wanted, 3),
    )
