"""Why answers are slow: causes told apart. Each slow request is attributed to one of them, or is unexplained."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, percent, ruled_out
from flowrex_ops.latency import blind_spots as blind
from flowrex_ops.latency.requests import share_of
from flowrex_ops.latency.slowness import USUAL, SlowRequests
from flowrex_ops.logs.request_counts import most, total_of
from flowrex_ops.logs.request_times import PARTS
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

PROXY, REPLICAS, DATABASE, STACK, LOG = "access log", "replicas", "database", "stack", "backend log"
SHOWN = 4


@check("http.slow-database")
def check_database(slow: SlowRequests) -> Verdict:
    """No request waits for a connection of the pool, for a lock or for a long query while answers are slow."""
    cause = "http.slow-database"
    rows = slow.of(cause)
    if slow.counts(rows):
        who, how = slow.waits[0]
        evidence = [Evidence(who, how, DATABASE) for who, how in slow.waits]
        return _confirmed(cause, slow, rows, f"Requests wait for the database: {who}: {how}", evidence)
    reported = "no pool is full or waited for, and no statement of a replica takes long"
    if slow.waits:
        reported = f"{_elsewhere(slow)}, not to the database"
    return _ruled_out(cause, slow, reported, blind.of_waits(slow))


@check("backend.event-loop-blocked")
def check_event_loop(slow: SlowRequests) -> Verdict:
    """Every replica answers a path that costs nothing in time."""
    cause, late = "backend.event-loop-blocked", f"{slow.limits.live_seconds:g} s"
    rows = slow.of(cause)
    if slow.counts(rows):
        names = sorted(set(slow.blocked) & set(rows["replica"])) or sorted(slow.blocked)
        evidence = [
            Evidence(
                name, f"{percent(slow.blocked[name])} of the time it owed a cheap answer for {late} or longer", REPLICAS
            )
            for name in names
        ]
        does = "does" if len(names) == 1 else "do"
        title = f"{' and '.join(names)} {does} not answer a path that costs nothing in time"
        return _confirmed(cause, slow, rows, title, [*evidence, *_by(rows, "route")])
    reported = f"every replica answered a path that costs nothing within {late}, but for single times"
    if slow.blocked:
        reported = f"{_elsewhere(slow)}, not to a blocked loop"
    return _ruled_out(cause, slow, reported, blind.of_reading(slow.liveness, "replica", "seconds"))


@check("host.cpu-saturated")
def check_cpu(slow: SlowRequests) -> Verdict:
    """Neither is the machine short of CPU nor a replica held back at its limit, or answers are fast all the same."""
    cause = "host.cpu-saturated"
    rows = slow.of(cause)
    pressure = "not told" if slow.cpu_pressure is None else f"{slow.cpu_pressure:.0f} % of the last minute"
    held = [
        Evidence(name, f"held back at its CPU limit in {percent(share)} of its periods", STACK)
        for name, share in sorted(slow.throttled.items())
    ]
    if slow.counts(rows):
        evidence = [Evidence("tasks waited for a processor", pressure, STACK), *held, *_by(rows, "replica")]
        title = f"The machine is short of CPU: tasks waited for a processor in {pressure}"
        if held:
            title = f"{held[0].name} is {held[0].value}"
        return _confirmed(cause, slow, rows, title, evidence)
    reported = f"tasks waited for a processor in {pressure}; no replica was held back at its limit"
    if held or (slow.cpu_pressure or 0) >= slow.limits.pressure_percent:
        reported = f"{_elsewhere(slow)}, though CPU is short ({pressure})"
        if not held and not slow.hits_others(slow.slow):
            reported += ": the other routes take no longer than before"
    unseen = blind.of_reading(slow.pressure, "replica", "pressure_avg60", "throttled_share")
    return _ruled_out(cause, slow, reported, unseen)


@check("host.disk-slow")
def check_disk(slow: SlowRequests) -> Verdict:
    """The disk keeps nobody waiting, or answers are fast all the same."""
    cause = "host.disk-slow"
    rows = slow.of(cause)
    pressure = "not told" if slow.io_pressure is None else f"{slow.io_pressure:.0f} % of the last minute"
    if slow.counts(rows):
        evidence = [
            Evidence("tasks waited for a disk", pressure, STACK),
            *(Evidence(who, how, DATABASE) for who, how in slow.waits),
            *_by(rows, "route"),
        ]
        title = f"The disk keeps tasks waiting, in {pressure}"
        return _confirmed(cause, slow, rows, title, evidence)
    reported = f"tasks waited for a disk in {pressure}"
    if (slow.io_pressure or 0) >= slow.limits.pressure_percent:
        reported = f"{_elsewhere(slow)}, though the disk is busy ({pressure})"
    return _ruled_out(cause, slow, reported, blind.of_reading(slow.pressure, "replica", "io_pressure_avg60"))


@check("http.slow-release")
def check_release(slow: SlowRequests) -> Verdict:
    """Answers are not slow since a release: none came lately, or it is as fast as the one before."""
    cause, release = "http.slow-release", slow.release
    rows = slow.of(cause)
    if release is None:
        return _ruled_out(cause, slow, "no release came within the time looked at", blind.of_releases(slow))
    reported = f"{release.version} took the place of {release.previous} at {release.at:%H:%M:%S} UTC"
    if slow.counts(rows):
        evidence = [Evidence("release", reported, PROXY), *_by(rows, "route"), *_by(rows, "replica")]
        return _confirmed(cause, slow, rows, f"Slow since a release: {reported}", evidence)
    return _ruled_out(cause, slow, f"{reported}; what is slow did not begin with it", blind.of_releases(slow))


@check("http.slow-replica")
def check_replica(slow: SlowRequests) -> Verdict:
    """No replica is slow where the others are not."""
    return _judge_place("http.slow-replica", "replica", slow)


@check("http.slow-route")
def check_route(slow: SlowRequests) -> Verdict:
    """No route is slow where the others are not."""
    return _judge_place("http.slow-route", "route", slow)


@check("http.slow-clients")
def check_clients(slow: SlowRequests) -> Verdict:
    """No more requests than before take their time in the client's connection."""
    cause = "http.slow-clients"
    rows = slow.of(cause)
    if slow.counts(rows):
        title = "The time is in the clients' connections; the platform answered them as fast as others"
        return _confirmed(cause, slow, rows, title, _by(rows, "route"), Severity.P3)
    reported = f"{total_of(rows)} of {slow.total} recent requests took long in the client's connection"
    return _ruled_out(cause, slow, reported, blind.of_bodies(slow))


