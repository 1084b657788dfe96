"""Is a service gone, ill, or restarting, a disk full, or somebody outside in trouble? One check each."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks.verdicts import confirmed, inconclusive, judges, missing, ruled_out, undecided
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

Frame = Reading[pd.DataFrame]

GONE = ("exited", "dead", "created", "removing")
HALTED = ("paused",)
READY = 200


@judges("service.down")
def check_down(services: Frame, *, may_be_absent: Collection[str] = ("certbot",)) -> Verdict:
    """Every replica of every service runs, but for services that run only now and then."""
    cause = "service.down"
    if missing(services):
        return inconclusive(cause, services)
    expected = _expected(services, may_be_absent)
    gone = expected[expected["state"].isin(GONE)]
    if gone.empty:
        text = f"{len(expected)} replicas of {expected['service'].nunique()} services are there"
        return ruled_out(cause, text) if len(expected) else undecided(cause, "the stack knows no service at all")
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
    return confirmed(
        cause, f"{title}: {len(gone)} of {len(expected)} replicas", evidence, severity=severity, title=title
    )


@judges("service.unhealthy")
def check_unhealthy(
    services: Frame, health: Frame, front_door: Frame, *, may_be_absent: Collection[str] = ("certbot",)
) -> Verdict:
    """What runs also says that it is well: health checks, every replica's readiness, and the answer that users get."""
    cause = "service.unhealthy"
    evidence = [*_ill(services, may_be_absent), *_unready(services, health), *_closed(front_door)]
    if evidence:
        names = list(dict.fromkeys(item.name for item in evidence))
        worst = Severity.P1 if "front door" in names or len(names) > 1 else Severity.P2
        title = f"{_listed(names)} {_is(names)} not well"
        return confirmed(cause, f"{title}: {evidence[0].value}", evidence, severity=worst, title=title)
    if missing(services, health, front_door):
        return inconclusive(cause, services, health, front_door)
    seconds = float(front_door.require()["seconds"].max())
    return ruled_out(
        cause, f"all {len(health.require())} backend replicas are ready, users get an answer in {seconds:.2f} s"
    )


@judges("service.restarting")
def check_restarting(services: Frame, *, restarts: int = 2, recent_minutes: float = 30.0) -> Verdict:
    """No replica ended by itself *restarts* times or more, the last time within *recent_minutes*."""
    cause = "service.restarting"
    if missing(services):
        return inconclusive(cause, services)
    table = services.require()
    earliest = pd.Timestamp(services.taken_at) - timedelta(minutes=recent_minutes)
    lately = pd.to_datetime(table["started_at"], utc=True) >= earliest
    looping = table[table["state"].eq("restarting") | (table["restarts"].ge(restarts) & lately)]
    if looping.empty:
        return ruled_out(cause, f"no replica restarted {restarts} times or more in the last {recent_minutes:g} minutes")
    rows = looping.sort_values(["restarts", "name"], ascending=[False, True])
    evidence = [
        Evidence(name, f"{int(count)} restarts, {state}, last start {_moment(at)}", "stack")
        for name, count, state, at in rows[["name", "restarts", "state", "started_at"]].itertuples(index=False)
    ]
    title = f"{_listed(rows['name'])} {'keeps' if len(rows) == 1 else 'keep'} restarting"
    return confirmed(cause, f"{title}: {evidence[0].value}", evidence, title=title)


@judges("service.disk-full")
def check_disk_full(disks: Frame, *, full_share: float = 0.9) -> Verdict:
    """Every filesystem that the services write to has room: less than *full_share* is used."""
    cause = "service.disk-full"
    if missing(disks):
        return inconclusive(cause, disks)
    table = disks.require()
    if table.empty:
        return undecided(cause, "no filesystem could be looked at")
    fullest = table.sort_values(["used_share", "where", "mount"], ascending=[False, True, True])
    full = fullest[fullest["used_share"].ge(full_share)]
    first = next(fullest.itertuples())
    said = f"{first.mount} of {first.where} is {first.used_share:.0%} full"
    if full.empty:
        return ruled_out(cause, f"the fullest, {said}")
    evidence = [
        Evidence(f"{row.mount} of {row.where}", f"{row.used_share:.0%} of {row.total_bytes / 2**20:,.0f} MiB", "df")
        for row in full.head(8).itertuples()
    ]
    return confirmed(cause, said, evidence, title=said)


@judges("external.outage")
def check_external_outage(pages: Frame) -> Verdict:
    """Nobody that the platform stands on has announced an outage; degraded performance and maintenance are no outage."""
    cause = "external.outage"
    if missing(pages):
        return inconclusive(cause, pages)
    table = pages.require()
    struck = table[table["indicator"].isin(["major", "critical"])].sort_values(["indicator", "page"])
    if len(struck):
        evidence = [
            Evidence(str(row.page), f"{row.says}: {row.troubles}", str(row.link)) for row in struck.itertuples()
        ]
        title = f"{_listed(struck['page'])} {'has' if len(struck) == 1 else 'have'} announced an outage"
        return confirmed(cause, f"{title}: {evidence[0].value}", evidence, title=title)
    silent = table[table["error"].ne("")].sort_values("page")
    if len(silent):
        return undecided(cause, f"{_listed(silent['page'])} could not be asked: {silent['error'].iloc[0]}")
    small = table[table["indicator"].ne("none")].sort_values("page")
    but = f"; {_listed(small['page'])}: {small['troubles'].iloc[0]}" if len(small) else ""
    return ruled_out(cause, f"{len(table)} status pages tell of no outage{but}")


def _expected(services: Frame, may_be_absent: Collection[str]) -> pd.DataFrame:
    table = services.require()
    return table[~table["service"].isin(list(may_be_absent))]


def _ill(services: Frame, may_be_absent: Collection[str]) -> list[Evidence]:
    """Replicas that run and fail their own health check, or that somebody halted."""
    if not services.available:
        return []
    table = _expected(services, may_be_absent)
    ill = table[table["state"].isin(HALTED) | (table["state"].eq("running") & table["health"].eq("unhealthy"))]
    rows = ill.sort_values("name")[["name", "state", "health"]].itertuples(index=False)
    return [Evidence(name, state if state in HALTED else health, "stack") for name, state, health in rows]


def _unready(services: Frame, health: Frame) -> list[Evidence]:
    """Replicas that do not answer 200; of those that are gone ``service.down`` speaks."""
    if not health.available:
        return []
    gone: set[str] = set()
    if services.available:
        table = services.require()
        gone = set(table.loc[table["state"].isin(GONE), "name"])
    rows = health.require().sort_values("replica")[["replica", "status", "error"]].itertuples(index=False)
    return [
        Evidence(replica, f"not ready: {_answer(status, error)}", "/health/ready")
        for replica, status, error in rows
        if replica not in gone and status != READY
    ]


def _closed(front_door: Frame) -> list[Evidence]:
    if not front_door.available:
        return []
    row = front_door.require().iloc[0]
    if row["status"] == READY:
        return []
    return [Evidence("front door", _answer(row["status"], row["error"]), str(row["url"]))]


def _answer(status: Any, error: Any) -> str:
    if isinstance(error, str) and error:
        return error
    return "no answer" if pd.isna(status) else f"HTTP {status:.0f}"


def _listed(names: Any) -> str:
    known = sorted(str(name) for name in names)
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if known[4:] else "")


def _is(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _moment(at: Any) -> str:
    return "unknown" if pd.isna(at) else f"{at:%H:%M:%S} UTC"
