"""What else keeps Redis from serving: a command that holds it, a disk, its role, its replicas, its clients, a cache that has nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, percent, ruled_out
from flowrex_ops.durations import format_seconds
from flowrex_ops.memory.redis_commands import RedisActivity
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.services import impact

_MOST = 0.5
"""From this share of its time on it is P1: whoever asks Redis waits more often than not."""

_SLOW_MS = 10.0
"""What Redis itself calls slow unless it is told otherwise (``slowlog-log-slower-than``)."""

_OVER_SECONDS = 60.0
"""Since so long no slow command: it has ended."""

_CHEAP = frozenset(
    "get set setex setnx getset mget mset append strlen incr incrby decr decrby exists expire pexpire ttl pttl type hget hset hsetnx"
    " hmget hincrby hexists hlen lpush rpush lpop rpop llen sadd srem sismember scard zadd zrem zscore zcard publish ping echo select auth hello"
    " info client command config dbsize memory scan hscan sscan zscan slowlog unlink subscribe psubscribe multi time".upper().split()
)
"""What costs little whatever it is asked: where one of these was slow, the machine kept Redis waiting."""


# One command at a time: whoever asks for all of something large stops everybody else. The slow log has the single calls, the counters of
# commands those that it misses, where it is switched off or too short.
BUSY = "BUSY Redis is busy running"
"""After ``busy-reply-threshold`` (https://redis.io/docs/latest/develop/programmability/); a reading that it answered so has it as its error."""


@check("redis.slow-commands")
def check_slow_commands(
    activity: Reading[RedisActivity], *, blocked_share: float = 0.05, slow_minutes: float = 5.0
) -> Verdict:
    """No command that asks for much holds Redis for *blocked_share* of its time, now or over the last *slow_minutes*."""
    cause = "redis.slow-commands"
    if BUSY in (activity.error or ""):
        title = "A script holds Redis, which answers everybody BUSY until it ends"
        told = confirmed(
            cause, title, [Evidence("Redis", str(activity.error), "INFO")], severity=Severity.P1, title=title
        )
        return told.with_steps(lambda one: "script" in one.text)
    if missing(activity):
        return inconclusive(cause, activity)
    found = activity.require()
    slow_log, used = (
        rows.assign(milliseconds=pd.to_numeric(rows["milliseconds"])) for rows in (found.slow, found.used)
    )
    recent = slow_log[slow_log["age_seconds"].le(60 * slow_minutes)]
    slow = recent[~recent["command"].isin(_CHEAP)]
    lasting = slow if slow["age_seconds"].le(_OVER_SECONDS).any() else slow.iloc[:0]
    heavy = used[~_first_words(used["command"]).isin(_CHEAP) & used["milliseconds"].ge(_SLOW_MS * used["calls"])]
    watched = found.seconds + 1  # the slow log tells whole seconds
    now = slow[slow["age_seconds"].le(watched)]
    # One call of some hundred milliseconds is an event, however large a part of a short window it fills.
    now = now if len(now) > 1 or _seconds(now) >= 1 else now.iloc[:0]
    heavy = heavy if heavy["calls"].sum() > 1 or _seconds(heavy) >= 1 else heavy.iloc[:0]
    shares = {
        "while it was watched": (_seconds(now) / watched, now),
        "by its counters": (_seconds(heavy) / found.seconds, heavy),
        f"over the last {slow_minutes:g} minutes": (_seconds(lasting) / 60 / slow_minutes, lasting),
    }
    when, (share, rows) = max(shares.items(), key=lambda item: item[1][0])
    if share >= blocked_share:
        worst = _longest(rows, "command") or "a command"
        title = f"{worst} holds Redis for {percent(min(1.0, share))} of its time"
        severity = Severity.P1 if share >= _MOST else Severity.P2
        evidence = [*_calls(slow), *_counted(heavy)]
        return confirmed(cause, f"{title}, {when}{_sent_by(slow, worst)}", evidence, severity=severity, title=title)
    if blank(used, "command", "calls", "milliseconds"):
        return inconclusive(cause, found.unreported or "this Redis does not tell what its commands take")
    if found.no_slow_log:
        return inconclusive(cause, f"quick on the whole, and single slow commands are not known: {found.no_slow_log}")
    said = f"no command that asks for much held it in {found.seconds:.0f} s"
    if len(slow):
        said += f"; {len(slow)} did in the last {slow_minutes:g} minutes, for {_seconds(slow):.1f} s in all"
    if len(recent) > len(slow):
        said += f"; {len(recent) - len(slow)} slow calls were of commands that cost little: the machine kept it waiting"
    return ruled_out(cause, said)


@check("redis.persistence-failing")
def check_persistence_failing(activity: Reading[RedisActivity]) -> Verdict:
    """Redis could save when it last tried: its snapshot, and its append-only file where it keeps one."""
    cause = "redis.persistence-failing"
    if missing(activity):
        return inconclusive(cause, activity)
    found = activity.require()
    failed = [words for name, words in _SAVING.items() if str(found.saving.get(name, "ok")) != "ok"]
    refused = found.refused.get("MISCONF", 0.0)
    if failed or refused:
        title = f"Redis cannot save: {' and '.join(failed) or 'writes are refused for it'}"
        title += ", and refuses writes (MISCONF)" if refused else ""
        evidence = [
            Evidence(name, str(found.saving[name]), "INFO persistence") for name in _SAVING if name in found.saving
        ]
        evidence.append(Evidence("refused with MISCONF", f"{refused:.0f} in {found.seconds:.0f} s", "INFO errorstats"))
        hint = "" if refused else "; with save points set each write is refused (stop-writes-on-bgsave-error)"
        severity = Severity.P1 if refused else Severity.P2
        return confirmed(cause, title + hint, evidence, severity=severity, title=title)
    if "rdb_last_bgsave_status" not in found.saving:
        return inconclusive(cause, found.unreported or "this Redis does not tell whether it could save")
    return ruled_out(cause, f"what it saved last went well, and no write was refused for it in {found.seconds:.0f} s")


@check("redis.read-only")
def check_read_only(activity: Reading[RedisActivity]) -> Verdict:
    """Redis is no replica, or one that takes writes."""
    cause = "redis.read-only"
    if missing(activity):
        return inconclusive(cause, activity)
    found = activity.require()
    role, refused = str(found.role.get("role", "")), found.refused.get("READONLY", 0.0)
    if role == "master":
        replicas = int(float(found.role.get("connected_slaves", 0)))
        return ruled_out(cause, f"it is a master with {replicas} replicas and takes writes")
    if role != "slave":
        return inconclusive(cause, found.unreported or f"this Redis tells no role that is known here ('{role}')")
    master = f"{found.role.get('master_host', 'unknown')}:{found.role.get('master_port', '')}"
    if str(found.role.get("slave_read_only", 1)) == "0":
        return ruled_out(cause, f"it is a replica of {master} that takes writes")
    link = str(found.role.get("master_link_status", "unknown"))
    title = f"Redis is a read-only replica of {master}" + (", which it has lost" if link == "down" else "")
    evidence = [
        Evidence("role", f"replica of {master}, link {link}", "INFO replication"),
        Evidence("refused with READONLY", f"{refused:.0f} writes in {found.seconds:.0f} s", "INFO errorstats"),
    ]
    severity = Severity.P1 if refused else Severity.P2
    return confirmed(cause, title, evidence, severity=severity, title=title)


@check("redis.replication-broken")
def check_replication(activity: Reading[RedisActivity], *, lag_seconds: float = 30.0) -> Verdict:
    """Redis is no master, or each replica is in step: online, and heard of within *lag_seconds*."""
    cause = "redis.replication-broken"
    if missing(activity):
        return inconclusive(cause, activity)
    found = activity.require()
    role, refused = str(found.role.get("role", "")), found.refused.get("NOREPLICAS", 0.0)
    if role == "slave":
        return ruled_out(cause, "it is a replica itself; its own link is judged by its role")
    if role != "master":
        return inconclusive(cause, found.unreported or f"this Redis tells no role that is known here ('{role}')")
    replicas = [facts for name, facts in found.role.items() if _REPLICA.fullmatch(name) and isinstance(facts, dict)]
    behind = [one for one in replicas if one.get("state") != "online" or float(one.get("lag", 0)) >= lag_seconds]
    if refused or behind:
        title = f"{len(behind)} of {len(replicas)} replicas of Redis are not in step"
        if refused:
            title = "Redis refuses writes for want of replicas (NOREPLICAS)"
        evidence = [
            Evidence(f"replica {one.get('ip')}:{one.get('port')}", f"{one.get('state')}, lag {one.get('lag')} s", _ROLE)
            for one in (behind or replicas)[:5]
        ]
        severity = Severity.P1 if refused else Severity.P2
        return confirmed(cause, title, evidence, severity=severity, title=title)
    if int(float(found.role.get("connected_slaves", 0))) > len(replicas):
        return inconclusive(cause, "it has replicas, and does not tell how they are")
    reported = f"all {len(replicas)} replicas are online" if replicas else "no replica follows it"
    return ruled_out(cause, reported)


# Where it is full our own connection is refused as well: its words, in which the reading failed, are then the evidence.
@check("redis.max-clients")
def check_max_clients(activity: Reading[RedisActivity], *, clients_share: float = 0.9) -> Verdict:
    """Redis has room for more clients: fewer than *clients_share* of those that it takes are connected, and none was turned away."""
    cause = "redis.max-clients"
    if missing(activity):
        if _NO_ROOM in str(activity.error):
            title = "Redis takes no more clients"
            return confirmed(cause, f"{title}: {_NO_ROOM}", severity=Severity.P1, title=title)
        return inconclusive(cause, activity)
    found = activity.require()
    connected, most, rejected = (found.clients.get(name) for name in ("connected", "most", "rejected"))
    if connected is not None and most and (rejected or connected >= clients_share * most):
        title = f"{connected:.0f} of {most:.0f} clients that Redis takes are connected"
        turned = f"{rejected or 0:.0f} were turned away in {found.seconds:.0f} s"
        evidence = [Evidence("clients", title, "INFO clients"), Evidence("turned away", turned, "INFO stats")]
        severity = Severity.P1 if rejected else Severity.P2
        return confirmed(cause, f"{title}; {turned}", evidence, severity=severity, title=title)
    if found.clients.get("rejected_ever") == 0 and not most:
        return ruled_out(cause, "no client was turned away since it started")
    if connected is None or not most:
        return inconclusive(cause, found.unreported or "this Redis does not tell how many clients it takes")
    return ruled_out(cause, f"{connected:.0f} of {most:.0f} clients are connected, and none was turned away")


# A cache that was emptied shows by fewer hits than before, and by whoever writes what was missing. Keys that are asked for until they
# are there (a job's result, a lock) add misses, take no hit away, and nobody writes them.
@check("redis.cache-miss-storm")
def check_cache_miss_storm(
    activity: Reading[RedisActivity], pools: Reading[pd.DataFrame] | None = None, *, misses_per_second: float = 10.0
) -> Verdict:
    """Fewer than *misses_per_second* lookups find nothing, or no larger part of them than before."""
    cause = "redis.cache-miss-storm"
    if missing(activity):
        return inconclusive(cause, activity)
    found = activity.require()
    if not found.lookups:
        return inconclusive(cause, found.unreported or "this Redis does not tell which lookups find nothing")
    hits, misses = (found.lookups[name] / found.seconds for name in ("hits", "misses"))
    said = f"{misses:.1f} of {hits + misses:.1f} lookups a second find nothing"
    if misses < misses_per_second:
        return ruled_out(cause, said)
    usual_hits, usual, when, lasting = _usual_lookups(found.lookups)
    was = f"{usual:.1f} of {usual_hits + usual:.1f} {when}"
    part, usual_part = misses / (hits + misses), usual / max(usual_hits + usual, 1e-9)
    if not usual_hits or part < max(_MANY, _GROWN * usual_part) or misses < _GROWN * usual:
        unknown = inconclusive(
            cause, f"{said}, {was}: too short to tell what is usual, and Prometheus does not know it"
        )
        return ruled_out(cause, f"{said}, as ever: {was}") if lasting or usual_part >= _NEVER else unknown
    written = found.used.loc[_first_words(found.used["command"]).isin(_KEPT), "calls"].sum() / found.seconds
    if hits >= usual_hits:
        return _on_top(cause, f"{said}, {was}", filled=written >= misses / 2)
    title = f"Redis finds {percent(1 - part)} of what it is asked for, {percent(1 - usual_part)} {when}"
    evidence = [
        Evidence("lookups", f"{said}; {was}", "INFO stats"),
        Evidence("written meanwhile", f"{written:.1f} keys a second", "INFO commandstats"),
    ]
    return confirmed(cause, f"{title}: {said}", evidence, severity=impact.of_pools(pools), title=title)


def _on_top(cause: str, said: str, *, filled: bool) -> Verdict:
    """Of misses beside as many hits as ever: polled for where nobody writes what is missing."""
    if filled:
        return inconclusive(cause, f"{said}; as many as ever are found: more users, or a part of the cache is gone")
    return ruled_out(cause, f"{said}; as many as ever are found, and nobody writes what is missing: it is polled for")


def _usual_lookups(seen: Mapping[str, float]) -> tuple[float, float, str, bool]:
    """Hits and misses a second before, when that was, and whether it is long enough to be usual."""
    up = max(1.0, seen["up_seconds"])
    hits, misses, when = (
        seen["hits_ever"] / up,
        seen["misses_ever"] / up,
        f"in the {format_seconds(up)} since it started",
    )
    by_prometheus = {"hits_before", "misses_before"} <= seen.keys()
    if by_prometheus:
        hits, misses, when = seen["hits_before"], seen["misses_before"], "in the hour before"
    return hits, misses, when, (by_prometheus or up >= _LONG_SECONDS) and hits + misses > 0


_MANY, _GROWN, _NEVER, _LONG_SECONDS = 0.2, 2, 0.99, 3600
"""From this part of the lookups on misses are many, and a storm where they are twice as many as usual; a cache that finds less than one in
a hundred is none. What Redis has done in less than an hour may be the storm itself."""
_KEPT = frozenset(("SET", "SETEX", "PSETEX", "SETNX", "MSET", "HSET", "HMSET", "GETSET"))

_ROLE = "INFO replication"
_NO_ROOM = "max number of clients reached"
_REPLICA = re.compile(r"slave\d+")
_SAVING = {
    "rdb_last_bgsave_status": "its last snapshot failed",
    "aof_last_write_status": "its append-only file cannot be written",
    "aof_last_bgrewrite_status": "its append-only file cannot be rewritten",
}


def _first_words(commands: pd.Series) -> pd.Series:
    return commands.fillna("").astype(str).str.split(" ").str[0]


def _seconds(rows: pd.DataFrame) -> float:
    return float(rows["milliseconds"].sum()) / 1000


def _longest(rows: pd.DataFrame, column: str) -> str:
    """Which of *column* took longest in all; empty where none is told."""
    totals = rows.groupby(column)["milliseconds"].sum().sort_values(ascending=False, kind="stable")
    return str(totals.index[0]) if len(totals) else ""


def _calls(slow: pd.DataFrame) -> list[Evidence]:
    """The slow log by command, key and client, what took longest in all first."""
    grouped = slow.groupby(["command", "on", "sent_by"])["milliseconds"].agg(["size", "max", "sum"])
    return [
        Evidence(
            f"{command} {on}".strip(),
            f"{row['size']:.0f} calls of up to {row['max']:.0f} ms, by {who or 'unknown'}",
            "SLOWLOG GET",
        )
        for (command, on, who), row in grouped.sort_values("sum", ascending=False).head(4).iterrows()
    ]


def _counted(used: pd.DataFrame) -> list[Evidence]:
    return [
        Evidence(
            f"all {row.command}",
            f"{row.calls:.0f} calls, {row.milliseconds / row.calls:.0f} ms each",
            "INFO commandstats",
        )
        for row in used.head(3).itertuples()
    ]


def _sent_by(slow: pd.DataFrame, command: str) -> str:
    mine = slow[slow["command"].eq(command)]
    on, who = _longest(mine, "on"), _longest(mine, "sent_by")
    return (f", on {on}" if on else "") + (f", sent by {who}" if who else "")
