"""One database of Redis emptied: only by its name, and only the one that fills Redis or was named.

It takes the database that holds more than half of the keys' memory; where none does somebody has to name one. A
quarter of what was deleted must be free again, or other keys fill Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.memory.redis import RedisSource
from flowrex_ops.memory.redis_deletion import ANY, RedisMitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target

if TYPE_CHECKING:
    from redis import Redis


class FlushRedis(RedisMitigation):
    """One whole database is emptied. No cause points at it: what it deletes is more than what is in the way."""

    slug = "flush-redis"
    action = "FLUSHDB ASYNC: delete every key of this database"
    cost = "every user is logged out, every cache is cold at once (PostgreSQL gets that load), every queue is lost"
    undo = "cannot be undone; there is no backup of Redis"

    @classmethod
    def build(cls, context: Context, *, database: int = ANY) -> Self:
        """*database* is the one that holds most of the keys' memory unless named."""
        return cls(
            context.endpoints.redis_url, database=database, limit_seconds=context.settings.limits.reading_seconds
        )

    def __init__(self, url: str | None, *, limit_seconds: float, database: int = ANY) -> None:
        super().__init__(url, database=database, limit_seconds=limit_seconds)
        self._flushes = 0

    def find_targets(self) -> Sequence[Target]:
        """The database that was named or holds most, on this server."""
        server, _ = self._find_databases()
        with self._client() as client:
            keyspace: dict[str, Any] = client.info("keyspace")
            clients = int(client.info("clients")["connected_clients"]) - 1
            memory = client.info("memory")
            self._flushes = _flushes(client)
        held = self._get_held()
        number = self._database if self._database != ANY else _fullest(held)
        facts: dict[str, Any] = keyspace.get(f"db{number}", {})
        if not facts:
            return []
        self._expected = held.get(number, 0.0)
        keys, expiring = int(facts["keys"]), int(facts["expires"])
        others = [f"{name.removeprefix('db')} ({one['keys']} keys)" for name, one in keyspace.items()]
        stay = [text for text in others if not text.startswith(f"{number} ")]
        label = (
            f"database {number} of Redis: {keys} keys, {keys - expiring} of them without an expiry, about "
            f"{self._expected / 2**20:.1f} MiB of {memory['used_memory'] / 2**20:.1f} MiB in all; {clients} clients are connected; "
            + (f"other databases stay: {', '.join(stay)}" if stay else "no other database holds keys")
        )
        return [Target((f"db{number}", server), label)]

    def _get_held(self) -> dict[int, float]:
        """About how many bytes the keys of each database take."""
        keys = RedisSource(self._url, limit_seconds=self._limit_seconds).sample_keys(max_keys=2000, window_seconds=2.0)
        if not keys.available:
            raise SourceUnavailableError(str(keys.error), code=keys.code)
        held = keys.require().groupby("database")["bytes"].sum()
        return {int(str(number)): float(size) for number, size in held.items()}

    def apply(self, target: Target) -> str:
        number = int(target.identity[0].removeprefix("db"))
        with self._client(number) as client:
            self._require_same_server(client, target.identity[1])
            self._note_memory(client)
            before = client.dbsize()
            client.flushdb(asynchronous=True)
        return f"{before} keys of database {number} are gone"

    def verify(self, plan: Plan) -> str:
        """By Redis' own count of flushes and its memory: the platform writes again at once, so that keys alone would not tell."""
        number = int(plan.targets[0].identity[0].removeprefix("db"))
        with self._client(number) as client:
            if not _flushes(client) > self._flushes:
                raise VerificationError(
                    f"Redis counts no new FLUSHDB, {client.dbsize()} keys are there; look at its log"
                )
            left = client.dbsize()
            return f"verified: {left} keys were written since; {self._require_freed(client)}"


def _fullest(held: dict[int, float]) -> int:
    """The database that holds more than half; where none does, somebody has to name one."""
    number = max(held, key=lambda one: (held[one], -one), default=0)
    if held and 2 * held[number] < sum(held.values()):
        reported = ", ".join(f"{one}: {size / 2**20:.1f} MiB" for one, size in sorted(held.items()))
        raise MitigationRefusedError(f"no database holds most of the memory ({reported}); name one: redis_database=N")
    return number


def _flushes(client: Redis) -> int:
    """``INFO commandstats``: how often FLUSHDB was called."""
    found: dict[str, Any] = client.info("commandstats").get("cmdstat_flushdb", {})
    return int(found.get("calls", 0))
