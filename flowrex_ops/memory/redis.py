"""Redis, asked read-only: version, memory over a window, and which keys of which database hold it.

Only ``INFO``, ``SELECT``, ``DBSIZE``, ``SCAN``, ``TYPE``, ``PTTL``, ``MEMORY USAGE``, ``SLOWLOG GET`` and, where ``INFO`` is not allowed,
``MEMORY STATS`` and ``PING`` are sent (https://redis.io/docs/latest/commands/); never ``KEYS``, which stops everybody else
for as long as it runs.
"""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.memory.redis_client import ask_info, get_databases, open_client
from flowrex_ops.memory.redis_commands import RedisActivity, compare_looks, sample_activity
from flowrex_ops.metrics.prometheus import SERIES_COLUMNS, PrometheusSource
from flowrex_ops.reading import Source, reads
from flowrex_ops.side_by_side import Call

if TYPE_CHECKING:
    from redis import Redis

REDIS_COLUMNS = [
    "at",
    "used_bytes",
    "peak_bytes",
    "rss_bytes",
    "max_bytes",
    "policy",
    "fragmentation_ratio",
    "fragmentation_bytes",
    "evicted_keys",
    "rejected_writes",
    "keys",
    "system_bytes",
    "refused",
]
KEY_COLUMNS = [
    "database",
    "prefix",
    "type",
    "keys",
    "bytes",
    "grown_bytes",
    "without_expiry",
    "biggest_key",
    "biggest_bytes",
]
_KIND = ["database", "prefix", "type"]
_BATCH = 200
_SAMPLES = 5
"""Elements of a hash, list or set that MEMORY USAGE looks at; the rest is extrapolated by Redis."""

_LATELY = timedelta(minutes=10)
"""What is going on now may have begun so long ago."""

_SEPARATOR = re.compile(r"[:./|]")


