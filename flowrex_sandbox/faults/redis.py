"""Faults of Redis: real keys by a real client, under a limit and a policy that are put back.

Redis of the wheel is built with libc's malloc, which gives little back: a reset restarts it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import ENOUGH, Fault, PastFault, TroubleClient
from flowrex_sandbox.faults.memory import PARAMETERS, MemoryLeak
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

if TYPE_CHECKING:
    from redis import Redis

MIB = 2**20
CONFIG = {"maxmemory": str(64 * MIB), "maxmemory-policy": "noeviction", "activedefrag": "no", "maxclients": "10000"}
"""How the stand-in platform's Redis is set up."""

_PATTERN = "drill-*"
_RESTART_SECONDS = 20.0
_USUAL_BYTES = 8 * MIB
_ROOM = 0.75
_INDEXED = 250_000
_CROWD = 72
_NOBODY = 1
"""A port at which no Redis answers."""


@contextmanager
def connect_redis(sandbox: Sandbox, username: str | None = None, password: str | None = None) -> Iterator[Redis]:
    """A client of its own, closed at the end."""
    import redis

    client = redis.Redis.from_url(
        _url(sandbox), username=username, password=password, socket_timeout=5, socket_connect_timeout=5
    )
    try:
        yield client
    finally:
        client.close()


def _url(sandbox: Sandbox) -> str:
    return f"redis://127.0.0.1:{sandbox.state.ports['redis']}/0"


def has_room(sandbox: Sandbox) -> bool:
    """Whether Redis takes writes: well below its limit, or without one."""
    with connect_redis(sandbox) as client:
        info = client.info("memory")
    return not info["maxmemory"] or bool(info["used_memory"] < _ROOM * info["maxmemory"])


