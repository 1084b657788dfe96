"""Readings of slow requests made by hand, in as few words as an example needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from database_examples import NOW, pools, running, session, sessions
from error_examples import RECENT, ago, services

from flowrex_ops.latency.checks import check_unexplained_latency
from flowrex_ops.latency.slowness import SlowRequests
from flowrex_ops.latency.source import LIVENESS_COLUMNS, PRESSURE_COLUMNS
from flowrex_ops.logs.access_log import ACCESS_COLUMNS, CLIENT_COLUMNS, SLOW_COLUMNS, AccessLog
from flowrex_ops.logs.request_times import PARTS, TIME_COLUMNS
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Reading, Verdict

Readings = tuple[Reading[Any], ...]
ROUTES, REPLICAS = ("/api/prices", "/api/portfolio", "/api/trades"), ("backend-1", "backend-2", "backend-3")


def took(requests: int, seconds: float = 0.02, part: str = "first byte", **facts: Any) -> dict[str, Any]:
    """So many requests a minute ago whose time went into one part; slow from a second on."""
    row = {
        "at": ago(1),
        "route": "/api/prices",
        "replica": "backend-1",
        "version": "1.4.2",
        "took": seconds,
        "slow_in": part if seconds >= 1 else "none",
        "requests": requests,
        **{one: requests * seconds if one == part else 0.0 for one in PARTS},
    }
    return row | facts


def everywhere(
    requests: int, *, minutes: tuple[float, ...] = (1,), replicas: tuple[str, ...] = REPLICAS, **facts: Any
) -> list[dict[str, Any]]:
    """The same on each route and replica, at each of these minutes ago."""
    return [
        took(requests, **{"route": route, "replica": replica, "at": ago(minute)} | facts)
        for route in ROUTES
        for replica in replicas
        for minute in minutes
    ]


USUAL = everywhere(20, minutes=(1, 8, 14, 21, 33, 47))
"""Fast on every route and replica, lately and before."""


def access(*rows: dict[str, Any], usual: list[dict[str, Any]] = USUAL, **facts: Any) -> Reading[AccessLog]:
    """The proxy's log with its times: *rows* beside what is usual."""
    tables = {"requests": ACCESS_COLUMNS, "clients": CLIENT_COLUMNS, "slow": SLOW_COLUMNS}
    log = AccessLog(
        **{name: pd.DataFrame(columns=columns) for name, columns in tables.items()},
        until=NOW,
        recent_since=RECENT,
        bucket_seconds=1,
        times=pd.DataFrame([*usual, *rows], columns=TIME_COLUMNS),
        **facts,
    )
    return Reading("access log", "requests at the proxy", log)


def with_replica(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    """Sessions of PostgreSQL with the replica that each belongs to."""
    reading = sessions(*rows)
    names = [f"backend-{row['pid'] % 3 + 1}" for row in rows]
    return Reading("postgres", "sessions", reading.require().assign(replica=names))


def liveness(**seconds: float) -> Reading[pd.DataFrame]:
    """Eight answers of each replica, as fast as can be, but for those that are named (``backend_1=0.9``): every second of theirs is slow."""
    rows = [
        (name, seconds.get(name.replace("-", "_"), 0.01) if number % 2 else 0.01, None)
        for name in REPLICAS
        for number in range(8)
    ]
    return Reading("replicas", "liveness", pd.DataFrame(rows, columns=LIVENESS_COLUMNS))


def cpu(pressure: float | None = 5.0, /, io: float | None = 2.0, **throttled: float) -> Reading[pd.DataFrame]:
    """Percent of the last minute in which tasks waited, and the share in which single replicas were held back."""
    rows = [(name, pressure, pressure, throttled.get(name.replace("-", "_"), 0.0), io, None) for name in REPLICAS]
    return Reading("replicas", "CPU and disk pressure", pd.DataFrame(rows, columns=PRESSURE_COLUMNS))


def given(log: Reading[AccessLog], /, **readings: Reading[Any]) -> Readings:
    """All readings: *log*, and of the others what a healthy platform tells unless they are given."""
    healthy = {
        "services": services(),
        "pools": pools(1, 1, 1),
        "sessions": with_replica(*(session(pid) for pid in range(6))),
        "liveness": liveness(),
        "cpu": cpu(),
        "log": Reading("logs", "backend log", LogSummary(lines=400, requests=400)),
    }
    return (log, *(healthy | readings).values())


def ask(check: Callable[..., Verdict], *readings: Reading[Any], **limits: Any) -> Verdict:
    """One check, with readings and limits of its own."""
    return ask_all((check,), *readings, **limits)[0]


def ask_all(checks: tuple[Callable[..., Verdict], ...], *readings: Reading[Any], **limits: Any) -> list[Verdict]:
    """Several checks of the same readings, as the runbook asks them."""
    *asked, log = readings
    slow = SlowRequests(*asked, **limits)
    return [check(slow, log) if check is check_unexplained_latency else check(slow) for check in checks]


READS_DISK = with_replica(session(1), running(2, 7.0, wait_event_type="IO", query="SELECT * FROM trades"))
SLOW_STATEMENT = with_replica(session(1), running(2, 7.0, query="SELECT * FROM trades"))
