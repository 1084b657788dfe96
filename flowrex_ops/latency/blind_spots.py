"""What the readings of slow requests could not have shown, so that nothing is ruled out for not having been seen."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import missing, unreported, whole
from flowrex_ops.latency.slowness import USUAL, SlowRequests
from flowrex_ops.logs.request_counts import total_of
from flowrex_ops.logs.request_times import UNSPLIT, UNTIMED
from flowrex_ops.metrics.backend import POOL_COLUMNS
from flowrex_ops.model import Reading

_FORM = "add {} to the proxy's log_format (docs/settings.md)"
_SPLIT = "$upstream_connect_time, $upstream_header_time and $upstream_response_time"
_TOLERATED = 0.01


def of_all(slow: SlowRequests) -> str:
    """Why nothing at all can be told from the proxy's log; empty where it can."""
    if missing(slow.access):
        return f"no {slow.access.what}: {slow.access.error}"
    if gap := slow.access.require().gap:
        return gap
    untimed = total_of(slow.recent[slow.recent["slow_in"].isin([UNTIMED, ""])])
    if untimed > _TOLERATED * slow.total:
        what = _FORM.format(f"$request_time, {_SPLIT}")
        return f"the proxy's log does not tell how long {untimed} of {slow.total} recent requests took; {what}"
    if slow.total < slow.limits.few:
        return f"{slow.total} recent requests are too few to rule anything out; look again when there are more, or raise recent_minutes"
    return ""


def of_parts(slow: SlowRequests) -> str:
    """In which part of the request the time went."""
    unsplit = slow.slow[slow.slow["slow_in"].eq(UNSPLIT) & slow.slow["cause"].ne(USUAL)]
    if not slow.counts(unsplit):
        return ""
    return f"the log does not tell where {total_of(unsplit)} slow requests spent their time; {_FORM.format(_SPLIT)}"


def of_bodies(slow: SlowRequests) -> str:
    """A body longer than the proxy's buffers is read from upstream only as fast as the client takes it."""
    bodies = slow.slow[slow.slow["slow_in"].eq("body") & slow.slow["cause"].ne(USUAL)]
    if not slow.counts(bodies):
        return ""
    return "the time is in the answers' bodies: a slow client holds up one that is longer than proxy_buffers, too; compare their clients"


def of_waits(slow: SlowRequests) -> str:
    """Who waits for the database."""
    if unread := of_reading(slow.pools, "replica") or of_reading(slow.sessions, "pid"):
        return unread
    sessions = whole(slow.sessions.require(), ["replica", "state", "query_age_seconds"])
    own = sessions[sessions["replica"].fillna("").ne("")]
    if own.empty:
        return "no session of PostgreSQL could be tied to a replica"
    if name := unreported(own, "state") or unreported(own[own["state"].eq("active")], "query_age_seconds"):
        return f"PostgreSQL does not tell the {name} of every session; grant the role pg_read_all_stats"
    gauges = whole(slow.pools.require(), POOL_COLUMNS)
    if (gauges["in_use"].isna() | gauges["maximum"].isna()).all():
        return "no replica tells its pool; look into it with database_connections"
    return ""


def of_places(slow: SlowRequests, column: str) -> str:
    """Which route, or replica, was slow, and whether there are others to compare it with."""
    ours = slow.slow[slow.slow["cause"].ne(USUAL) & slow.slow["slow_in"].ne("client")]
    if not slow.counts(ours):
        return ""
    nameless = total_of(ours[ours[column].eq("")])
    if nameless > slow.limits.slow_ratio * total_of(ours):
        what = _FORM.format("$upstream_addr" if column == "replica" else "$request")
        return f"the log does not tell the {column} of {nameless} slow requests; {what}"
    known = {str(name) for name in slow.recent[column]} - {""}
    return f"only {known.pop()} was asked; there is no other {column} to compare it with" if len(known) == 1 else ""


def of_releases(slow: SlowRequests) -> str:
    """Which release answered: where the log names none, whether replicas started lately."""
    nameless = total_of(slow.recent[slow.recent["version"].eq("") & slow.recent["slow_in"].ne("client")])
    if nameless <= slow.limits.slow_ratio * slow.total:
        return ""
    if missing(slow.services):
        return f"no {slow.services.what}: {slow.services.error}"
    rows = whole(slow.services.require(), ["service", "started_at"])
    rows = rows[rows["service"].eq(slow.limits.service)]
    started = pd.to_datetime(rows["started_at"], utc=True, errors="coerce")
    if rows.empty or started.isna().any():
        return "neither the log nor the stack tells which release answered, and since when"
    if (started >= slow.log["at"].min()).any():
        what = _FORM.format("$upstream_http_x_flowrex_version")
        return f"a replica started at {started.max():%H:%M:%S} UTC, and the log names no release; {what}"
    return ""


def of_reading(reading: Reading[pd.DataFrame], *names: str) -> str:
    """Why a reading says nothing: not there, empty, or without one of *names* in some row."""
    if missing(reading):
        return f"no {reading.what}: {reading.error}"
    frame = reading.require()
    if frame.empty:
        return f"the reading of {reading.what} is empty"
    name = unreported(frame, *names)
    return f"the reading of {reading.what} does not tell the {name} of every replica" if name else ""
