"""Is a service gone, unhealthy, or restarting, a disk full or read-only, or a third party in trouble? One check each."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, ruled_out, unreported, whole
from flowrex_ops.discovery.services import DISK_COLUMNS, ENDED, REPLICA_COLUMNS
from flowrex_ops.health import GONE, judge_door, judge_replicas
from flowrex_ops.metrics.backend import READINESS_COLUMNS
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.services.clocks import check_clock_drift
from flowrex_ops.services.configuration import check_drift
from flowrex_ops.services.credentials import check_rotated_halfway
from flowrex_ops.services.impact import of_health
from flowrex_ops.services.machines import (
    check_conntrack,
    check_disk_filling,
    check_network_saturated,
    check_packet_loss,
)
from flowrex_ops.services.monitoring import check_monitoring_blind
from flowrex_ops.services.resolver import check_dns_failing
from flowrex_ops.services.third_party import PAGE_COLUMNS

__all__ = [
    "check_clock_drift",
    "check_conntrack",
    "check_disk_filling",
    "check_disk_full",
    "check_disk_read_only",
    "check_dns_failing",
    "check_down",
    "check_drift",
    "check_external_outage",
    "check_inodes_full",
    "check_monitoring_blind",
    "check_network_saturated",
    "check_packet_loss",
    "check_restarting",
    "check_rotated_halfway",
    "check_unhealthy",
]

Frame = Reading[pd.DataFrame]

HALTED = ("paused",)
NO_OUTAGE = ("none", "minor", "maintenance")
"""Statuspage's indicators below an outage: https://status.atlassian.com/api."""


@check("service.down")
def check_down(services: Frame, *, may_be_absent: Collection[str] = ("certbot",)) -> Verdict:
    """Every replica of every service runs, but for services that run only now and then."""
    cause = "service.down"
    if missing(services):
        return inconclusive(cause, services)
    expected = _expected(services, may_be_absent)
    gone, ended = (expected[expected["state"].isin(states)] for states in (GONE, (ENDED,)))
    if gone.empty and len(ended):
        who = _listed(ended["name"])
        why = "a job, or somebody stopped it; name it in stack.may_be_absent, or start it"
        return inconclusive(cause, f"{who} {'has' if len(ended) == 1 else 'have'} ended with exit code 0: {why}")
    if gone.empty:
        if unreported(expected, "service", "name", "state"):
            return inconclusive(cause, "the stack does not tell the state of every replica")
        text = f"{len(expected)} of {len(expected)} containers are there ({expected['service'].nunique()} services)"
        return ruled_out(cause, text) if len(expected) else inconclusive(cause, "the stack knows no service at all")
    running = set(expected.loc[~expected["state"].isin(GONE), "service"])
    whole = sorted(set(gone["service"]) - running)
    title = (
        f"{_listed(whole)} {_is(whole)} down" if whole else f"{_listed(gone['name'])} {_is(list(gone['name']))} down"
    )
    evidence = [
        Evidence(name, state if pd.isna(code) else f"{state} with exit code {code:.0f}", "stack")
        for name, state, code in gone.sort_values("name")[["name", "state", "exit_code"]].itertuples(index=False)
    ]
    severity = Severity.P1 if whole else Severity.P2
    reason, down = f"{title}: {len(gone)} of {len(expected)} replicas", gone["service"].dropna()
    return confirmed(cause, reason, evidence, severity=severity, title=title, services=down)


@check("service.unhealthy")
def check_unhealthy(
    services: Frame,
    health: Frame,
    front_door: Frame,
    *,
    may_be_absent: Collection[str] = ("certbot",),
    restarts: int = 2,
    recent_minutes: float = 30.0,
) -> Verdict:
    """What runs also says that it is healthy: health checks, every replica's readiness, and the answer that users get.

    A replica that keeps restarting is between two starts whenever it is asked: that is ``service.restarting``.
    """
    cause = "service.unhealthy"
    judged = judge_replicas(services, health)
    looping = set(_looping(services, restarts, recent_minutes)["name"]) if services.available else set()
    judged = judged[~judged["replica"].isin(looping)]
    door, said = judge_door(front_door.require()) if front_door.available else (None, "")
    ill = [item for item in _ill(services, may_be_absent) if item.name not in looping or item.value in HALTED]
    evidence = [*ill, *_unready(judged, health)]
    evidence += [Evidence("front door", said, str(front_door.require()["url"].iloc[0]))] if door is False else []
    if evidence:
        names = list(dict.fromkeys(item.name for item in evidence))
        title = f"{_listed(names)} {_is(names)} unhealthy"
        severity = of_health(services, health, front_door)
        return confirmed(cause, f"{title}: {evidence[0].value}", evidence, severity=severity, title=title)
    if missing(services, health, front_door):
        return inconclusive(cause, services, health, front_door)
    open_questions = [f"{row.replica}: {row.says}" for row in judged.itertuples() if row.ready is not True]
    open_questions += [f"front door: {said}"] if door is None else []
    open_questions += [] if len(judged) else ["no running replica of the backend was asked"]
    expected = _expected(services, may_be_absent)
    if expected.empty or unreported(expected, "service", "name", "state", "health"):
        open_questions.append("the stack does not tell the health of every replica")
    if open_questions:
        return inconclusive(cause, open_questions[0])
    but = f"; {_listed(looping)} {'keeps' if len(looping) == 1 else 'keep'} restarting, which is judged by itself"
    text = f"all {len(judged)} backend replicas are ready, users get an answer: {said}"
    return ruled_out(cause, text + (but if looping else ""))


