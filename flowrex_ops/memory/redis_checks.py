"""What Redis does with its memory: it rejects, evicts, fills up, or holds what it cannot use. At most one of the first three.

Full and rejecting comes before evicting (``volatile-*`` may do both), and either before filling up.

Fragmentation is the allocator's where that is jemalloc, else resident by used; it must cost bytes too, for an almost
empty Redis has a large ratio.
"""

from __future__ import annotations

import math

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.memory import views as m
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

Frame = Reading[pd.DataFrame]
NOTHING = "Redis was asked and told nothing"
_FULL = 0.97
_TREND_SAMPLES = 3
_MIB = 2**20
_GROWN_SHARE = 0.5
"""From this part of the growth on, one prefix is said to be what grows."""


@check("memory.redis-rejecting")
def check_redis_rejecting(redis: Frame, keys: Frame) -> Verdict:
    """Redis takes writes: none is refused for want of memory, and under ``noeviction`` there is room."""
    cause = "memory.redis-rejecting"
    window = _window(redis)
    if window is None:
        return _unknown(cause, redis)
    if not _rejects(window):
        counted = () if window.max_bytes == 0 or window.share < _FULL else ("rejected_writes",)
        if blind := _blind(window, "max_bytes", *counted, samples=2 if window.max_bytes else 1):
            return inconclusive(cause, blind)
        if "rejected_writes" in window.unreported:
            return ruled_out(cause, f"there is room: {_fill(window)}")
        before = f"; {window.rejected_before:.0f} were, before" if window.rejected_before else ""
        return ruled_out(
            cause, f"no write was rejected for want of memory in {window.seconds:.0f} s, {_fill(window)}{before}"
        )
    evidence = [
        Evidence("writes rejected", f"{window.rejected:.0f} in {window.seconds:.0f} s", "INFO errorstats"),
        Evidence("memory", f"{_fill(window)}, policy {window.policy}", "INFO memory"),
        *_largest(keys),
    ]
    title = f"Redis is full ({m.size(window.max_bytes)}) and rejects writes"
    return confirmed(cause, f"{title}; policy {window.policy}{_mostly(keys)}", evidence, title=title)


@check("memory.redis-evicting")
def check_redis_evicting(redis: Frame, keys: Frame, *, evicted_per_second: float = 1.0) -> Verdict:
    """Redis does not throw away *evicted_per_second* keys or more to stay below ``maxmemory``."""
    cause = "memory.redis-evicting"
    window = _window(redis)
    if window is None:
        return _unknown(cause, redis)
    said = f"{window.evicted_per_second:.1f} keys a second were evicted, {_fill(window)}"
    if not _evicts(window, evicted_per_second) and (blind := _blind(window, "evicted_keys", samples=2)):
        return inconclusive(cause, blind)
    if _rejects(window) or not _evicts(window, evicted_per_second):
        return ruled_out(cause, said)
    evidence = [
        Evidence("evicted", f"{window.evicted_per_second:.0f} keys a second", "INFO stats"),
        Evidence("memory", f"{_fill(window)}, policy {window.policy}", "INFO memory"),
        *_largest(keys),
    ]
    title = f"Redis throws away {window.evicted_per_second:.0f} keys a second"
    return confirmed(cause, f"{title}: {_fill(window)}, policy {window.policy}{_mostly(keys)}", evidence, title=title)


@check("memory.redis-growth")
def check_redis_growth(
    redis: Frame,
    keys: Frame,
    *,
    redis_share: float = 0.75,
    full_hours: float = 6.0,
    growth_mib: float = 0.25,
    evicted_per_second: float = 1.0,
) -> Verdict:
    """Redis has room: less than *redis_share* of ``maxmemory`` is used, and at this rate it lasts for *full_hours*."""
    cause = "memory.redis-growth"
    window = _window(redis)
    if window is None:
        return _unknown(cause, redis)
    if _rejects(window) or _evicts(window, evicted_per_second):
        return ruled_out(cause, f"it is full already, {_fill(window)}: what that leads to is judged above")
    grows = (
        window.trend.rising
        and window.trend.risen_bytes >= growth_mib * _MIB
        and window.minutes_to_full <= 60 * full_hours
    )
    if not grows and not window.share >= redis_share and (blind := _blind(window, "max_bytes", samples=_TREND_SAMPLES)):
        return inconclusive(cause, blind)
    if not grows and not window.share >= redis_share:
        return ruled_out(cause, f"{_fill(window)}, {window.trend.bytes_per_minute / _MIB:+.1f} MiB a minute")
    speed = f"{window.trend.bytes_per_minute / _MIB:+.1f} MiB a minute"
    evidence = [
        Evidence("memory", f"{_fill(window)}, policy {window.policy}", "INFO memory"),
        Evidence("change", f"{speed} over {window.seconds:.0f} s", "INFO memory"),
        *_growing(keys),
        *_largest(keys),
    ]
    title = (
        f"Redis grows by {window.trend.bytes_per_minute / _MIB:.1f} MiB a minute"
        if grows
        else f"Redis is nearly full: {_fill(window)}"
    )
    end = f"; full in {m.minutes_text(window.minutes_to_full)}" if grows else ""
    severity = Severity.P1 if window.share >= _FULL else Severity.P2
    return confirmed(cause, f"{title}{end}{_mostly(keys)}", evidence, severity=severity, title=title)


