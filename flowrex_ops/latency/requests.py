"""Tables of request times, counted."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import whole
from flowrex_ops.logs.request_counts import total_of
from flowrex_ops.logs.request_times import NOT_SLOW, PARTS, TIME_COLUMNS, UNTIMED

CLIENT = PARTS[0]


def complete(times: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``TIME_COLUMNS`` that have a moment and a number, with nothing else missing in them but ``took``."""
    rows = whole(times, TIME_COLUMNS)
    texts = {name: rows[name].fillna("").astype(str) for name in ("route", "replica", "version", "slow_in")}
    numbers = {name: pd.to_numeric(rows[name], errors="coerce").fillna(0) for name in ("requests", *PARTS)}
    at = pd.to_datetime(rows["at"], utc=True, errors="coerce")
    rows = rows.assign(**texts, **numbers, at=at, took=pd.to_numeric(rows["took"], errors="coerce"))
    return rows[rows["at"].notna() & rows["requests"].gt(0)]


def is_slow(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of slow requests."""
    return ~rows["slow_in"].isin([NOT_SLOW, UNTIMED, ""])


def share_of(rows: pd.DataFrame) -> float:
    """The share of slow requests among *rows*, without those that their clients made slow."""
    return total_of(rows[is_slow(rows) & rows["slow_in"].ne(CLIENT)]) / max(1, total_of(rows))