@check("http.unexplained-latency")
def check_unexplained_latency(slow: SlowRequests, log: Reading[LogSummary]) -> Verdict:
    """Every slow request has one of the causes above, or next to none is slow."""
    cause = "http.unexplained-latency"
    few = [name for name, part in slow.slow.groupby("cause") if not name or (name != USUAL and not slow.counts(part))]
    rows = slow.slow[slow.slow["cause"].isin(few)]
    if slow.counts(rows):
        route, _ = most(rows, "route")
        places = rows["route"].nunique()
        where = route if places == 1 else f"{route} and {places - 1} other route{'s' * (places > 2)}"  # noqa: PLR2004  # the plural
        evidence = [one for column in ("route", "replica", "version", "slow_in") for one in _by(rows, column)]
        return _confirmed(cause, slow, rows, f"Slow on {where}, and no known cause explains it", evidence)
    # Where the proxy's log does not tell, the backend's own may.
    unseen = blind.of_all(slow)
    if unseen and log.available and (found := log.require()).slow_requests >= slow.limits.least:
        timed = found.requests - found.untimed
        share = found.slow_requests / max(1, timed)
        if share >= slow.limits.slow_ratio:
            slowest = sorted(found.slowest, reverse=True)[:SHOWN]
            evidence = [Evidence(route, f"{seconds:.1f} s on {place}", LOG) for seconds, route, place in slowest]
            title = f"{found.slow_requests} of {timed} requests are slow by the backend's own log"
            return confirmed(cause, f"{title}; {unseen}", evidence, title=title, share=share)
    reported = f"{total_of(rows)} of {total_of(slow.slow)} slow requests have no cause, of {slow.total} recent ones"
    return _ruled_out(cause, slow, reported)


