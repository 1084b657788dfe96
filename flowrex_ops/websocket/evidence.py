"""What the checks of WebSockets share: which readings count, and how they are told as evidence."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from flowrex_ops.checks import inconclusive
from flowrex_ops.model import Evidence, Reading, Verdict
from flowrex_ops.websocket import views as w
from flowrex_ops.websocket.closings import ConnectionLog
from flowrex_ops.websocket.source import UNKNOWN

Frame = Reading[pd.DataFrame]
Log = Reading[ConnectionLog]

FEW = 3
"""From so many recent closings of one kind on it is a pattern; single ones are everyday life."""

LOG, PROXY_LOG, CONFIGURATION, HANDSHAKE = "backend log", "nginx log", "nginx -T", "handshake"


def unreported_ends(cause: str, log: Log, replicas: Frame | None = None) -> Verdict | None:
    """Inconclusive where the backend's log does not tell how connections end, or of no connection at all.

    Where only the server's own lines (uvicorn's) are there, a container that was made anew has taken the older ones along.
    """
    found = log.require()
    closings = found.closings
    if found.closed and (closings.empty or closings[["code", "recent"]].isna().any(axis=None)):
        return inconclusive(cause, f"{found.closed} closings were logged, and not when or how each ended")
    if found.unreported and not found.coded:  # beside a handler's own lines the server's only say the same again
        said = f"the backend logged {found.unreported} recent closings without saying how (no close code)"
        started = w.started_lately(found, replicas)
        also = f"; {', '.join(started)} started meanwhile" if started else ""
        return inconclusive(cause, f"{said}{also}; have its handler log each closing with its code")
    if not found.opened and not found.closed:
        return inconclusive(
            cause, "the backend's log tells of no WebSocket; have its handler log each closing with its code"
        )
    if not found.coded and (started := w.started_lately(found, replicas)):
        said = f"{', '.join(started)} started within the time looked at, and no log tells what was open before"
        return inconclusive(cause, said)
    return None


def asked(handshakes: Frame) -> pd.DataFrame:
    """The places where a handshake says something of the platform, and not only of this machine."""
    columns = ["place", "straight", "url", "status", "kind", "seconds", "close_code", "error"]
    if not handshakes.available:
        return pd.DataFrame(columns=columns)
    frame = handshakes.require()
    return frame[~frame["kind"].eq(UNKNOWN)]


def recent(log: Log, kind: str) -> pd.DataFrame:
    """Recent closings of a kind that the log alone tells."""
    nothing: Frame = Reading("", "", error="not needed")
    if not log.available:
        return pd.DataFrame(columns=["at", "replica", "code", "by", "age_seconds", "reason", "quiet_seconds"])
    return w.recent_of(w.attributed(log.require(), nothing, nothing), kind)


def recent_errors(proxy_errors: Frame, kind: str) -> int:
    """How many recent lines of one kind NGINX's error log has."""
    if not proxy_errors.available:
        return 0
    frame = proxy_errors.require()
    return int(frame.loc[frame["kind"].eq(kind), "recent"].sum())


def counted(closings: pd.DataFrame) -> list[Evidence]:
    """Closings by code and who closed, with their ages, most first."""
    found = []
    for (code, by), part in closings.groupby(["code", "by"], sort=True):
        ages = pd.to_numeric(part["age_seconds"], errors="coerce").dropna()
        span = f", {ages.min():.1f} to {ages.max():.1f} s old" if len(ages) else ""
        name = (
            f"closed with {code} ({w.CODE_NAMES.get(int(code), 'private')}) by {by}"
            if code
            else "ended, by the proxy's log"
        )
        found.append((len(part), Evidence(name, f"{len(part)} recent{span}", LOG)))
    return [item for _, item in sorted(found, key=lambda pair: (-pair[0], pair[1].name))[:4]]


def places(rows: pd.DataFrame) -> list[Evidence]:
    """What came of each handshake."""
    return [
        Evidence(f"handshake, {row.place}", str(row.error) or f"101 in {seconds_of(row.seconds)}", HANDSHAKE)
        for row in rows.sort_values(["straight", "place"]).head(5).itertuples()
    ]


def seconds_of(value: object) -> str:
    """``0.02 s``, or that nobody took the time."""
    seconds = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    return "a time that is not known" if pd.isna(seconds) else f"{seconds:.2f} s"


def restarts(names: Iterable[str], replicas: Frame) -> list[Evidence]:
    """The replicas of these *names*, and since when they run."""
    if not replicas.available:
        return []
    frame = replicas.require()
    hit = frame[frame["name"].isin(set(names))].sort_values("name")
    return [
        Evidence(
            f"{row.name}, {row.state}", _since(row.started_at) + f"restarted by the engine: {row.restarts}", "stack"
        )
        for row in hit.head(4).itertuples(index=False)
    ]


def _since(at: pd.Timestamp | None) -> str:
    return "" if at is None or pd.isna(at) else f"started {at:%H:%M:%S} UTC, "


def names_of(names: Iterable[object]) -> str:
    """At most three names, and how many more."""
    found = sorted({str(name) for name in names})
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