class RedisSource(Source):
    """One client for single questions, each bounded; *prometheus* may know how it was before."""

    name = "redis"
    libraries = ("redis",)

    def __init__(
        self, url: str | None, *, limit_seconds: float, missing: str = "", prometheus: PrometheusSource | None = None
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._url, self._missing, self._prometheus = url, missing, prometheus

    @reads("version")
    def get_version(self) -> str:
        """``redis_version`` of ``INFO server``; "(not told)" where it answers, and its user may not ask."""
        with self._client() as client:
            server = ask_info(client, "server")
            if server is None:
                client.ping()
        return str((server or {}).get("redis_version", "(not told)"))

    @reads("memory of Redis", extra_seconds="window_seconds")
    def sample_memory(self, *, window_seconds: float = 4.0, every_seconds: float = 0.5) -> pd.DataFrame:
        """``INFO`` over a window; columns ``REDIS_COLUMNS``, one row a sample, oldest first.

        ``evicted_keys`` and ``rejected_writes`` are running totals, the latter missing before Redis 6.2. ``max_bytes`` is
        ``maxmemory`` (0: none). What ``INFO`` leaves out is missing; ``refused`` names the sections that this user may not
        ask for. Fragmentation is the allocator's own where it tells it (jemalloc), else resident by used.
        """
        if self.copy:
            return pd.DataFrame([_sample(look, look.at) for look in self.copy()], columns=REDIS_COLUMNS)
        with self._client() as client:
            rows = [_sample(client)]
            until = time.monotonic() + window_seconds
            while time.monotonic() + every_seconds <= until:
                time.sleep(every_seconds)
                rows.append(_sample(client))
        return pd.DataFrame(rows, columns=REDIS_COLUMNS)

    @reads("keys of Redis", extra_seconds="window_seconds")
    def sample_keys(self, *, max_keys: int = 5000, window_seconds: float = 3.0) -> pd.DataFrame:
        """Memory by database, prefix (up to the first ``:``, ``.``, ``/`` or ``|``) and type; columns ``KEY_COLUMNS``, largest first.

        Looks at *max_keys* keys of all databases and for half of *window_seconds* at most, then counts up to all keys.
        ``without_expiry`` is a share. ``grown_bytes`` compares with a second look, and is missing where either left keys out.
        """
        first, complete = self._look(max_keys, window_seconds / 2)
        again, still = self._look(max_keys, window_seconds / 2)
        frame = again if len(again) else first
        if not complete or not still:
            return frame[KEY_COLUMNS]
        before = first.set_index(_KIND)["bytes"].to_dict()
        grown = [row.bytes - before.get((row.database, row.prefix, row.type), 0.0) for row in frame.itertuples()]
        return frame.assign(grown_bytes=grown)[KEY_COLUMNS]

    @reads("activity of Redis", extra_seconds="window_seconds")
    def sample_activity(self, *, window_seconds: float = 3.0) -> RedisActivity:
        """What its commands take and who sends the slow ones, whether it can save and takes writes, over a window."""
        if self.copy:
            return compare_looks(self.copy())
        before = Call(self._lookups_before)  # meanwhile: what Prometheus keeps us waiting for is no time of Redis'
        with self._client() as client:
            seen = sample_activity(client, window_seconds)
        before.join(1.0)
        return replace(seen, lookups={**seen.lookups, **(before.result or {})} if seen.lookups else {})

    def _lookups_before(self) -> dict[str, float]:
        """Hits and misses a second in the hour before, of redis_exporter; nothing where it has none, or several that may be others."""
        found, until = {}, self.now() - _LATELY
        if self._prometheus is None:
            return {}
        for name in ("hits", "misses"):
            asked = f"rate(redis_keyspace_{name}_total[5m])"
            answer = self._prometheus.query_range(asked, since=_LATELY + timedelta(hours=1), points=14)
            rows = answer.require() if answer.available else pd.DataFrame(columns=SERIES_COLUMNS)
            rows = rows[rows["at"].lt(until)]
            if len(set(rows["series"])) != 1:
                return {}
            found[f"{name}_before"] = float(rows["value"].median())
        return found

    def _look(self, max_keys: int, seconds: float) -> tuple[pd.DataFrame, bool]:
        """One bounded look at the keys of every database, and whether it saw them all.

        The smallest first: what they leave of keys and time, the larger ones have.
        """
        with self._client() as client:
            numbers = get_databases(client)
        sizes = {number: self._count(number) for number in numbers}
        until, parts, complete = time.monotonic() + seconds, [], True
        for done, number in enumerate(sorted(sizes, key=lambda number: (sizes[number], number))):
            share = 1 / (len(sizes) - done)
            with self._client(number) as client:
                keys, whole = _scan(client, max(1, int(max_keys * share)), (until - time.monotonic()) * share)
            max_keys -= len(keys)
            weight = 1.0 if whole else max(1.0, sizes[number] / max(1, len(keys)))
            parts.append(group_keys(keys, weight, database=number))
            complete = complete and whole
        if not parts:
            return pd.DataFrame(columns=KEY_COLUMNS), True
        found = pd.concat(parts, ignore_index=True)
        return found.sort_values(["bytes", *_KIND], ascending=[False, True, True, True], ignore_index=True), complete

    def _count(self, database: int) -> int:
        with self._client(database) as client:
            return int(client.dbsize())

    def _client(self, database: int | None = None) -> AbstractContextManager[Redis]:
        if self.copy:
            return nullcontext(self.copy()[-1])
        limit = self.limit_seconds * 0.8
        return open_client(self._url, limit_seconds=limit, database=database, missing=self._missing)


def _sample(client: Redis, at: datetime | None = None) -> tuple[Any, ...]:
    asked = {name: ask_info(client, name) for name in ("memory", "stats", "errorstats", "server", "keyspace")}
    memory, stats, errors, server, keyspace = (asked[name] or {} for name in asked)
    if asked["memory"] is None:
        reported: dict[str, Any] = client.memory_stats()
        memory = {"used_memory": reported["total.allocated"], "used_memory_peak": reported["peak.allocated"]}
    version = str(server.get("redis_version", "0")) if asked["errorstats"] is not None else "0"
    ratio, extra = _fragmentation(memory)

    def number(section: dict[str, Any], name: str) -> float:
        return float(section.get(name, "nan"))  # what a fork or a proxy leaves out is unknown, not 0

    return (
        at or datetime.now(UTC),
        number(memory, "used_memory"),
        number(memory, "used_memory_peak"),
        number(memory, "used_memory_rss"),
        number(memory, "maxmemory"),
        str(memory.get("maxmemory_policy", "unknown")),
        ratio,
        extra,
        number(stats, "evicted_keys"),
        parse_rejected(errors, version),
        float("nan") if asked["keyspace"] is None else float(sum(facts["keys"] for facts in keyspace.values())),
        number(memory, "total_system_memory"),
        ", ".join(name for name, answer in asked.items() if answer is None),
    )


def _fragmentation(memory: dict[str, Any]) -> tuple[float, float]:
    """Ratio and bytes. The allocator's own leaves out what it keeps for a while after keys were deleted."""
    if str(memory.get("mem_allocator", "")).startswith("jemalloc"):
        return float(memory.get("allocator_frag_ratio", "nan")), float(memory.get("allocator_frag_bytes", "nan"))
    return float(memory.get("mem_fragmentation_ratio", "nan")), float(memory.get("mem_fragmentation_bytes", "nan"))


def parse_rejected(errors: dict[str, Any], version: str) -> float:
    """Writes refused for want of memory, out of ``INFO errorstats``: ``errorstat_OOM:count=3``; NaN before 6.2."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (6, 2):
        return float("nan")
    found = errors.get("errorstat_OOM", 0)
    return float(found["count"] if isinstance(found, dict) else str(found).rpartition("=")[2])


def _scan(client: Redis, max_keys: int, seconds: float) -> tuple[pd.DataFrame, bool]:
    """Keys of one database (key, type, bytes, expires), and whether these are all."""
    until, cursor = time.monotonic() + seconds, 0
    seen: set[bytes] = set()
    rows: list[tuple[str, str, float, bool]] = []
    while True:
        answer: tuple[int, list[bytes]] = client.scan(cursor, count=_BATCH)  # type: ignore[assignment]  # its types allow text
        cursor, found = answer
        batch = [key for key in dict.fromkeys(found) if key not in seen][: max_keys - len(seen)]
        seen.update(batch)
        rows += _measure(client, batch)
        if cursor == 0 or len(seen) >= max_keys or time.monotonic() >= until:
            break
    complete = cursor == 0 and len(seen) < max_keys
    return pd.DataFrame(rows, columns=["key", "type", "bytes", "expires"]), complete


def _measure(client: Redis, keys: list[bytes]) -> list[tuple[str, str, float, bool]]:
    """Size, type and expiry of *keys*, in one round trip; those that have gone meanwhile are left out.

    The first refusal is raised: by those that may be looked at, the wrong ones would be blamed.
    """
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.memory_usage(key, samples=_SAMPLES)
            pipe.type(key)
            pipe.pttl(key)
        answers = pipe.execute(raise_on_error=False)
    if refused := [answer for answer in answers if isinstance(answer, Exception)]:
        raise refused[0]
    measured = zip(keys, answers[::3], answers[1::3], answers[2::3], strict=True)
    return [
        (key.decode(errors="replace"), kind.decode(), float(size), ttl >= 0)
        for key, size, kind, ttl in measured
        if size is not None
    ]


def group_keys(keys: pd.DataFrame, weight: float, *, database: int = 0) -> pd.DataFrame:
    """Keys of one *database* (key, type, bytes, expires) by prefix and type with ``KEY_COLUMNS``, counts and bytes times *weight*."""
    rows = []
    marked = keys.assign(prefix=[prefix_of(str(key)) for key in keys["key"]])
    for (prefix, kind), part in marked.groupby(["prefix", "type"], sort=True):
        biggest = part.sort_values(["bytes", "key"]).iloc[-1]
        without = float((~part["expires"].astype(bool)).mean())
        total = float(part["bytes"].sum()) * weight
        count, most = round(len(part) * weight), biggest["bytes"]
        rows.append((database, prefix, kind, count, total, float("nan"), without, biggest["key"], most))
    frame = pd.DataFrame(rows, columns=KEY_COLUMNS)
    return frame.sort_values(["bytes", "prefix", "type"], ascending=[False, True, True], ignore_index=True)


def prefix_of(key: str) -> str:
    """``session:`` of ``session:4711``; the key itself where it has no separator."""
    found = _SEPARATOR.search(key)
    return key[: found.end()] if found else key
