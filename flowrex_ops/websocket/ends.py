"""Connections of which only the proxy's access log tells, without a close code: what their ages and moments say.

A restart ends many at once, just before a replica starts; a timeout ends each after the same time. What is neither may be people who
leave, and is attributed to nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from flowrex_ops.websocket.upgraded import UNREPORTED

BURST_SECONDS = 2.0
"""Connections that end within so long of one another ended of one event."""

START_SECONDS = 15.0
"""So long a container takes at most from its stop, which ends its connections, to its next start."""

ENOUGH = 3
MOST = 0.6
_TOLERANCE_SECONDS = 1.5
"""Access logs tell whole seconds, and the backend logs a connection a little after the proxy has sent it."""
_ELSEWHERE = (0.6, 0.8, 1.25, 1.6)
"""Parts of the timeout at which as many pairs would be found if they were found by chance; no multiple, for clients come back at once."""


def ages_by_openings(closings: pd.DataFrame, openings: Sequence[datetime], timeouts: Sequence[float]) -> pd.Series:
    """The age (seconds) of connections whose log tells none: a timeout, where most began just so long before they ended.

    One value for each row of *closings*, missing where it stays unknown.
    """
    ages = pd.Series(float("nan"), index=closings.index)
    rows = closings[closings["recent"].isin([True]) & closings["at"].notna()].sort_values("at")
    ends = [at.timestamp() for at in rows["at"]]
    begins = sorted(at.timestamp() for at in openings)
    for timeout in timeouts:
        pairs = _pairs(ends, begins, timeout)
        # The mean, for clients that came back at once from one earlier break pair up at one of these places, too.
        by_chance = sum(len(_pairs(ends, begins, timeout * part)) for part in _ELSEWHERE) / len(_ELSEWHERE)
        if len(pairs) >= max(ENOUGH, MOST * len(ends)) and by_chance <= len(pairs) / 2:
            ages.loc[rows.index[pairs]] = timeout
            break
    return ages


def _pairs(ends: Sequence[float], begins: Sequence[float], apart: float) -> list[int]:
    """Which of *ends* have a beginning of their own so long before; both in order of time."""
    found, free = [], 0
    for position, end in enumerate(ends):
        while free < len(begins) and begins[free] < end - apart - _TOLERANCE_SECONDS:
            free += 1
        if free < len(begins) and begins[free] <= end - apart + _TOLERANCE_SECONDS:
            found.append(position)
            free += 1
    return found


def in_bursts(closings: pd.DataFrame, *, few: int = ENOUGH) -> pd.Series:
    """Whether each connection ended together with *few* or more others, within ``BURST_SECONDS``; only untold ones."""
    unreported = closings[closings["code"].eq(UNREPORTED) & closings["at"].notna()].sort_values("at")
    seconds = [at.timestamp() for at in unreported["at"]]
    half = BURST_SECONDS / 2
    inside = [bisect_right(seconds, one + half) - bisect_left(seconds, one - half) >= few for one in seconds]
    return pd.Series(inside, index=unreported.index, dtype=bool).reindex(closings.index, fill_value=False)


def before_a_start(closings: pd.DataFrame, starts: Sequence[datetime]) -> pd.Series:
    """Whether each connection ended at a start of a replica, or while one was being made anew."""
    return closings["at"].map(
        lambda at: (
            any(-START_SECONDS <= (at - start).total_seconds() <= 1 for start in starts) if pd.notna(at) else False
        )
    )
