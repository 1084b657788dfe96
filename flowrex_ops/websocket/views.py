"""WebSockets that ended: which cause each closing is attributed to, and what people look at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.model import Reading
from flowrex_ops.websocket import ends
from flowrex_ops.websocket.closings import ABNORMAL, LOST, ConnectionLog
from flowrex_ops.websocket.upgraded import UNREPORTED

KINDS = {
    "restart": "backend restarted",
    "limit": "limit reached",
    "error": "handler failed",
    "timeout": "proxy's read timeout",
    "abnormal": "broke off, unexplained",
    "server": "closed by the server",
    "client": "client left",
    "unreported": "ended, no log says how",
}
"""Every way of ending as people read it; each closing is attributed to one. The last three are everyday life."""

TROUBLE = ("restart", "limit", "error", "timeout", "abnormal")

CODE_NAMES = {
    UNREPORTED: "not logged",
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no status received",
    1006: "abnormal closure (no closing frame)",
    1007: "invalid payload data",
    1008: "policy violation",
    1009: "message too big",
    1010: "mandatory extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake",
}
"""RFC 6455, section 7.4.1, and the codes registered since (IANA, WebSocket Close Code Number Registry)."""

_BEFORE_START = timedelta(seconds=5)
_AFTER_START = timedelta(seconds=1)
"""How far from a replica's start its closings belong to it; supervisord tells whole seconds."""

_GOING_AWAY, _INTERNAL_ERROR = 1001, 1011
NO_STATUS = 1005
"""A client that leaves without a code; newer releases of uvicorn also say so of a TCP connection that just ended."""

_BY_CODE = {1012: "restart", 1013: "limit"}
"""Codes that say themselves what happened, whoever sent them."""


# The first that fits: its close code where that is clear (1013 limit, 1012 restart); a closing by the client, who
# left; 1001 or 1006 within seconds of its replica's stop or start; a silence as long as a read timeout of a location
# that carries WebSockets; 1011. What is left of 1006 is unexplained, and enough of it makes restart and timeout
# inconclusive. 1005 is ambiguous (`close()` without a code, and what newer uvicorn says of a connection that just
# ended): it is the client's, unless its silence or its moment says otherwise.
def attributed(log: ConnectionLog, locations: Reading[pd.DataFrame], replicas: Reading[pd.DataFrame]) -> pd.DataFrame:
    """The closings, each with the ``kind`` it is attributed to, and ``quiet_seconds`` (silence before the end, or its age).

    *locations* is ``NginxSource.get_locations``, *replicas* ``ServicesSource.get_replicas``; either may be unavailable: then what
    only it could explain is ``abnormal``.
    """
    timeouts = read_timeouts(locations)
    starts = _starts(replicas)
    closings = log.closings
    quiet = pd.to_numeric(closings["idle_seconds"], errors="coerce").fillna(
        pd.to_numeric(closings["age_seconds"], errors="coerce")
    )
    if closings["code"].eq(UNREPORTED).any():
        quiet = quiet.fillna(ends.ages_by_openings(closings, log.openings, timeouts))
        began = [at for name, at in starts if name in log.replicas] + [row.at for row in log.starts.itertuples()]
        restarted = ends.in_bursts(closings) & ends.before_a_start(closings, began)
        closings = closings.assign(restart=closings["restart"].isin([True]) | restarted)
    kinds = [
        (_unreported_kind if row.code == UNREPORTED else _kind)(row, seconds, timeouts, starts)
        for row, seconds in zip(closings.itertuples(index=False), quiet, strict=True)
    ]
    return closings.assign(quiet_seconds=quiet, kind=pd.Series(kinds, index=closings.index, dtype=object))


def _kind(row: Any, quiet: float, timeouts: Sequence[float], starts: Sequence[tuple[str, pd.Timestamp]]) -> str:
    code = row.code
    reported = _BY_CODE.get(code) if row.by != LOST else "restart"
    if reported:
        return reported
    ours = row.by != "client" or code == NO_STATUS
    if ours and code in (_GOING_AWAY, NO_STATUS, ABNORMAL) and (row.restart is True or _at_a_start(row, starts)):
        return "restart"
    if code in (NO_STATUS, ABNORMAL) and any(fits(quiet, timeout) for timeout in timeouts):
        return "timeout"
    if row.by == "client":
        return "client"
    return {_INTERNAL_ERROR: "error", ABNORMAL: "abnormal"}.get(code, "abnormal" if row.by == "abnormal" else "server")


