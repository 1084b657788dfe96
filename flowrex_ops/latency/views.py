"""How long requests took, as people read it."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.latency.requests import complete, is_slow
from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.logs.request_counts import total_of
from flowrex_ops.logs.request_times import PARTS

MEANS = {part: f"{part.replace(' ', '_')}_ms" for part in PARTS}


def times_by_route(log: AccessLog) -> pd.DataFrame:
    """Recent requests by route, the most slow ones first: requests, slow, p50, p95 and p95 before, and each part's mean.

    Times are in milliseconds; percentiles are right to a fifth.
    """
    return _times_by(log, "route")


def times_by_replica(log: AccessLog) -> pd.DataFrame:
    """The same by the replica that was asked last."""
    return _times_by(log, "replica")


def times_by_release(log: AccessLog) -> pd.DataFrame:
    """The same by the release that answered."""
    return _times_by(log, "version").rename(columns={"version": "release"})


def percentile(rows: pd.DataFrame, share: float) -> float:
    """Seconds within which *share* of the requests were answered; not a number where none was timed."""
    timed = rows[rows["took"].notna()].sort_values("took")
    reached = timed[timed["requests"].cumsum().ge(share * timed["requests"].sum())]
    return float(reached["took"].iloc[0]) if len(reached) else float("nan")


def _times_by(log: AccessLog, column: str) -> pd.DataFrame:
    rows = complete(log.times)
    is_recent = rows["at"].ge(log.recent_since.replace(microsecond=0))
    found = []
    for name, part in rows[is_recent].groupby(column):
        earlier = rows[~is_recent & rows[column].eq(name)]
        times = (percentile(part, 0.5), percentile(part, 0.95), percentile(earlier, 0.95))
        means = (part[one].sum() / total_of(part) for one in PARTS)
        in_milliseconds = (round(1000 * seconds, 1) for seconds in (*times, *means))
        found.append((name or "(none)", total_of(part), total_of(part[is_slow(part)]), *in_milliseconds))
    frame = pd.DataFrame(
        found, columns=[column, "requests", "slow", "p50_ms", "p95_ms", "p95_before_ms", *MEANS.values()]
    )
    return frame.sort_values(["slow", "p95_ms", column], ascending=[False, False, True], ignore_index=True)