def _judge_place(cause: str, column: str, slow: SlowRequests) -> Verdict:
    rows = slow.of(cause)
    if not slow.counts(rows):
        return _ruled_out(cause, slow, f"{_elsewhere(slow)}, not to one {column} alone", blind.of_places(slow, column))
    name, _ = most(rows, column)
    own = slow.recent[column].eq(name)
    evidence = [
        Evidence(what, f"{percent(share_of(part))} of {total_of(part)} recent requests are slow", PROXY)
        for what, part in ((f"{column} {name}", slow.recent[own]), (f"other {column}s", slow.recent[~own]))
    ]
    evidence += _by(rows, "replica" if column == "route" else "route")
    return _confirmed(cause, slow, rows, f"Only {name} is slow", evidence)


def _confirmed(
    cause: str,
    slow: SlowRequests,
    rows: pd.DataFrame,
    title: str,
    evidence: Iterable[Evidence],
    severity: Severity | None = None,
) -> Verdict:
    """A finding: how many, where their time went, how it was before. What has ended is told as past."""
    number = total_of(rows)
    share = number / max(1, slow.total)
    seconds = rows[list(PARTS)].sum()
    spent = ", ".join(f"{part} {seconds[part] / number:.1f} s" for part in PARTS if seconds[part] > 0)
    before = slow.before[slow.before["route"].isin(rows["route"])]
    earlier = f"{percent(share_of(before))} of {total_of(before)} were slow"
    facts = [
        Evidence("slow requests", f"{number} of {slow.total} recent ones ({percent(share)})", PROXY),
        Evidence("their time, on average", spent or "not told", PROXY),
        Evidence("before, on these routes", earlier if len(before) else "no request to compare with", PROXY),
    ]
    if over := slow.over_since(rows):
        title = f"Over since {over[0]:%H:%M:%S} UTC, {over[1]} requests were fast since: {title}"
        severity = Severity.P3
    reason = f"{title} ({number} of {slow.total} recent requests took {slow.limits.slow_seconds:g} s or longer)"
    return confirmed(cause, reason, [*facts, *evidence], severity=severity, title=title, share=share)


def _ruled_out(cause: str, slow: SlowRequests, reported: str, unseen: str = "") -> Verdict:
    """Ruled out where next to nothing is slow, or *told* says why not; inconclusive where it could not have been seen."""
    if reason := blind.of_all(slow):
        return inconclusive(cause, reason)
    usual, rows = total_of(slow.of(USUAL)), slow.slow[slow.slow["cause"].ne(USUAL)]
    if not slow.counts(rows):
        if usual >= slow.limits.slow_ratio * slow.total:
            return inconclusive(
                cause,
                f"{usual} of {slow.total} recent requests are slow, and as many were before: it is usual, or it began earlier than the"
                " log was read; raise since and baseline_minutes, or slow_seconds where it is usual",
            )
        limit = f"{slow.limits.slow_seconds:g} s"
        return ruled_out(cause, f"{total_of(slow.slow)} of {slow.total} recent requests took {limit} or longer")
    reason = "" if cause == "http.unexplained-latency" else blind.of_parts(slow)
    return inconclusive(cause, reason or unseen) if reason or unseen else ruled_out(cause, reported)


def _elsewhere(slow: SlowRequests) -> str:
    causes = [str(name) for name, part in slow.slow.groupby("cause") if name not in ("", USUAL) and slow.counts(part)]
    return f"what is slow is attributed to {' and '.join(causes)}" if causes else "what is slow is spread out"


def _by(rows: pd.DataFrame, column: str) -> list[Evidence]:
    """How many were slow for each value of *column*, the most first; nothing where no log tells it."""
    sums = rows.groupby(column)["requests"].sum()
    ranked = sorted(((str(name), int(number)) for name, number in sums.items()), key=lambda item: (-item[1], item[0]))
    return [Evidence(f"{column} {name or '(none)'}", f"{number} slow", PROXY) for name, number in ranked[:SHOWN]]