def _unreported_kind(row: Any, quiet: float, timeouts: Sequence[float], _: Sequence[tuple[str, pd.Timestamp]]) -> str:
    if row.restart is True:
        return "restart"
    return "timeout" if any(fits(quiet, timeout) for timeout in timeouts) else "unreported"


# Silence, not age, is compared with `proxy_read_timeout` where the log tells it.
def fits(seconds: float, timeout: float) -> bool:
    """Whether so long a silence is that timeout, give or take what timers and clocks do."""
    return abs(seconds - timeout) <= max(0.5, 0.05 * timeout)


def read_timeouts(locations: Reading[pd.DataFrame]) -> list[float]:
    """The read timeouts (seconds) of the locations that carry WebSockets, shortest first."""
    if not locations.available:
        return []
    frame = locations.require()
    reported = pd.to_numeric(
        frame.loc[frame["carries_websockets"].isin([True]), "read_timeout_seconds"], errors="coerce"
    )
    return sorted({float(value) for value in reported.dropna()})


def _starts(replicas: Reading[pd.DataFrame]) -> list[tuple[str, pd.Timestamp]]:
    if not replicas.available:
        return []
    rows = replicas.require().itertuples(index=False)
    return [(str(row.name), pd.Timestamp(row.started_at)) for row in rows if not pd.isna(row.started_at)]


def started_lately(log: ConnectionLog, replicas: Reading[pd.DataFrame] | None) -> list[str]:
    """Names of the replicas in the *log* that started since closings count as recent; none where that is not known."""
    since = log.begins_at
    if replicas is None or not replicas.available or since is None:
        return []
    return sorted(name for name, start in _starts(replicas) if name in log.replicas and start >= since)


def _at_a_start(row: Any, starts: Sequence[tuple[str, pd.Timestamp]]) -> bool:
    if pd.isna(row.at):
        return False
    at = pd.Timestamp(row.at)
    return any(
        name == row.replica and start - _BEFORE_START <= at <= start + _AFTER_START
        for name, start in starts
        if (start.tzinfo is None) == (at.tzinfo is None)
    )


