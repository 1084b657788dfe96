"""Memory read as numbers: what each replica uses of its limit, how it moves, and what Redis did over a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median
from typing import Any

import pandas as pd

from flowrex_ops.memory.redis import REDIS_COLUMNS
from flowrex_ops.memory.source import ENOUGH_SAMPLES, PROMETHEUS, SAMPLED

TREND_COLUMNS = [
    "replica",
    "origin",
    "used_bytes",
    "limit_bytes",
    "share",
    "bytes_per_minute",
    "minutes_to_limit",
    "grows",
    "rises",
    "points",
    "minutes",
]
QUARTERS = 4
FEW_POINTS = ENOUGH_SAMPLES
MOST_POINTS = 60
"""The slope compares each pair of points; more would cost time and tell no more."""

ENOUGH_OF_WINDOW = 0.5
_RESTARTED = 0.6
"""A replica that fell to this share of what it used, and below what it began with, was restarted."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series moves. ``rising``: each quarter of the time lies above the one before, so no single step does it."""

    bytes_per_minute: float = 0.0
    risen_bytes: float = 0.0
    rising: bool = False
    points: int = 0
    minutes: float = 0.0
    still: bool = False
    """Whether it goes up at the end: the last quarter lies above the one before."""


# Growth in each quarter of the window, and the median slope over all pairs of points (Theil and Sen): a step, a hill
# and an outlier do not do that. What lies before a fall to under 60 % belongs to a process that is gone. A leak is
# ruled out only where half of the window was seen.
def get_trend(points: pd.DataFrame) -> Trend:
    """The trend of one series (at, value), by the median slope of all pairs (Theil and Sen): outliers do not bend it."""
    known = points.dropna().sort_values(["at", "value"])
    known = known[known["value"].map(math.isfinite)].drop_duplicates("at")
    if len(known) < 2:  # noqa: PLR2004  # two points make a slope
        return Trend(points=len(known))
    seconds = [(at - known["at"].iloc[0]).total_seconds() for at in known["at"]]
    values = [float(value) for value in known["value"]]
    parts = [
        [v for s, v in zip(seconds, values, strict=True) if _quarter(s, seconds[-1]) == q] for q in range(QUARTERS)
    ]
    levels = [median(part) for part in parts if part]
    step = max(1, len(values) // MOST_POINTS)
    pairs = combinations(list(zip(seconds, values, strict=True))[::step], 2)
    slopes = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs if after[0] > before[0]]
    enough = len(values) >= FEW_POINTS
    rising = enough and len(levels) == QUARTERS and all(b > a for a, b in pairwise(levels))
    if not slopes:
        return Trend(points=len(values))
    still = levels[-1] > levels[-2]
    return Trend(60 * median(slopes), levels[-1] - levels[0], rising, len(values), seconds[-1] / 60, still)


def _quarter(second: float, last: float) -> int:
    return min(QUARTERS - 1, int(QUARTERS * second / last)) if last > 0 else 0


def get_trends(
    memory: pd.DataFrame, *, trend_minutes: float = 30.0, leak_hours: float = 6.0, leak_mib: float = 4.0
) -> pd.DataFrame:
    """How each replica stands to its limit and moves; columns ``TREND_COLUMNS``, the fullest first.

    Takes ``MemorySource.get_memory``. ``used_bytes`` leaves page cache out, for the kernel takes that back. ``grows``: it
    rises all the time, by *leak_mib* or more, and reaches its limit within *leak_hours* (with no limit: twice its size).
    ``rises``: it does so on the whole and at the end, though not all the time, or was seen too seldom to tell. ``points``
    and ``minutes`` are what the trend stands on.
    """
    rows = [
        _replica_row(str(name), part, trend_minutes, leak_hours, leak_mib) for name, part in memory.groupby("replica")
    ]
    frame = pd.DataFrame(rows, columns=TREND_COLUMNS)
    return frame.sort_values(["share", "used_bytes", "replica"], ascending=[False, False, True], ignore_index=True)


