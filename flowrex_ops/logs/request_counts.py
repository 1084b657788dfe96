"""How many requests the rows of a table are, for whoever tells what fails or is slow from noise."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

_LATELY = 0.2


def total_of(rows: pd.DataFrame) -> int:
    """How many requests *rows* are."""
    return int(rows["requests"].sum())


def most(rows: pd.DataFrame, column: str) -> tuple[str, int]:
    """The value of *column* with the most requests, and how many; the first by name where several have."""
    sums = rows.groupby(column)["requests"].sum()
    if sums.empty:
        return "", 0
    number = int(sums.max())
    return min(str(name) for name in sums[sums.eq(number)].index), number


def largest_share(
    rows: pd.DataFrame, requests: pd.DataFrame, *, least: int, until: datetime | None, window: timedelta
) -> float:
    """What *rows* are at most of the *requests* on one of their routes, or on all of them: in all, or in the last fifth of *window*.

    Fewer than *least* are no share. What goes wrong since a minute is few among the many good answers of the minutes before.
    """
    lately = None if until is None else until - _LATELY * window
    shares = [0.0]
    for since in {None, lately}:
        mine, asked = (
            (part if since is None else part[part["at"].ge(since)]).groupby("route", dropna=False)["requests"].sum()
            for part in (rows, requests)
        )
        asked = asked.reindex(mine.index, fill_value=0)
        sums = [*zip(mine, asked, strict=True), (mine.sum(), asked.sum())]
        shares += [ours / max(1, ours, of) for ours, of in sums if ours >= least]
    return float(max(shares))
