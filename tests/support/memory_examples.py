"""Readings of memory as its sources give them, for examples and properties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.memory.host import HostMemory
from flowrex_ops.memory.redis import KEY_COLUMNS, REDIS_COLUMNS
from flowrex_ops.memory.redis_commands import SLOW_COLUMNS, USED_COLUMNS, RedisActivity
from flowrex_ops.memory.source import KILL_COLUMNS, MEMORY_COLUMNS, PROMETHEUS, SAMPLED
from flowrex_ops.model import Reading

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
MIB = 2**20
LIMIT = 256 * MIB


def reading(source: str, what: str, frame: pd.DataFrame) -> Reading[pd.DataFrame]:
    return Reading(source, what, frame, taken_at=NOW)


def replica(
    name: str,
    values: Sequence[float],
    *,
    minutes: float = 30.0,
    limit: float = LIMIT,
    cache: float = 0.0,
    origin: str = PROMETHEUS,
    service: str = "",
) -> list[tuple[Any, ...]]:
    """A replica's memory in MiB over some minutes, evenly spaced up to now, and one sample by the stack at the end."""
    step = timedelta(minutes=minutes) / max(1, len(values) - 1)
    rows = [
        (
            NOW - step * (len(values) - 1 - place),
            service or name.rpartition("-")[0],
            name,
            value * MIB,
            cache * MIB,
            limit,
            origin,
        )
        for place, value in enumerate(values)
    ]
    return [*rows, (*rows[-1][:-1], SAMPLED)] if origin == PROMETHEUS else rows


def memory(*rows: tuple[Any, ...]) -> Reading[pd.DataFrame]:
    return reading("memory", "memory of replicas", pd.DataFrame(rows, columns=MEMORY_COLUMNS))


def steadily(first: float, last: float, points: int = 30) -> list[float]:
    return [first + (last - first) * place / (points - 1) for place in range(points)]


def kills(**counts: int | None) -> Reading[pd.DataFrame]:
    rows = [(name.replace("_", "-"), count, None) for name, count in counts.items()]
    return reading("memory", "OOM kill counters", pd.DataFrame(rows, columns=KILL_COLUMNS))


def host(available_gib: float = 12.0, some: float | None = 0.0, **other: Any) -> Reading[HostMemory]:
    return Reading(
        "host", "memory pressure", HostMemory(16 * 2**30, int(available_gib * 2**30), some_avg10=some, **other)
    )


def redis(
    used: Callable[[int], float] | float = 20.0,
    *,
    maximum: float = 64.0,
    policy: str = "noeviction",
    evicted: float = 0.0,
    rejected: float = 0.0,
    rejected_before: float = 0.0,
    ratio: float = 1.1,
    wasted: float = 2.0,
    samples: int = 9,
) -> Reading[pd.DataFrame]:
    """Redis over some seconds, in MiB; ``evicted`` and ``rejected`` grow by that much a second."""
    rows = []
    for second in range(samples):
        size = used(second) if callable(used) else used
        rows.append(
            {
                "at": NOW - timedelta(seconds=samples - 1 - second),
                "used_bytes": size * MIB,
                "peak_bytes": size * MIB,
                "rss_bytes": (size + wasted) * MIB,
                "max_bytes": maximum * MIB,
                "policy": policy,
                "fragmentation_ratio": ratio,
                "fragmentation_bytes": wasted * MIB,
                "evicted_keys": 1000 + evicted * second,
                "rejected_writes": rejected_before + rejected * second,
                "keys": 10_000.0,
                "system_bytes": 16 * 2.0**30,
                "refused": "",
            }
        )
    return reading("redis", "memory of Redis", pd.DataFrame(rows, columns=REDIS_COLUMNS))


def keys(**prefixes: float) -> Reading[pd.DataFrame]:
    """Prefixes and the MiB that they hold."""
    rows = [
        (0, f"{name}:", "string", 1000, size * MIB, 0.0, 1.0, f"{name}:1", 2048.0) for name, size in prefixes.items()
    ]
    return reading("redis", "keys of Redis", pd.DataFrame(rows, columns=KEY_COLUMNS))


SAVED = {"rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok"}


IN_STEP = {"ip": "10.0.0.8", "port": 6379, "state": "online", "offset": 70, "lag": 1}
MASTER = {"role": "master", "connected_slaves": 1, "slave0": IN_STEP}


def activity(
    *slow: tuple[str, str, float, float],
    used: Sequence[tuple[str, float, float]] = (("GET", 900, 9.0), ("INFO", 2, 1.0)),
    saving: dict[str, Any] | None = None,
    role: dict[str, Any] | None = None,
    **parts: Any,
) -> Reading[RedisActivity]:
    """Redis over three seconds: slow calls (command, on, milliseconds, seconds ago), and what commands took meanwhile."""
    rows = [(NOW - timedelta(seconds=age), age, name, on, took, "report 10.0.0.7:4711") for name, on, took, age in slow]
    seen = RedisActivity(
        seconds=3.0,
        used=pd.DataFrame(list(used), columns=USED_COLUMNS),
        slow=pd.DataFrame(rows, columns=SLOW_COLUMNS),
        saving=SAVED if saving is None else saving,
        role=MASTER if role is None else role,
        **{
            "refused": {"ERR": 2.0},
            "clients": {"connected": 40.0, "most": 10_000.0, "rejected": 0.0},
            "lookups": lookups(300, 2),
            **parts,
        },
    )
    return Reading("redis", "activity of Redis", seen)


def lookups(
    hits: float, misses: float, *, ever: tuple[float, float] = (90.0, 5.0), hours: float = 0.5, **before: float
) -> dict[str, float]:
    """Found and not found a second now, *ever* since it started so many hours ago, and in the hour before by Prometheus."""
    up = hours * 3600
    now = {"hits": 3 * hits, "misses": 3 * misses, "hits_ever": up * ever[0], "misses_ever": up * ever[1]}
    return {**now, "up_seconds": up, **before}


def gone(what: str) -> Reading[Any]:
    return Reading("redis", what, error="it did not answer in 5 s")