def _replica_row(
    name: str, part: pd.DataFrame, trend_minutes: float, leak_hours: float, leak_mib: float
) -> tuple[Any, ...]:
    part = part.assign(value=(part["used_bytes"] - part["cache_bytes"].fillna(0)).clip(lower=0))
    # Of two rows of one moment it must not matter which came first.
    part = part.sort_values(["at", "value", "limit_bytes"])
    series, origin = _best_series(part, trend_minutes)
    trend = get_trend(series)
    now = part[part["origin"].eq(SAMPLED)]
    now = now if len(now) else part[part["origin"].eq(PROMETHEUS)].tail(3)
    used = float(now["value"].iloc[-1] if trend.still else now["value"].median())
    limits = part["limit_bytes"].dropna()
    limit = float(limits.iloc[-1]) if len(limits) else math.nan
    room = limit - used if limit > 0 else used
    minutes = max(0.0, room) / trend.bytes_per_minute if trend.bytes_per_minute > 0 else math.inf
    soon = trend.risen_bytes >= leak_mib * 2**20 and minutes <= 60 * leak_hours
    share = used / limit if limit > 0 else math.nan
    moves = (trend.bytes_per_minute, minutes, trend.rising and soon, trend.still and soon, trend.points, trend.minutes)
    return (name, origin, used, limit, share, *moves)


def _best_series(part: pd.DataFrame, trend_minutes: float) -> tuple[pd.DataFrame, str]:
    """Prometheus' points of the last minutes where they cover half of them since the last start, else the samples."""
    for origin, minutes in ((PROMETHEUS, trend_minutes), (SAMPLED, math.inf)):
        series = part[part["origin"].eq(origin)][["at", "value"]]
        if minutes < math.inf and len(series):
            series = series[series["at"] >= series["at"].max() - pd.Timedelta(minutes=minutes)]
        series = _since_restart(series)
        if len(series) >= FEW_POINTS:
            covered = (series["at"].max() - series["at"].min()).total_seconds() / 60
            if minutes == math.inf or covered >= ENOUGH_OF_WINDOW * minutes:
                return series, origin
    return part[part["origin"].eq(SAMPLED)][["at", "value"]], SAMPLED


def _since_restart(series: pd.DataFrame) -> pd.DataFrame:
    """What came after the last fall to a fraction: a process that was started anew has nothing to do with the one before."""
    values = series["value"].tolist()
    falls = [place for place in range(1, len(values)) if values[place] < _RESTARTED * values[place - 1]]
    return series.iloc[falls[-1] :] if falls else series


@dataclass(frozen=True, slots=True)
class RedisWindow:
    """Redis over a window: how it stands now and what changed meanwhile. ``share`` is NaN without ``maxmemory``."""

    used_bytes: float
    max_bytes: float
    capacity_bytes: float
    share: float
    policy: str
    evicted_per_second: float
    rejected: float
    rejected_before: float
    trend: Trend
    fragmentation_ratio: float
    fragmentation_bytes: float
    seconds: float
    samples: int
    unreported: tuple[str, ...]
    """Columns that no sample had."""
    refused: str
    """Sections of ``INFO`` that the user may not ask for."""

    @property
    def minutes_to_full(self) -> float:
        """Until the capacity is reached if it goes on like this; infinite where it does not grow, or nobody tells the capacity."""
        if not self.capacity_bytes:
            return math.inf
        room = max(0.0, self.capacity_bytes - self.used_bytes)
        return room / self.trend.bytes_per_minute if self.trend.bytes_per_minute > 0 else math.inf


def get_redis_window(samples: pd.DataFrame) -> RedisWindow | None:
    """One window out of ``RedisSource.sample_memory``; None where it holds no sample."""
    known = samples.dropna(subset=["at", "used_bytes"]).sort_values(REDIS_COLUMNS)
    if known.empty:
        return None
    first, last = known.iloc[0], known.iloc[-1]
    seconds = max(0.001, (last["at"] - first["at"]).total_seconds())
    maximum = _number(last["max_bytes"])
    capacity = maximum or _number(last["system_bytes"])
    points = known[["at", "used_bytes"]].rename(columns={"used_bytes": "value"})
    return RedisWindow(
        used_bytes=_number(last["used_bytes"]),
        max_bytes=maximum,
        capacity_bytes=capacity,
        share=_number(last["used_bytes"]) / maximum if maximum > 0 else math.nan,
        policy=str(last["policy"]),
        evicted_per_second=max(0.0, _number(last["evicted_keys"]) - _number(first["evicted_keys"])) / seconds,
        rejected=max(0.0, _number(last["rejected_writes"]) - _number(first["rejected_writes"])),
        rejected_before=_number(first["rejected_writes"]),
        trend=get_trend(points),
        fragmentation_ratio=_number(known["fragmentation_ratio"].median()),
        fragmentation_bytes=_number(known["fragmentation_bytes"].median()),
        seconds=seconds,
        samples=len(known),
        unreported=tuple(column for column in REDIS_COLUMNS if known[column].isna().all()),
        refused=str(last["refused"] or ""),
    )