class _Writer(TroubleClient):
    """A client of one kind that writes, after the configuration was changed."""

    kind: ClassVar[str]
    config: ClassVar[dict[str, str]] = {}

    def start(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            _configure(client, self.config)
        start_client(sandbox, self.kind, script="redis_writer.py", urls=(_url(sandbox),))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        with connect_redis(sandbox) as client:
            return self.shows(client.info("all"))

    @abstractmethod
    def shows(self, info: dict[str, Any]) -> bool:
        """Whether Redis tells of it."""

    def stop(self, sandbox: Sandbox) -> None:
        super().stop(sandbox)
        with connect_redis(sandbox) as client:
            _configure(client, CONFIG)
            _delete(client)
            client.slowlog_reset()
            small = _is_small(client)
        if not small:
            _restart(sandbox)


def _configure(client: Redis, config: dict[str, str]) -> None:
    for name, value in config.items():
        client.config_set(name, value)


def _delete(client: Redis) -> None:
    """What a drill wrote, and nothing else."""
    found = list(client.scan_iter(_PATTERN, count=1000))
    for start in range(0, len(found), 1000):
        client.unlink(*found[start : start + 1000])


def _is_small(client: Redis) -> bool:
    """Whether the memory was given back: jemalloc does so when asked, libc's malloc rarely."""
    client.memory_purge()
    return bool(client.info("memory")["used_memory_rss"] < _USUAL_BYTES)


def _restart(sandbox: Sandbox) -> None:
    """Begin with an empty Redis; nothing in the stand-in platform keeps anything in it."""
    stack = sandbox.stack()
    for replica in stack.get_replicas("redis"):
        stack.restart(replica, timeout_seconds=_RESTART_SECONDS)
    await_condition(lambda: _answers(sandbox), "Redis answered", timeout_seconds=_RESTART_SECONDS)


def _answers(sandbox: Sandbox) -> bool:
    import redis

    try:
        with connect_redis(sandbox) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


class RedisGrows(_Writer):
    """Sessions without an expiry fill Redis."""

    kind = "grow"

    def shows(self, info: dict[str, Any]) -> bool:
        return bool(info["used_memory"] > 6 * MIB)


class RedisEvicts(_Writer):
    """A cache is larger than Redis may be, and the oldest is thrown away."""

    kind = "churn"
    config: ClassVar[dict[str, str]] = {"maxmemory-policy": "allkeys-lru", "maxmemory": str(6 * MIB)}

    def shows(self, info: dict[str, Any]) -> bool:
        full = 0 < info["maxmemory"] * 0.9 < info["used_memory"]
        return bool(full and info["evicted_keys"] > 0)


class RedisRejects(_Writer):
    """A queue that nobody reads has filled Redis, which may evict nothing."""

    kind = "refuse"
    config: ClassVar[dict[str, str]] = {"maxmemory-policy": "noeviction", "maxmemory": str(8 * MIB)}

    def shows(self, info: dict[str, Any]) -> bool:
        return "errorstat_OOM" in info and info["used_memory"] > 0.95 * info["maxmemory"]


class RedisFragmented(_Writer):
    """Most values of one size were deleted, and left holes."""

    kind = "fragment"

    def shows(self, info: dict[str, Any]) -> bool:
        wasted = info["used_memory_rss"] - info["used_memory"]
        return bool(info["used_memory"] < 12 * MIB and wasted > 20 * MIB)


class RedisLargeKey(_Writer):
    """One large list does not grow, far from the limit."""

    kind = "large"

    def shows(self, info: dict[str, Any]) -> bool:
        return bool(info["used_memory"] > 12 * MIB)


def _indexed(info: dict[str, Any]) -> bool:
    return bool(info.get("db0", {}).get("keys", 0) >= _INDEXED)


class RedisHeldUp(_Writer):
    """A report asks for KEYS among a quarter of a million, all the time."""

    kind = "keys"

    def shows(self, info: dict[str, Any]) -> bool:
        asked = info.get("cmdstat_keys", {}).get("calls", 0)
        return bool(_indexed(info) and asked >= ENOUGH)


class RedisWalkedThrough(_Writer):
    """A job walks through a quarter of a million keys by SCAN, all the time."""

    kind = "walk"

    def shows(self, info: dict[str, Any]) -> bool:
        return _indexed(info)


class RedisFlushed(_Writer):
    """The cache was emptied, and each user's question goes to what it stands before."""

    kind = "flush"
    misses: int = 100 * ENOUGH

    def shows(self, info: dict[str, Any]) -> bool:
        return bool(info["keyspace_misses"] >= self.misses)


class RedisPolledFor(RedisFlushed):
    """A client asks for keys that are not there yet, beside a cache that works."""

    kind = "poll"
    misses: int = 10 * ENOUGH


class RedisManyClients(_Writer):
    """A pool of some client has no bound; there is room for all."""

    kind = "connect"

    def shows(self, info: dict[str, Any]) -> bool:
        return bool(info["connected_clients"] >= _CROWD)


class RedisCrowded(RedisManyClients):
    """The same where Redis takes few more."""

    config: ClassVar[dict[str, str]] = {"maxclients": "80"}


class RedisCannotSave(Fault):
    """Redis cannot save: a folder stands where its snapshot belongs."""

    def start(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            _snapshot(client).mkdir(exist_ok=True)
            client.config_set("save", "3600 1")
            client.bgsave()

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        with connect_redis(sandbox) as client:
            failed = client.info("persistence")["rdb_last_bgsave_status"] == "err"
            return failed and "errorstat_MISCONF" in client.info("errorstats")

    def stop(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            if client.info("persistence")["rdb_last_bgsave_status"] == "ok":
                return
            _snapshot(client).rmdir()
            client.bgsave()
            await_condition(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok",
                "Redis saved again",
                timeout_seconds=_RESTART_SECONDS,
            )
            client.config_set("save", "")
            _snapshot(client).unlink()


class RedisReadOnly(Fault):
    """Redis is a replica of a master that is gone."""

    def start(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            client.replicaof("127.0.0.1", _NOBODY)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        with connect_redis(sandbox) as client:
            return "errorstat_READONLY" in client.info("errorstats")

    def stop(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            if client.info("replication")["role"] != "master":
                client.replicaof("NO", "ONE")


class RedisRefusedWrites(PastFault):
    """Redis could not save and was a replica for a moment, and takes writes again."""

    def start(self, sandbox: Sandbox) -> None:
        for fault in (RedisCannotSave(), RedisReadOnly()):
            fault.start(sandbox)
            fault.await_in_place(sandbox)
            fault.stop(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        with connect_redis(sandbox) as client:
            return bool(client.info("replication")["role"] == "master")


def _snapshot(client: Redis) -> Path:
    """Where the embedded Redis puts it."""
    return Path(*(str(client.config_get(name)[name]) for name in ("dir", "dbfilename")))


drill = drills_of("memory_usage", **PARAMETERS)
DRILLS = (
    drill(
        "redis-growth",
        RedisGrows(),
        expected="memory.redis-growth",
        approve="unlink-keys",
        alerts="RedisMemoryGrowing",
    ),
    drill("redis-evicting", RedisEvicts(), expected="memory.redis-evicting"),
    drill(
        "redis-rejecting",
        RedisRejects(),
        expected="memory.redis-rejecting",
        approve="unlink-keys",
        alerts="RedisMemoryHigh",
    ),
    drill("redis-fragmented", RedisFragmented(), expected="memory.redis-fragmentation"),
    drill("leak-and-evicting", MemoryLeak(), RedisEvicts(), expected="memory.leak memory.redis-evicting"),
    drill("redis-large-key", RedisLargeKey()),
    drill("redis-slow-commands", RedisHeldUp(), expected="redis.slow-commands"),
    drill("redis-scanned", RedisWalkedThrough()),
    drill("redis-flushed", RedisFlushed(), expected="redis.cache-miss-storm"),
    drill("redis-polled-for", RedisPolledFor()),
    drill("redis-crowded", RedisCrowded(), expected="redis.max-clients"),
    drill("redis-many-clients", RedisManyClients()),
    drill("redis-cannot-save", RedisCannotSave(), expected="redis.persistence-failing", stacks=("supervisor",)),
    drill("redis-read-only", RedisReadOnly(), expected="redis.read-only"),
    drill("redis-refused-writes", RedisRefusedWrites(), stacks=("supervisor",)),
)