@check("memory.redis-fragmentation")
def check_redis_fragmentation(redis: Frame, *, frag_ratio: float = 1.5, frag_mib: float = 64.0) -> Verdict:
    """Redis' allocator holds less than *frag_ratio* times what is used, or the difference is below *frag_mib*."""
    cause = "memory.redis-fragmentation"
    window = _window(redis)
    if window is None:
        return _unknown(cause, redis)
    if blind := _blind(window, "fragmentation_ratio", "fragmentation_bytes", samples=1):
        return inconclusive(cause, blind)
    said = f"ratio {window.fragmentation_ratio:.2f}, {m.size(window.fragmentation_bytes)} of no use"
    if window.fragmentation_ratio < frag_ratio or window.fragmentation_bytes < frag_mib * _MIB:
        return ruled_out(cause, said)
    evidence = [
        Evidence("fragmentation", said, "INFO memory"),
        Evidence("used", m.size(window.used_bytes), "INFO memory"),
    ]
    title = f"Redis holds {m.size(window.fragmentation_bytes)} that it cannot use"
    return confirmed(cause, f"{title}: {said}", evidence, title=title)


def _window(redis: Frame) -> m.RedisWindow | None:
    return m.get_redis_window(redis.require()) if redis.available else None


def _blind(window: m.RedisWindow, *columns: str, samples: int) -> str:
    """Why nothing can be ruled out: ``INFO`` does not tell one of *columns*, or there are fewer than *samples* looks."""
    unreported = " and ".join(column for column in columns if column in window.unreported)
    if unreported and window.refused:
        return (
            f"{unreported} is not known: the user of redis.url may not ask for INFO {window.refused}; "
            "grant it (ACL SETUSER … +info) or name another user"
        )
    if unreported:
        return f"INFO of this Redis does not tell {unreported}"
    return f"{window.samples} looks are too few; ask for a longer window" if window.samples < samples else ""


def _unknown(cause: str, redis: Frame) -> Verdict:
    return inconclusive(cause, redis) if missing(redis) else inconclusive(cause, NOTHING)


def _rejects(window: m.RedisWindow) -> bool:
    return window.rejected > 0 or (window.policy == "noeviction" and window.share >= 1)


def _evicts(window: m.RedisWindow, evicted_per_second: float) -> bool:
    return window.evicted_per_second > 0 and window.evicted_per_second >= evicted_per_second


def _fill(window: m.RedisWindow) -> str:
    if window.max_bytes:
        return f"{m.size(window.used_bytes)} of {m.size(window.max_bytes)} used ({window.share:.0%})"
    if "max_bytes" in window.unreported:
        return f"{m.size(window.used_bytes)} used, maxmemory is not known"
    return f"{m.size(window.used_bytes)} used, no maxmemory"


def _largest(keys: Frame) -> list[Evidence]:
    if not keys.available:
        return []
    rows = _named(keys).sort_values(["bytes", "named", "type"], ascending=[False, True, True]).head(3)
    return [
        Evidence(
            f"prefix {row.named}",
            f"{m.size(row.bytes)} in {row.keys:,.0f} keys ({row.type}), {row.without_expiry:.0%} without expiry",
            "SCAN, MEMORY USAGE",
        )
        for row in rows.itertuples()
    ]


def _growing(keys: Frame) -> list[Evidence]:
    """The prefix that grew most between two looks, where both saw all keys."""
    if not keys.available:
        return []
    grown = _named(keys)
    grown = grown[grown["grown_bytes"].fillna(0).gt(0)].sort_values(["grown_bytes", "named"], ascending=[False, True])
    return [
        Evidence("grew most", f"{row.named} by {m.size(row.grown_bytes)}", "SCAN twice")
        for row in grown.head(1).itertuples()
    ]


def _mostly(keys: Frame) -> str:
    """``; 98% of it is session:``, where one prefix holds most."""
    if not keys.available:
        return ""
    held = _named(keys).groupby("named")["bytes"].sum().sort_values(ascending=False, kind="stable")
    total = float(held.sum())
    if not 0 < total < math.inf or held.iloc[0] < _GROWN_SHARE * total:
        return ""
    return f"; {held.iloc[0] / total:.0%} of its keys' memory is {held.index[0]}"


def _named(keys: Frame) -> pd.DataFrame:
    """The keys with a column ``named``: their prefix, and their database where that is worth a word."""
    numbers = keys.require()[["keys", "bytes", "grown_bytes", "without_expiry"]].apply(pd.to_numeric, errors="coerce")
    return keys.require().assign(named=m.reported_prefixes(keys.require()), **dict(numbers.items()))
