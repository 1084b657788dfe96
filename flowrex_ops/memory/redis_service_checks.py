"""What else keeps Redis from serving: a command that holds it, a disk that it cannot save to, its role, its replicas, its clients."""

from __future__ import annotations

import re

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, percent, ruled_out
from flowrex_ops.memory.redis_commands import RedisActivity
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

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
@check("redis.slow-commands")
def check_slow_commands(
    activity: Reading[RedisActivity], *, blocked_share: float = 0.05, slow_minutes: float = 5.0
) -> Verdict:
    """No command that asks for much holds Redis for *blocked_share* of its time, now or over the last *slow_minutes*."""
    cause = "redis.slow-commands"
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