def recent_of(closings: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The recent closings of one kind, the newest last."""
    chosen = closings[closings["kind"].eq(kind) & closings["recent"].isin([True])]
    return chosen.sort_values(["at", "replica", "quiet_seconds"])


def open_now(samples: Reading[pd.DataFrame]) -> float:
    """How many WebSockets are open on all replicas by their newest samples; 0 where nobody tells."""
    if not samples.available:
        return 0.0
    reported = samples.require().dropna(subset=["connections"]).sort_values("at")
    return float(reported.groupby("replica")["connections"].last().sum())


def all_recent(closings: pd.DataFrame) -> int:
    """How many connections ended recently, whatever the reason."""
    return int(closings["recent"].isin([True]).sum())


def find_bunch(closings: pd.DataFrame, *, few: int) -> float | None:
    """The silence (seconds) at which most of *closings* ended though they ended at different times; None where there is none."""
    seconds = sorted(float(value) for value in closings["quiet_seconds"].dropna())
    best = max(seconds, key=lambda middle: sum(fits(value, middle) for value in seconds), default=None)
    if best is None or best < 1:
        return None
    inside = closings[[fits(value, best) for value in closings["quiet_seconds"].fillna(-1e9)]]
    span = (inside["at"].max() - inside["at"].min()).total_seconds() if inside["at"].notna().any() else 0.0
    enough = len(inside) >= few and len(inside) >= MOST_OF_A_BUNCH * len(closings)
    return float(inside["quiet_seconds"].median()) if enough and span > 1 else None


MOST_OF_A_BUNCH = 0.6


def count_codes(log: ConnectionLog) -> pd.DataFrame:
    """Closings by code and by who closed: code, name, by, closings, recent, median_age_seconds, last_at."""
    columns = ["code", "name", "by", "closings", "recent", "median_age_seconds", "last_at"]
    if log.closings.empty:
        return pd.DataFrame(columns=columns)
    found = log.closings.assign(age=pd.to_numeric(log.closings["age_seconds"], errors="coerce"))
    grouped = found.groupby(["code", "by"], as_index=False).agg(
        closings=("code", "size"), recent=("recent", "sum"), median_age_seconds=("age", "median"), last_at=("at", "max")
    )
    grouped["name"] = grouped["code"].map(CODE_NAMES).fillna("private or unknown")
    grouped["median_age_seconds"] = grouped["median_age_seconds"].round(1)
    return grouped.sort_values(["recent", "closings", "code"], ascending=[False, False, True])[columns]


def show_errors(log: ConnectionLog) -> pd.DataFrame:
    """The exceptions of WebSocket handlers, most recent ones first."""
    return log.errors


def websocket_locations(locations: pd.DataFrame) -> pd.DataFrame:
    """The locations as people read them, those that carry WebSockets first."""
    shown = pd.DataFrame(
        {
            "server": locations["server"],
            "location": locations["location"],
            "to": locations["proxy_pass"],
            "WebSockets": locations["carries_websockets"].map({True: "yes", False: "no"}),
            "Upgrade": locations["upgrade_header"].replace("", "not set"),
            "Connection": locations["connection_header"].replace("", "not set"),
            "HTTP": locations["http_version"].replace("", "not set"),
            "read timeout": locations["read_timeout_seconds"].map("{:g} s".format),
            "send timeout": locations["send_timeout_seconds"].map("{:g} s".format),
            "worker connections": locations["worker_connections"].astype(str)
            + " a worker, workers: "
            + locations["workers"].astype(str),
        }
    )
    return shown.sort_values(["WebSockets", "server", "location"], ascending=[False, True, True])


def handshake_places(handshakes: pd.DataFrame) -> pd.DataFrame:
    """Handshakes as people read them: place, came of it, HTTP status, milliseconds, messages, error."""
    return pd.DataFrame(
        {
            "place": handshakes["place"],
            "came of it": handshakes["kind"],
            "status": [("" if pd.isna(value) else str(int(value))) for value in handshakes["status"]],
            "handshake ms": _milliseconds(handshakes["seconds"]),
            "ping ms": _milliseconds(handshakes["ping_seconds"]),
            "messages": handshakes["messages"],
            "error": handshakes["error"],
        }
    )


def _milliseconds(seconds: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else f"{float(value) * 1000:.0f}" for value in seconds]


def memory_growth(samples: pd.DataFrame) -> pd.DataFrame:
    """What each replica did over the samples since it last started.

    Columns: replica, seconds, memory_mb (at the end), grown_mb, rising (share of the steps up), connections, new_connections,
    messages, closed. Replicas that do not tell their memory are missing.
    """
    reported = samples[samples["error"].isna() & samples["memory_bytes"].notna() & samples["at"].notna()]
    reported = reported.sort_values(["replica", "at"])
    rows = [_growth(str(replica), part) for replica, part in reported.groupby("replica") if len(part) > 1]
    columns = ["replica", "seconds", "memory_mb", "grown_mb", "rising", "connections", "new_connections"]
    return pd.DataFrame(rows, columns=[*columns, "messages", "closed"])


def _growth(replica: str, part: pd.DataFrame) -> tuple[Any, ...]:
    memory = part["memory_bytes"].astype(float) / 2**20
    restarts = memory.diff().lt(-0.3 * memory.shift())
    if restarts.any():
        part = part.loc[restarts[restarts].index[-1] :]
        memory = memory.loc[part.index]
    steps = memory.diff().dropna()
    rise = [pd.to_numeric(part[name], errors="coerce").fillna(0.0) for name in ("connections", "messages", "closed")]
    connections, messages, closed = (float(values.iloc[-1] - values.iloc[0]) for values in rise)
    return (
        replica,
        (part["at"].iloc[-1] - part["at"].iloc[0]).total_seconds(),
        round(float(memory.iloc[-1]), 1),
        round(float(memory.iloc[-1] - memory.iloc[0]), 1),
        round(float(steps.gt(_STILL_MB).mean()), 2) if len(steps) else 0.0,
        int(rise[0].iloc[-1]),
        int(connections),
        int(max(0.0, messages)),
        int(max(0.0, closed)),
    )


_STILL_MB = 0.05