@check("service.restarting")
def check_restarting(services: Frame, *, restarts: int = 2, recent_minutes: float = 30.0) -> Verdict:
    """No replica ended by itself *restarts* times or more, the last time within *recent_minutes*."""
    cause = "service.restarting"
    if missing(services):
        return inconclusive(cause, services)
    table = whole(services.require(), REPLICA_COLUMNS)
    looping = _looping(services, restarts, recent_minutes)
    if looping.empty and (unreported(table, "state", "restarts") or blank(table, "started_at")):
        return inconclusive(cause, "the stack does not tell how often its replicas restarted, and when")
    if looping.empty:
        return ruled_out(cause, f"no replica restarted {restarts} times or more in the last {recent_minutes:g} minutes")
    rows = looping.sort_values(["restarts", "name"], ascending=[False, True])
    evidence = [
        Evidence(name, f"{int(count)} restarts, {state}, last start {_moment(at)}", "stack")
        for name, count, state, at in rows[["name", "restarts", "state", "started_at"]].itertuples(index=False)
    ]
    title = f"{_listed(rows['name'])} {'keeps' if len(rows) == 1 else 'keep'} restarting"
    return confirmed(cause, f"{title}: {evidence[0].value}", evidence, title=title, services=rows["service"].dropna())


def _looping(services: Frame, restarts: int, recent_minutes: float) -> pd.DataFrame:
    """The replicas that ended by themselves so often, the last time lately."""
    table = whole(services.require(), REPLICA_COLUMNS)
    earliest = pd.Timestamp(services.taken_at) - timedelta(minutes=recent_minutes)
    lately = pd.to_datetime(table["started_at"], utc=True) >= earliest
    return table[table["state"].eq("restarting") | (table["restarts"].ge(restarts) & lately)]


@check("service.disk-full")
def check_disk_full(disks: Frame, *, full_share: float = 0.9) -> Verdict:
    """Every filesystem that the services write to has room: less than *full_share* is used."""
    cause = "service.disk-full"
    if missing(disks):
        return inconclusive(cause, disks)
    table = whole(disks.require(), DISK_COLUMNS)
    if blank(table, "used_share"):
        return inconclusive(cause, "no filesystem could be looked at")
    fullest = table.sort_values(["used_share", "where", "mount"], ascending=[False, True, True])
    full = fullest[fullest["used_share"].ge(full_share)]
    first = next(fullest.itertuples())
    said = f"{first.mount} of {first.where} is {first.used_share:.0%} full"
    if full.empty:
        unseen = f"not every filesystem could be looked at; the fullest seen, {said}"
        return (
            inconclusive(cause, unseen) if unreported(table, "used_share") else ruled_out(cause, f"the fullest, {said}")
        )
    evidence = [
        Evidence(f"{row.mount} of {row.where}", f"{row.used_share:.0%} of {_mib(row.total_bytes)}", "df")
        for row in full.head(8).itertuples()
    ]
    return confirmed(cause, said, evidence, title=said)


@check("service.inodes-full")
def check_inodes_full(disks: Frame, *, full_share: float = 0.9) -> Verdict:
    """Every filesystem that the services write to can hold more files: less than *full_share* of its inodes are used.

    One without room is ``service.disk-full``: some make inodes of the room that there is, and then have neither.
    """
    cause = "service.inodes-full"
    if missing(disks):
        return inconclusive(cause, disks)
    table = whole(disks.require(), DISK_COLUMNS)
    if blank(table, "inodes_share"):
        return inconclusive(cause, "no filesystem tells its inodes")
    fullest = table.sort_values(["inodes_share", "where", "mount"], ascending=[False, True, True])
    short = fullest[fullest["inodes_share"].ge(full_share)]
    full = short[~short["used_share"].ge(full_share)]
    first = (full if len(full) else fullest).iloc[0]
    said = f"{first['mount']} of {first['where']} has used {first['inodes_share']:.0%} of its inodes"
    if len(full):
        evidence = [
            Evidence(f"{row.mount} of {row.where}", f"{row.inodes_share:.0%} of {row.inodes_total or 0:,.0f}", "df -i")
            for row in full.head(8).itertuples()
        ]
        return confirmed(cause, said, evidence, title=said)
    if len(short):
        return inconclusive(cause, f"{said}, and has no room either; see service.disk-full")
    unseen = f"not every filesystem tells its inodes; {said}"
    return inconclusive(cause, unseen) if unreported(table, "inodes_share") else ruled_out(cause, f"at most, {said}")


