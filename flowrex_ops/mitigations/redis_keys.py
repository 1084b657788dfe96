"""Keys of Redis deleted by pattern, at a bounded rate; or, only by its name, all of them.

``SCAN`` and ``UNLINK``, never ``KEYS`` and ``DEL``: both of these stop everybody else for as long as they run
(https://redis.io/docs/latest/commands/unlink/).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from flowrex_ops.errors import MitigationRefusedError, ParameterError, SourceUnavailableError, VerificationError
from flowrex_ops.mitigations.context import Context
from flowrex_ops.mitigations.guard import Mitigation
from flowrex_ops.mitigations.waiting import wait_until
from flowrex_ops.model import Plan, Target
from flowrex_ops.sources.redis import prefix_of

if TYPE_CHECKING:
    from redis import Redis

BATCH = 500
SAMPLED = 200
SHOWN = 3
MOST_PREFIXES = 20
MOST_PER_SECOND = 100_000
_LOOK_SECONDS = 30.0
"""A look through all keys takes about a second for a million."""

_LEFT_SHARE = 0.25
"""So many may be there again after the deed: whoever writes them goes on writing."""

_GLOB = re.compile(r"\\.|\[[^\]]*\]|[*?]")


@dataclass(frozen=True, slots=True)
class Preview:
    """The keys that fit a pattern: how many, of how many, their memory (estimated), by prefix, and some names."""

    keys: int
    of: int
    mebibytes: float
    prefixes: tuple[str, ...]
    names: tuple[str, ...]


class _Redis(Mitigation):
    """What both deletions share: the database that is configured, and what it says of itself."""

    resource = "redis"
    causes = ("memory.redis-rejecting", "memory.redis-evicting", "memory.redis-growth")

    def __init__(self, url: str | None, *, limit_seconds: float) -> None:
        self._url = url
        self._limit_seconds = limit_seconds

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        """Of the database in the URL alone. SourceUnavailableError where it does not answer (any more)."""
        import redis

        if not self._url:
            raise SourceUnavailableError("redis is not configured and was not discovered; set redis.url")
        client = redis.Redis.from_url(
            self._url, protocol=2, socket_timeout=self._limit_seconds, socket_connect_timeout=self._limit_seconds
        )
        try:
            yield client
        except redis.RedisError as error:
            raise SourceUnavailableError(f"redis did not answer: {error}; run 'flowrex-ops doctor'") from None
        finally:
            client.close()


class UnlinkKeys(_Redis):
    """Keys that fit a pattern are deleted; what they hold is freed in the background."""

    slug = "unlink-keys"
    action = "delete the keys that fit the pattern: SCAN, then UNLINK in batches"
    cost = "whoever needs these keys misses them at once: sessions are logged out, caches are cold, queues are empty"
    undo = "cannot be undone; what is a cache fills again by itself"

    def __init__(self, url: str | None, *, pattern: str, per_second: int, limit_seconds: float) -> None:
        super().__init__(url, limit_seconds=limit_seconds)
        if pattern and not _GLOB.sub("", pattern):
            raise ParameterError(f"pattern: '{pattern}' fits every key; narrow it ('cache:*'), or approve flush-redis")
        if not 0 < per_second <= MOST_PER_SECOND:
            raise ParameterError(f"keys_per_second: {per_second} is not between 1 and {MOST_PER_SECOND}")
        self._pattern = pattern
        self._per_second = per_second
        self._planned = 0
        self._gone = 0

    @classmethod
    def build(cls, context: Context, *, pattern: str = "", per_second: int = 5000) -> Self:
        """*pattern* as ``SCAN`` takes it; at most *per_second* keys are deleted a second."""
        limits = context.settings.limits
        return cls(
            context.endpoints.redis_url, pattern=pattern, per_second=per_second, limit_seconds=limits.reading_seconds
        )

    def find_targets(self) -> Sequence[Target]:
        """One: the pattern in this database of this server, with the prefixes that it hits.

        How many keys they are goes on changing; that a pattern hits keys of another kind must not pass unseen.
        """
        if not self._pattern:
            raise MitigationRefusedError("no pattern is named; choose a prefix of the table above: pattern='PREFIX*'")
        with self._client() as client:
            server = str(client.info("server")["run_id"])
            preview = look(client, self._pattern)
        self._planned = preview.keys
        if not preview.keys:
            return []
        label = (
            f"{preview.keys} of {preview.of} keys fit '{self._pattern}', about {preview.mebibytes:.1f} MiB; "
            f"prefixes: {', '.join(preview.prefixes)}; such as {', '.join(preview.names)}"
        )
        return [Target((self._pattern, server, *preview.prefixes), label)]

    def action_of(self, _targets: Sequence[Target]) -> str:
        """The rate is part of the plan."""
        return f"{self.action} of {BATCH}, at most {self._per_second} keys a second"

    def cost_of(self, _targets: Sequence[Target]) -> str:
        return f"{self.cost}; takes about {max(1, round(self._planned / self._per_second))} s"

    def apply(self, target: Target) -> str:
        server = target.identity[1]
        # Whoever writes faster than this deletes would keep it busy for ever.
        most = 2 * self._planned + 10 * BATCH
        began = time.monotonic()
        self.step(f"UNLINK {self._planned} keys that fit '{self._pattern}'")
        with self._client() as client:
            if str(client.info("server")["run_id"]) != server:
                raise MitigationRefusedError("Redis was started anew since the plan; read again")
            used = float(client.info("memory")["used_memory"])
            keys = client.scan_iter(match=self._pattern, count=2 * BATCH)
            while self._gone < most and (batch := list(islice(keys, BATCH))):
                self._gone += int(client.unlink(*batch))
                time.sleep(max(0.0, began + self._gone / self._per_second - time.monotonic()))
            wait_until(lambda: not client.info("memory").get("lazyfree_pending_objects", 0), seconds=5.0)
            freed = used - float(client.info("memory")["used_memory"])
        return f"{self._gone} keys were deleted in {time.monotonic() - began:.1f} s, {freed / 2**20:.1f} MiB are free again"

    def abandon(self) -> str:
        return f"{self._gone} of about {self._planned} keys are gone, the others stay; the same again goes on"

    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # one target, always the same
        with self._client() as client:
            left = look(client, self._pattern)
            memory = client.info("memory")
        if left.keys > _LEFT_SHARE * self._planned:
            raise VerificationError(
                f"{left.keys} keys fit '{self._pattern}', {self._planned} did before; stop whoever writes them, then run again"
            )
        again = (
            f"{left.keys} of them are there again, somebody goes on writing" if left.keys else "none of them is left"
        )
        return f"read again: {again}; Redis uses {memory['used_memory'] / 2**20:.1f} MiB{_share(memory)}"


class FlushRedis(_Redis):
    """The whole database is emptied. No cause points at it: what it deletes is more than what is in the way."""

    slug = "flush-redis"
    action = "FLUSHDB ASYNC: delete every key of this database"
    cost = "every user is logged out, every cache is cold at once (PostgreSQL gets that load), every queue is lost"
    undo = "cannot be undone; there is no backup of Redis"

    @classmethod
    def build(cls, context: Context) -> Self:
        return cls(context.endpoints.redis_url, limit_seconds=context.settings.limits.reading_seconds)

    def __init__(self, url: str | None, *, limit_seconds: float) -> None:
        super().__init__(url, limit_seconds=limit_seconds)
        self._flushes = 0

    def find_targets(self) -> Sequence[Target]:
        """The database of the URL, on this server."""
        with self._client() as client:
            server = str(client.info("server")["run_id"])
            number = int(client.connection_pool.connection_kwargs.get("db") or 0)
            facts: dict[str, Any] = client.info("keyspace").get(f"db{number}", {})
            clients = int(client.info("clients")["connected_clients"]) - 1
            memory = client.info("memory")
            self._flushes = _flushes(client)
        if not facts:
            return []
        keys, expiring = int(facts["keys"]), int(facts["expires"])
        label = (
            f"database {number} of Redis: {keys} keys, {keys - expiring} of them without an expiry, "
            f"{memory['used_memory'] / 2**20:.1f} MiB in all; {clients} clients are connected"
        )
        return [Target((f"db{number}", server), label)]

    def apply(self, target: Target) -> str:
        with self._client() as client:
            if str(client.info("server")["run_id"]) != target.identity[1]:
                raise MitigationRefusedError("Redis was started anew since the plan; read again")
            before = client.dbsize()
            client.flushdb(asynchronous=True)
        return f"{before} keys are gone"

    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # one target, always the same
        """By Redis' own count of flushes: the platform writes again at once, so that the keys alone would not tell."""
        with self._client() as client:
            done, left, memory = _flushes(client) > self._flushes, client.dbsize(), client.info("memory")
        if not done:
            raise VerificationError(f"Redis counts no new FLUSHDB, {left} keys are there; look at its log")
        return f"read again: {left} keys were written since; Redis uses {memory['used_memory'] / 2**20:.1f} MiB{_share(memory)}"


