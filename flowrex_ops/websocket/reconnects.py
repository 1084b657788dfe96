"""Whether all clients come back at once: what a restart ends in a moment begins again in a moment, unless clients wait each for another time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Verdict
from flowrex_ops.websocket import views as w
from flowrex_ops.websocket.evidence import LOG, Frame, Log, names_of, restarts, unreported_ends

_AT_ONCE = timedelta(seconds=5)
_BEFORE = timedelta(minutes=1)
"""Whoever comes back had been there so lately."""


@check("net.reconnect-storm")
def check_reconnect_storm(log: Log, samples: Frame, replicas: Frame, *, storm_least: int = 50) -> Verdict:
    """Fewer than *storm_least* WebSockets, or half of them, began within five seconds lately, or as many had not ended before."""
    cause = "net.reconnect-storm"
    if missing(log):
        return inconclusive(cause, log)
    found = log.require()
    if not found.openings or found.begins_at is None:
        return inconclusive(cause, "the backend's log does not tell when WebSockets begin; have its handler log that")
    if found.closings["at"].isna().any():
        return inconclusive(cause, "no log tells when WebSockets ended")
    began = sorted(at for at in found.openings if at >= found.begins_at)
    there = w.open_now(samples)
    least = max(storm_least, there / 2)
    bursts = list(_together(began))
    many = [(len(some), _ended_before(some[0], found.closings), some[0]) for some in bursts if len(some) >= least]
    back = [one for one in many if len(one[1]) >= one[0] / 2]
    if not back:
        most = max(map(len, bursts), default=0)
        new = ", and hardly any had ended in the minute before: these are new" if many else ""
        said = f"at most {most} of {len(began)} WebSockets that began lately did so within {_AT_ONCE.seconds} s{new}"
        return (unreported_ends(cause, log, replicas) if many else None) or ruled_out(cause, said)
    number, ended, first = max(back, key=lambda one: one[0])
    started = _started(replicas, first)
    title = f"{number} WebSockets came back within {_AT_ONCE.seconds} s"
    after = f", after {names_of(started)} had started" if started else ""
    evidence = [
        Evidence("began", f"{number} from {first:%H:%M:%S} UTC on, {there:.0f} are open now", LOG),
        Evidence("ended before", f"{len(ended)}, the first at {ended['at'].min():%H:%M:%S} UTC", LOG),
        *restarts(started, replicas),
    ]
    return confirmed(cause, f"{title} at {first:%H:%M:%S} UTC{after}", evidence, title=title + after)


def _together(began: Sequence[datetime]) -> Iterator[Sequence[datetime]]:
    """Those of *began*, which is in order, that began within ``_AT_ONCE``, from each second on in which one did."""
    for at in sorted({at.replace(microsecond=0) for at in began}):
        yield began[bisect_left(began, at) : bisect_right(began, at + _AT_ONCE)]


def _ended_before(first: datetime, closings: pd.DataFrame) -> pd.DataFrame:
    """Who was there before *first*, and had ended in the minute before or, as whose replica was killed, is known to have since then."""
    age = pd.to_timedelta(pd.to_numeric(closings["age_seconds"], errors="coerce").fillna(0), unit="s")
    at = pd.to_datetime(closings["at"], utc=True)
    return closings[at.between(first - _BEFORE, first + _AT_ONCE) & (at - age).lt(first)]


def _started(replicas: Frame, at: datetime) -> list[str]:
    """What started so shortly before that its clients came back then."""
    rows = replicas.require() if replicas.available else pd.DataFrame(columns=["name", "started_at"])
    began = pd.to_datetime(rows["started_at"], utc=True)
    return sorted(rows.loc[began.between(at - _BEFORE, at + _AT_ONCE), "name"])