def redis_frame(samples: pd.DataFrame) -> pd.DataFrame:
    """The window as people read it: what, value."""
    window = get_redis_window(samples)
    if window is None:
        return pd.DataFrame(columns=["what", "value"])
    fragmentation = f"ratio {window.fragmentation_ratio:.2f}, {size(window.fragmentation_bytes)} of no use"
    limit = size(window.max_bytes) + f" ({window.share:.0%} used)" if window.max_bytes else "no limit"
    rows = [
        (
            "used",
            "used_bytes",
            f"{size(window.used_bytes)}, at most {size(_number(samples['peak_bytes'].max()))} so far",
        ),
        ("maxmemory", "max_bytes", limit),
        ("policy", "policy", window.policy),
        ("change", "at", f"{window.trend.bytes_per_minute / 2**20:+.1f} MiB a minute, over {window.seconds:.0f} s"),
        ("evicted", "evicted_keys", f"{window.evicted_per_second:.0f} keys a second"),
        ("writes rejected", "rejected_writes", f"{window.rejected:.0f} meanwhile, {window.rejected_before:.0f} before"),
        ("fragmentation", "fragmentation_ratio", fragmentation),
        ("keys", "keys", f"{_number(samples['keys'].max()):,.0f} in all databases"),
    ]
    unknown = f"not known: INFO {window.refused} is not allowed" if window.refused else "not known"
    reported = [(what, unknown if column in window.unreported else value) for what, column, value in rows]
    return pd.DataFrame(reported, columns=["what", "value"])


def reported_prefixes(keys: pd.DataFrame) -> pd.Series:
    """The prefixes as people read them: with their database, unless all keys lie in the one that everybody takes first."""
    if keys["database"].eq(0).all():
        return keys["prefix"].astype(str)
    return keys["prefix"].astype(str) + " in database " + keys["database"].astype(str)


def trends_over(trend_minutes: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A view of ``MemorySource.get_memory``: how each replica stands, and how it moved over so many minutes."""

    def trends(memory: pd.DataFrame) -> pd.DataFrame:
        return _trend_frame(get_trends(memory, trend_minutes=trend_minutes))

    return trends


def _trend_frame(trends: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (
            row.replica,
            size(row.used_bytes),
            size(row.limit_bytes) if row.limit_bytes > 0 else "none",
            f"{row.share:.0%}" if row.limit_bytes > 0 else "",
            f"{row.bytes_per_minute / 2**20:+.1f} MiB/min",
            row.origin,
        )
        for row in trends.itertuples()
    ]
    return pd.DataFrame(rows, columns=["replica", "used", "limit", "share", "change", "trend by"])


def size(value: float) -> str:
    """``230.0 MiB``; ``1.5 GiB`` from there on, ``24 KiB`` where it would be less than 0.1 MiB."""
    if not math.isfinite(value):
        return "unknown"
    if 0 < abs(value) < 2**20 / 10:
        return f"{value / 2**10:.0f} KiB"
    return f"{value / 2**30:.1f} GiB" if abs(value) >= 2**30 else f"{value / 2**20:.1f} MiB"


def minutes_text(minutes: float) -> str:
    """``90 s``, ``12 min`` or ``3.5 h``."""
    if not math.isfinite(minutes):
        return "never"
    if minutes < 2:  # noqa: PLR2004  # below two minutes seconds say more
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004  # two hours


def _number(value: Any) -> float:
    number = float(value) if value is not None and not pd.isna(value) else 0.0
    return number if math.isfinite(number) else 0.0