@check("service.disk-read-only")
def check_disk_read_only(disks: Frame) -> Verdict:
    """No disk that a container's definition mounts to be written to is mounted read-only."""
    cause = "service.disk-read-only"
    if missing(disks):
        return inconclusive(cause, disks)
    table = whole(disks.require(), DISK_COLUMNS)
    stuck = table[table["read_only"].map(lambda one: one is True).astype(bool)].sort_values(["where", "mount"])
    if len(stuck):
        evidence = [Evidence(f"{row.mount} of {row.where}", "ro", "/proc/mounts") for row in stuck.head(8).itertuples()]
        said = f"{evidence[0].name} is mounted read-only, and is to be written to"
        return confirmed(cause, said, evidence, title=f"{evidence[0].name} has become read-only")
    if table.empty or unreported(table, "read_only"):
        return inconclusive(cause, "not every container tells how its filesystems are mounted")
    return ruled_out(cause, f"none of {len(table)} filesystems is read-only that is to be written to")


@check("external.outage")
def check_external_outage(pages: Frame) -> Verdict:
    """Nobody that the platform stands on has announced an outage; degraded performance and maintenance are no outage."""
    cause = "external.outage"
    if missing(pages):
        return inconclusive(cause, pages)
    table = whole(pages.require(), PAGE_COLUMNS)
    struck = table[table["indicator"].isin(["major", "critical"])].sort_values(["indicator", "page"])
    if len(struck):
        evidence = [
            Evidence(str(row.page), f"{row.says}: {row.troubles}", str(row.link)) for row in struck.itertuples()
        ]
        title = f"{_listed(struck['page'])} {'has' if len(struck) == 1 else 'have'} announced an outage"
        return confirmed(cause, f"{title}: {evidence[0].value}", evidence, title=title)
    silent = table[table["error"].ne("") | ~table["indicator"].isin(NO_OUTAGE)].sort_values("page")
    if len(silent):
        why = silent["error"].iloc[0] or "its answer is none that is known"
        return inconclusive(cause, f"{_listed(silent['page'])} could not be asked: {why}")
    if table.empty:
        return inconclusive(cause, "no status page is configured; set status_pages")
    small = table[table["indicator"].ne("none")].sort_values("page")
    but = f"; {_listed(small['page'])}: {small['troubles'].iloc[0]}" if len(small) else ""
    return ruled_out(cause, f"{len(table)} status pages tell of no outage{but}")


def _expected(services: Frame, may_be_absent: Collection[str]) -> pd.DataFrame:
    table = whole(services.require(), REPLICA_COLUMNS)
    return table[~table["service"].isin(list(may_be_absent))]


def _ill(services: Frame, may_be_absent: Collection[str]) -> list[Evidence]:
    """Replicas that run and fail their own health check, or that somebody halted."""
    if not services.available:
        return []
    table = _expected(services, may_be_absent)
    ill = table[table["state"].isin(HALTED) | (table["state"].eq("running") & table["health"].eq("unhealthy"))]
    rows = ill.sort_values("name")[["name", "state", "health"]].itertuples(index=False)
    return [Evidence(name, state if state in HALTED else health, "stack") for name, state, health in rows]


def _unready(judged: pd.DataFrame, health: Frame) -> list[Evidence]:
    """Replicas that say, or show, that they are not ready."""
    known = whole(health.require(), READINESS_COLUMNS) if health.available else pd.DataFrame(columns=READINESS_COLUMNS)
    asked = dict(zip(known["replica"], known["path"], strict=True))
    return [
        Evidence(str(row.replica), f"not ready: {row.says}", str(asked.get(row.replica, "")))
        for row in judged.itertuples()
        if row.ready is False
    ]


def _mib(value: Any) -> str:
    return "an unknown size" if pd.isna(value) else f"{value / 2**20:,.0f} MiB"


def _listed(names: Any) -> str:
    known = sorted(str(name) for name in names)
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if known[4:] else "")


def _is(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _moment(at: Any) -> str:
    return "unknown" if pd.isna(at) else f"{at:%H:%M:%S} UTC"
