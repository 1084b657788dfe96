"""How often a cause was found, or a runbook ran, and how long the incidents lasted: over the archive, by day, week or month."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.archive.index import ask
from flowrex_ops.causes import find_causes
from flowrex_ops.errors import ParameterError

INCIDENT_COLUMNS = ["incident", "started", "minutes", "resolved", "severity", "resolved_by"]
PERIOD_COLUMNS = ["begins", "times", "median_minutes", "longest_minutes"]
_LONGEST_IN_DAYS, _LONGEST_IN_WEEKS = 62, 540
_SQL = """
SELECT r.incident, min(r.started) AS first, max(r.ended) AS last, i.started AS began, i.resolved, min(r.severity) AS severity,
    (SELECT group_concat(DISTINCT t.value) FROM traits t JOIN records o ON o.number = t.record
     WHERE o.incident = r.incident AND t.kind = 'resolved') AS resolved_by
FROM records r LEFT JOIN incidents i ON i.id = r.incident
WHERE {condition} AND r.started >= ? GROUP BY r.incident ORDER BY first
"""


@dataclass(frozen=True, slots=True)
class Trend:
    """A cause or a runbook over time.

    ``incidents``: columns ``INCIDENT_COLUMNS``, oldest first; ``minutes`` from the incident's start to its end, or while it
    is not resolved to the end of its last record. ``periods``: columns ``PERIOD_COLUMNS``, also those in which there was none;
    ``begins`` is a UTC midnight, ``period`` is day, week or month.
    """

    what: str
    is_cause: bool
    period: str
    incidents: pd.DataFrame
    periods: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """As ``records trend --json`` prints it: times in ISO 8601, nothing known is null."""
        tables = {name: _plain(getattr(self, name)) for name in ("incidents", "periods")}
        return {"what": self.what, "kind": "cause" if self.is_cause else "runbook", "period": self.period, **tables}


def get_trend(outputs: Path, what: str, *, since: datetime | None = None, until: datetime | None = None) -> Trend:
    """The trend of a cause or a runbook from *since* (the first one, where left out) to *until* (now). ParameterError for what is neither."""
    rows, is_cause = ask(outputs, lambda index: _read(index, what, since))
    incidents = pd.DataFrame([_incident(row) for row in rows], columns=INCIDENT_COLUMNS)
    end = until or datetime.now(UTC)
    incidents = incidents[incidents["started"].lt(end)] if len(incidents) else incidents
    begin = since or (incidents["started"].min() if len(incidents) else end)
    days = (end - begin).days
    period, rule = (
        ("day", "D")
        if days <= _LONGEST_IN_DAYS
        else ("week", "W-MON")
        if days <= _LONGEST_IN_WEEKS
        else ("month", "MS")
    )
    return Trend(what, is_cause, period, incidents, _periods(incidents, begin, end, rule))


def _read(index: sqlite3.Connection, what: str, since: datetime | None) -> tuple[list[sqlite3.Row], bool]:
    causes = {
        *find_causes(),
        *(row[0] for row in index.execute("SELECT DISTINCT value FROM traits WHERE kind = 'cause'")),
    }
    runbooks = {row[0] for row in index.execute("SELECT DISTINCT runbook FROM records")}
    if what not in causes | runbooks:
        near = difflib.get_close_matches(what, sorted(causes | runbooks), n=1, cutoff=0.4)
        hint = (
            f"did you mean '{near[0]}'?"
            if near
            else "'flowrex-ops runbooks' lists the runbooks, docs/causes.md the causes"
        )
        raise ParameterError(f"'{what}' is neither a cause nor a runbook with records; {hint}")
    is_cause = what in causes
    condition = "EXISTS (SELECT 1 FROM traits t WHERE t.record = r.number AND t.kind = 'cause' AND t.value = ?)"
    sql = _SQL.format(condition=condition if is_cause else "r.runbook = ?")
    begin = since.astimezone(UTC).isoformat(timespec="milliseconds") if since else ""
    return index.execute(sql, (what, begin)).fetchall(), is_cause


def _incident(row: sqlite3.Row) -> tuple[Any, ...]:
    """A record that was brought in later began before its incident did."""
    begins = [moment for moment in (_moment(row["began"]), _moment(row["first"])) if moment]
    start = min(begins)
    resolved = _moment(row["resolved"])
    end = resolved or _moment(row["last"]) or start
    minutes = max(0.0, (end - start).total_seconds() / 60)
    return (
        row["incident"],
        start,
        round(minutes, 2),
        resolved is not None,
        row["severity"] or "",
        row["resolved_by"] or "",
    )


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment and moment.tzinfo else moment.replace(tzinfo=UTC) if moment else None


def _periods(incidents: pd.DataFrame, begin: datetime, end: datetime, rule: str) -> pd.DataFrame:
    first = pd.Timestamp(begin).tz_convert("UTC").normalize()
    if rule == "W-MON":
        first -= pd.Timedelta(days=first.weekday())
    if rule == "MS":
        first = first.replace(day=1)
    starts = pd.date_range(first, pd.Timestamp(end), freq=rule, tz="UTC")
    rows = [_period(incidents, at, after) for at, after in zip(starts, [*starts[1:], pd.Timestamp(end)], strict=True)]
    return pd.DataFrame(rows, columns=PERIOD_COLUMNS)


def _period(incidents: pd.DataFrame, at: pd.Timestamp, after: pd.Timestamp) -> Sequence[Any]:
    if incidents.empty:
        return at, 0, None, None
    minutes = incidents.loc[incidents["started"].ge(at) & incidents["started"].lt(after), "minutes"]
    return at, len(minutes), minutes.median() if len(minutes) else None, minutes.max() if len(minutes) else None


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(k): v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()} for row in rows]
