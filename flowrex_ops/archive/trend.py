"""How often a cause was found, or a runbook ran, and how long the incidents lasted: over the archive, by day, week or month."""

from __future__ import annotations

import io
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.archive.index import ask
from flowrex_ops.archive.outcome import iso
from flowrex_ops.archive.search import OF_CAUSE, is_cause
from flowrex_ops.chart_style import BLUE, INK, PAPER, new_figure
from flowrex_ops.errors import ParameterError
from flowrex_ops.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DAYS = {"day": 0.8, "week": 5.6, "month": 24.0}
"""How wide a period's bar is."""
_SQL = """
SELECT r.incident, i.started AS began, min(r.started) AS started, i.resolved, max(r.ended) AS ended, min(nullif(r.severity, '')) AS severity,
    (SELECT group_concat(DISTINCT f.value) FROM features f JOIN records o ON o.number = f.record
     WHERE o.incident = r.incident AND f.kind = 'resolved') AS resolved_by
FROM records r JOIN incidents i ON i.id = r.incident
WHERE {condition} AND r.started >= ? AND r.started < ? GROUP BY r.incident ORDER BY started
"""


@dataclass(frozen=True, slots=True)
class Trend:
    """A cause or a runbook over time, ``period`` is day, week or month.

    ``incidents``: ``incident``, ``started``, ``minutes`` (to its end, or while it is not resolved to the end of its last record),
    ``resolved``, ``severity``, ``resolved_by``; the oldest first. ``periods``: ``begins`` (a UTC midnight), ``times``,
    ``median_minutes``, ``longest_minutes``; also those in which there was none.
    """

    what: str
    is_cause: bool
    period: str
    incidents: pd.DataFrame
    periods: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """As ``records trend --json`` prints it: times in ISO 8601, nothing known is null."""
        frames = {"incidents": self.incidents, "periods": self.periods}
        tables = {
            name: json.loads(frame.to_json(orient="records", date_format="iso")) for name, frame in frames.items()
        }
        return {"what": self.what, "kind": "cause" if self.is_cause else "runbook", "period": self.period, **tables}


def get_trend(outputs: Path, what: str, *, since: datetime | None = None, until: datetime | None = None) -> Trend:
    """The trend of a cause or a runbook from *since* (the first one, where left out) to *until* (now). ParameterError for what is neither."""
    until = until or datetime.now(UTC)

    def read(index: sqlite3.Connection) -> tuple[bool, pd.DataFrame]:
        cause = is_cause(index, what)
        sql = _SQL.format(condition=OF_CAUSE if cause else "r.runbook = ?")
        values = (f"{what}.*" if cause else what, iso(since) or "", iso(until))
        return cause, pd.read_sql_query(sql, index, params=values)

    cause, found = ask(outputs, read)
    for name in ("began", "started", "resolved", "ended"):
        found[name] = pd.to_datetime(found[name], utc=True, format="ISO8601", errors="coerce")
    started = found[["began", "started"]].min(axis=1)
    ended = found["resolved"].fillna(found["ended"]).fillna(started)
    found["minutes"] = ((ended - started).dt.total_seconds().clip(lower=0) / 60).round(2)
    incidents = found.assign(started=started, resolved=found["resolved"].notna())[started.notna()]
    incidents = incidents[["incident", "started", "minutes", "resolved", "severity", "resolved_by"]]
    incidents = incidents.fillna({"severity": "", "resolved_by": ""})
    begin = pd.Timestamp(since or (started.min() if len(found) else until))
    days = (until - begin).days
    period, rule = ("day", "D") if days <= 62 else ("week", "W") if days <= 540 else ("month", "M")  # noqa: PLR2004  # what can be read
    return Trend(what, cause, period, incidents, _by_period(incidents, begin, pd.Timestamp(until), rule))


def plot_trend(periods: pd.DataFrame, *, what: str, period: str) -> Figure:
    """A bar a day (week, month) with the number of incidents, and above it how long half of them lasted at most."""
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(3.4)
    bars = axes.bar(periods["begins"], periods["times"], width=_DAYS[period], align="edge", color=BLUE, edgecolor=PAPER)
    axes.bar_label(
        bars, ["" if pd.isna(minutes) else f"{minutes:.3g}" for minutes in periods["median_minutes"]], color=INK
    )
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]  # of matplotlib
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"times a {period}", color=INK)
    axes.set_xlabel("began (UTC); above the bars: median length in minutes", color=INK)
    axes.set_title(f"{what}: {int(periods['times'].sum())} times")
    return figure


def draw_trend(found: Trend, file: Path) -> None:
    """Write the chart of *found* to *file*. ParameterError where that is no PNG, RecordError where it cannot be written."""
    if file.suffix.lower() != ".png":
        raise ParameterError(f"--output: '{file}' is not a PNG file; give a name that ends with .png")
    picture = io.BytesIO()
    plot_trend(found.periods, what=found.what, period=found.period).savefig(picture, format="png")
    write_atomic(file, picture.getvalue())


def _by_period(incidents: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp, rule: str) -> pd.DataFrame:
    begins = incidents["started"].dt.tz_localize(None).dt.to_period(rule)
    found = incidents.groupby(begins)["minutes"].agg(times="size", median_minutes="median", longest_minutes="max")
    every = pd.period_range(*(at.tz_convert(None).to_period(rule) for at in (begin, end)), name="begins")
    found = found.reindex(every).fillna({"times": 0}).astype({"times": int})
    return found.set_axis(found.index.to_timestamp().tz_localize("UTC")).rename_axis("begins").reset_index()