def look(client: Redis, pattern: str) -> Preview:
    """All keys are looked through, those that fit are counted, some are measured.

    MitigationRefusedError where that takes more than half a minute: nothing is deleted that was not seen.
    """
    until = time.monotonic() + _LOOK_SECONDS
    seen = 0
    prefixes: set[str] = set()
    sample: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=2 * BATCH):
        seen += 1
        prefixes.add(_prefix(key.decode(errors="replace")))
        if len(sample) < SAMPLED:
            sample.append(key)
        if time.monotonic() > until:
            raise MitigationRefusedError(
                f"looking through the keys takes more than {_LOOK_SECONDS:g} s ({seen} fit so far); narrow the pattern"
            )
    with client.pipeline(transaction=False) as pipe:
        for key in sample:
            pipe.memory_usage(key, samples=5)
        sizes = [size for size in pipe.execute() if size is not None]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    names = tuple(key.decode(errors="replace") for key in sorted(sample)[:SHOWN])
    hit = tuple(sorted(prefixes)) if len(prefixes) <= MOST_PREFIXES else (f"more than {MOST_PREFIXES}",)
    return Preview(seen, int(client.dbsize()), mean * seen / 2**20, hit, names)


def _prefix(key: str) -> str:
    found = prefix_of(key)
    return found if found != key else "(none)"


def _flushes(client: Redis) -> int:
    """``INFO commandstats``: how often FLUSHDB was called."""
    found: dict[str, Any] = client.info("commandstats").get("cmdstat_flushdb", {})
    return int(found.get("calls", 0))


def _share(memory: dict[str, Any]) -> str:
    limit = float(memory.get("maxmemory", 0))
    return f", {memory['used_memory'] / limit:.0%} of maxmemory" if limit else ""
