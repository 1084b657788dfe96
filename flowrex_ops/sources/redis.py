"""Redis, asked read-only: version, memory over a window, and which keys hold it.

Only ``INFO``, ``SCAN``, ``TYPE``, ``PTTL`` and ``MEMORY USAGE`` are sent (https://redis.io/docs/latest/commands/);
never ``KEYS``, which stops everybody else for as long as it runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.sources.reading import Source, reads

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
]
KEY_COLUMNS = ["prefix", "type", "keys", "bytes", "grown_bytes", "without_expiry", "biggest_key", "biggest_bytes"]
_BATCH = 200
_SAMPLES = 5
"""Elements of a hash, list or set that MEMORY USAGE looks at; the rest is extrapolated by Redis."""

_SEPARATOR = re.compile(r"[:./|]")


class RedisSource(Source):
    """One client for single questions, each bounded."""

    name = "redis"
    libraries = ("redis",)

    def __init__(self, url: str | None, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._url = url

    @reads("version")
    def get_version(self) -> str:
        """``redis_version`` of ``INFO server``."""
        with self._client() as client:
            return str(client.info("server")["redis_version"])

    @reads("memory of Redis", extra_seconds="window_seconds")
    def sample_memory(self, *, window_seconds: float = 4.0, every_seconds: float = 0.5) -> pd.DataFrame:
        """``INFO`` over a window; columns ``REDIS_COLUMNS``, one row a sample, oldest first.

        ``evicted_keys`` and ``rejected_writes`` are running totals, the latter missing before Redis 6.2. ``max_bytes`` is
        ``maxmemory`` (0: none). What ``INFO`` leaves out is missing. Fragmentation is the allocator's own where it tells it (jemalloc), else resident by used.
        """
        with self._client() as client:
            rows = [_sample(client)]
            until = time.monotonic() + window_seconds
            while time.monotonic() + every_seconds <= until:
                time.sleep(every_seconds)
                rows.append(_sample(client))
        return pd.DataFrame(rows, columns=REDIS_COLUMNS)

    @reads("keys of Redis", extra_seconds="window_seconds")
    def sample_keys(self, *, max_keys: int = 5000, window_seconds: float = 3.0) -> pd.DataFrame:
        """Memory by prefix (up to the first ``:``, ``.``, ``/`` or ``|``) and type; columns ``KEY_COLUMNS``, largest first.

        Looks at *max_keys* keys and for half of *window_seconds* at most, then counts up to all keys. ``without_expiry``
        is a share. ``grown_bytes`` compares with a second look, and is missing where either look left keys out.
        """
        with self._client() as client:
            first, complete = _look(client, max_keys, window_seconds / 2)
            again, still = _look(client, max_keys, window_seconds / 2)
        frame = again if len(again) else first
        if not complete or not still:
            return frame[KEY_COLUMNS]
        before = first.set_index(["prefix", "type"])["bytes"].to_dict()
        grown = [row.bytes - before.get((row.prefix, row.type), 0.0) for row in frame.itertuples()]
        return frame.assign(grown_bytes=grown)[KEY_COLUMNS]

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        import redis

        if not self._url:
            raise SourceUnavailableError(
                "redis is not configured and was not discovered; set redis.url or run 'flowrex-ops doctor'"
            )
        seconds = self.limit_seconds * 0.8
        # Protocol 3 begins with HELLO, which Redis before 6, KeyDB and most proxies refuse.
        client = redis.Redis.from_url(self._url, protocol=2, socket_timeout=seconds, socket_connect_timeout=seconds)
        try:
            yield client
        except redis.AuthenticationError:
            raise SourceUnavailableError(
                "redis did not answer: it wants another password; correct it in redis.url", code="auth"
            ) from None
        except redis.RedisError as error:
            raise SourceUnavailableError(f"redis did not answer: {error}; run 'flowrex-ops doctor'") from None
        finally:
            client.close()


def _sample(client: Redis) -> tuple[Any, ...]:
    memory: dict[str, Any] = client.info("memory")
    stats: dict[str, Any] = client.info("stats")
    errors: dict[str, Any] = client.info("errorstats")
    version = str(client.info("server").get("redis_version", "0"))
    ratio, extra = _fragmentation(memory)

    def number(section: dict[str, Any], name: str) -> float:
        return float(section.get(name, "nan"))  # what a fork or a proxy leaves out is unknown, not 0

    return (
        datetime.now(UTC),
        number(memory, "used_memory"),
        number(memory, "used_memory_peak"),
        number(memory, "used_memory_rss"),
        number(memory, "maxmemory"),
        str(memory.get("maxmemory_policy", "unknown")),
        ratio,
        extra,
        number(stats, "evicted_keys"),
        parse_rejected(errors, version),
        float(client.dbsize()),
        number(memory, "total_system_memory"),
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


def _look(client: Redis, max_keys: int, seconds: float) -> tuple[pd.DataFrame, bool]:
    """One bounded look at the keys, and whether it saw them all."""
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
    weight = 1.0 if complete else max(1.0, client.dbsize() / max(1, len(seen)))
    return group_keys(pd.DataFrame(rows, columns=["key", "type", "bytes", "expires"]), weight), complete


def _measure(client: Redis, keys: list[bytes]) -> list[tuple[str, str, float, bool]]:
    """Size, type and expiry of *keys*, in one round trip; those that have gone meanwhile are left out."""
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.memory_usage(key, samples=_SAMPLES)
            pipe.type(key)
            pipe.pttl(key)
        answers = pipe.execute()
    measured = zip(keys, answers[::3], answers[1::3], answers[2::3], strict=True)
    return [
        (key.decode(errors="replace"), kind.decode(), float(size), ttl >= 0)
        for key, size, kind, ttl in measured
        if size is not None
    ]


def group_keys(keys: pd.DataFrame, weight: float) -> pd.DataFrame:
    """Keys (key, type, bytes, expires) by prefix and type with ``KEY_COLUMNS``, counts and bytes times *weight*."""
    rows = []
    marked = keys.assign(prefix=[prefix_of(str(key)) for key in keys["key"]])
    for (prefix, kind), part in marked.groupby(["prefix", "type"], sort=True):
        biggest = part.sort_values(["bytes", "key"]).iloc[-1]
        without = float((~part["expires"].astype(bool)).mean())
        total = float(part["bytes"].sum()) * weight
        rows.append(
            (prefix, kind, round(len(part) * weight), total, float("nan"), without, biggest["key"], biggest["bytes"])
        )
    frame = pd.DataFrame(rows, columns=KEY_COLUMNS)
    return frame.sort_values(["bytes", "prefix", "type"], ascending=[False, True, True], ignore_index=True)


def prefix_of(key: str) -> str:
    """``session:`` of ``session:4711``; the key itself where it has no separator."""
    found = _SEPARATOR.search(key)
    return key[: found.end()] if found else key
