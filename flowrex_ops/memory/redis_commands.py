"""What Redis does all day: what its commands cost and who sends the slow ones, whether it can save, whether it takes writes.

``INFO`` and ``SLOWLOG GET`` alone (https://redis.io/docs/latest/commands/slowlog-get/). Of a slow command its name and the prefix of its
key are kept, never a value, a script or a whole command line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.memory.redis_client import ask_info, missing_right

if TYPE_CHECKING:
    from redis import Redis

USED_COLUMNS = ["command", "calls", "milliseconds"]
SLOW_COLUMNS = ["at", "age_seconds", "command", "on", "milliseconds", "sent_by"]
_ENTRIES = 128
"""What Redis keeps unless it is told to keep more (``slowlog-max-len``)."""

_SECTIONS = ("clients", "commandstats", "errorstats", "persistence", "replication", "server", "stats")
_KEY_FIRST = (
    "keys hgetall hkeys hvals smembers lrange lrem linsert lpos zrange zrevrange zrangebyscore zrevrangebyscore zrangebylex"
    " sort sort_ro sinter sunion sdiff sinterstore sunionstore sdiffstore zunionstore zinterstore del getrange bitcount xrange"
    " get set mget mset hget hset hmget hmset hdel incr expire lpush rpush sadd srem zadd zrem dump restore"
)
"""Commands whose first word is a key, or a pattern of keys."""


@dataclass(frozen=True, slots=True)
class RedisActivity:
    """Redis over *seconds*. What it did not tell, or may not be asked by this user, is empty, and ``unreported`` (``no_slow_log``) says why.

    ``used``: what each command took meanwhile; ``slow``: its slow log, newest first; ``refused``: writes that it refused meanwhile, by
    the word of the error; ``saving`` and ``role``: what ``INFO persistence`` and ``INFO replication`` say. ``clients``: how many are
    connected (``connected``), how many may be (``most``), and how many were turned away (``rejected`` meanwhile, ``rejected_ever``).
    ``lookups``: keys that were asked for and found (``hits``) or not (``misses``) meanwhile; the same since it started (``hits_ever``,
    ``misses_ever``, ``up_seconds``) and, where Prometheus knows, a second in the hour before (``hits_before``, ``misses_before``).
    """

    seconds: float
    used: pd.DataFrame
    slow: pd.DataFrame
    refused: Mapping[str, float]
    saving: Mapping[str, Any]
    role: Mapping[str, Any]
    unreported: str = ""
    no_slow_log: str = ""
    clients: Mapping[str, float] = field(default_factory=dict)
    lookups: Mapping[str, float] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """The slow log as people read it, what took longest in all first: command, on, sent_by, calls, longest_ms, total_ms, last."""
        grouped = self.slow.groupby(["command", "on", "sent_by"], as_index=False).agg(
            calls=("milliseconds", "size"),
            longest_ms=("milliseconds", "max"),
            total_ms=("milliseconds", "sum"),
            last=("at", "max"),
        )
        return grouped.sort_values("total_ms", ascending=False, ignore_index=True)


def sample_activity(client: Redis, window_seconds: float) -> RedisActivity:
    """Looked at twice, *window_seconds* apart: totals say something only by growing."""
    before, started = _ask(client), time.monotonic()
    time.sleep(window_seconds)
    slow_log = _slow_log(client)
    return _compare(before, _ask(client), time.monotonic() - started, slow_log)


def compare_looks(looks: Sequence[Any]) -> RedisActivity:
    """The same of copies of ``INFO``, each with the time ``at`` which it was asked."""
    seconds = (looks[-1].at - looks[0].at).total_seconds()
    if seconds <= 0:
        raise SourceUnavailableError("one copy of INFO does not tell what grows; copy a second one some seconds later")
    return _compare(_ask(looks[0]), _ask(looks[-1]), seconds, ([], "the slow log was not copied"))


def _compare(
    before: Mapping[str, Any], after: Mapping[str, Any], seconds: float, slow_log: tuple[list[dict[str, Any]], str]
) -> RedisActivity:
    slow, no_slow_log = slow_log
    denied = ", ".join(name for name in _SECTIONS if after[name] is None)
    now = float((after["server"] or {}).get("server_time_usec", 1e6 * time.time())) / 1e6
    return RedisActivity(
        seconds=seconds,
        used=_grown(before["commandstats"] or {}, after["commandstats"] or {}),
        slow=pd.DataFrame([_slow(entry, now) for entry in slow], columns=SLOW_COLUMNS),
        refused=_refused(before["errorstats"], after["errorstats"]),
        saving=after["persistence"] or {},
        role=after["replication"] or {},
        unreported=denied and f"the user of redis.url may not ask for INFO {denied}; grant it (ACL SETUSER … +info)",
        no_slow_log=no_slow_log,
        clients=_clients(before, after),
        lookups=_lookups(before, after),
    )


def _ask(client: Redis) -> dict[str, dict[str, Any] | None]:
    return {name: ask_info(client, name) for name in _SECTIONS}


def _grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> pd.DataFrame:
    """What each command took between two looks, the most first."""
    rows = []
    for name, facts in after.items():
        earlier = before.get(name, {})
        calls = float(facts["calls"]) - float(earlier.get("calls", 0))
        took = (float(facts["usec"]) - float(earlier.get("usec", 0))) / 1000
        if calls > 0:
            rows.append((name.removeprefix("cmdstat_").replace("|", " ").upper(), calls, max(0.0, took)))
    return pd.DataFrame(rows, columns=USED_COLUMNS).sort_values("milliseconds", ascending=False, ignore_index=True)


def _refused(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, float]:
    """Errors of each kind that were answered meanwhile; ``errorstat_MISCONF`` is there from the first one on, since Redis 6.2."""
    counts = [
        {name.removeprefix("errorstat_"): _count(reported) for name, reported in (one or {}).items()}
        for one in (before, after)
    ]
    return {name: max(0.0, total - counts[0].get(name, 0.0)) for name, total in counts[1].items()}


def _clients(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """The limit stands in ``INFO clients`` since Redis 6.2; what is not told is left out."""
    reported, old, new = after["clients"] or {}, *((one["stats"] or {}) for one in (before, after))
    found = {"connected": reported.get("connected_clients"), "most": reported.get("maxclients")}
    if "rejected_connections" in old and "rejected_connections" in new:
        ever = float(new["rejected_connections"])
        found |= {"rejected": max(0.0, ever - float(old["rejected_connections"])), "rejected_ever": ever}
    return {name: float(value) for name, value in found.items() if value is not None}


def _lookups(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """Nothing where one of them is not told."""
    old, new, server = before["stats"] or {}, after["stats"] or {}, before["server"] or {}
    names = ("hits", "misses")
    if "uptime_in_seconds" not in server or not {f"keyspace_{name}" for name in names} <= old.keys() & new.keys():
        return {}
    ever = {name: float(old[f"keyspace_{name}"]) for name in names}
    found = {name: max(0.0, float(new[f"keyspace_{name}"]) - ever[name]) for name in names}
    return found | {f"{name}_ever": ever[name] for name in names} | {"up_seconds": float(server["uptime_in_seconds"])}


def _count(reported: Any) -> float:
    return float(reported["count"] if isinstance(reported, dict) else str(reported).rpartition("=")[2])


def _slow_log(client: Redis) -> tuple[list[dict[str, Any]], str]:
    """The newest entries of the slow log; or none, and why."""
    from redis.exceptions import NoPermissionError, ResponseError

    try:
        entries: list[dict[str, Any]] = client.slowlog_get(_ENTRIES)
    except NoPermissionError as error:
        return [], missing_right(str(error))
    except ResponseError as error:  # a proxy, or a service that has taken the command away
        return [], f"this Redis gives no slow log: {error}"
    return entries, ""


def _slow(entry: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    from flowrex_ops.memory.redis import prefix_of

    words = bytes(entry["command"]).decode(errors="replace").split(" ", 2)
    on = prefix_of(words[1]) if words[1:] and words[0].lower() in _KEY_FIRST.split() else ""
    name, address = (bytes(entry.get(part, b"")).decode(errors="replace") for part in ("client_name", "client_address"))
    at = datetime.fromtimestamp(entry["start_time"], UTC)
    return at, now - entry["start_time"], words[0].upper(), on, entry["duration"] / 1000, f"{name} {address}".strip()
