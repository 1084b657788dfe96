"""Readings of failed requests made by hand, in as few words as an example needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from database_examples import NOW

from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.http.checks import FailedRequests
from flowrex_ops.logs.access_log import (
    ACCESS_COLUMNS,
    CLIENT_COLUMNS,
    EXHAUSTED_COLUMNS,
    NOT_ENOUGH,
    REFUSED_COLUMNS,
    SAID_COLUMNS,
    SLOW_COLUMNS,
    UNREACHED_COLUMNS,
    AccessLog,
)
from flowrex_ops.logs.error_log import EXCEPTION_COLUMNS, REQUEST_COLUMNS, ErrorLog
from flowrex_ops.metrics.backend import FILES_COLUMNS
from flowrex_ops.model import Reading, Verdict

RECENT = NOW - timedelta(minutes=5)
LONG_AGO = NOW - timedelta(hours=2)
REDIS = {
    "signature": "redis.exceptions.ConnectionError in sessions.py:touch",
    "kind": "dependency",
    "dependency": "redis",
}
POOL = {"signature": "psycopg_pool.PoolTimeout in database.py:take", "kind": "exhausted", "dependency": "postgres"}
FILES = {"signature": "OSError in export.py:write", "kind": "descriptors"}
BUG = {"signature": "KeyError in trading.py:get_prices", "kind": "code"}
FLOODERS = {"203.0.113.66": 900, "203.0.113.67": 880}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def answer(requests: int, status: int = 200, **facts: Any) -> dict[str, Any]:
    """So many answers of one kind a minute ago; by the backend, replica 1, release 1.4.2, on the prices."""
    found = {
        "at": ago(1),
        "route": "/api/prices",
        "status": status,
        "made_by": "backend",
        "replica": "backend-1",
        "version": "1.4.2",
        "requests": requests,
        "seconds": 0.01 * requests,
    }
    return found | facts


def fine(requests: int = 300, **facts: Any) -> list[dict[str, Any]]:
    """Requests on two routes, served by three replicas."""
    return [
        answer(requests // 6, route=route, replica=f"backend-{number}", **facts)
        for route in ("/api/prices", "/api/portfolio")
        for number in (1, 2, 3)
    ]


def access(
    *rows: dict[str, Any],
    clients: dict[str, int] | None = None,
    refused: dict[str, int] | None = None,
    status: int = 401,
    until: datetime = NOW,
) -> Reading[AccessLog]:
    """The proxy's log; without *clients* forty of them ask alike. *refused* were answered *status*."""
    asked = clients if clients is not None else {f"198.51.100.{number}": 8 for number in range(1, 41)}
    log = AccessLog(
        pd.DataFrame(list(rows), columns=ACCESS_COLUMNS),
        pd.DataFrame([(name, number, 0, 0) for name, number in asked.items()], columns=CLIENT_COLUMNS),
        pd.DataFrame(columns=SLOW_COLUMNS),
        until,
        RECENT,
        1,
        refused=pd.DataFrame([(name, status, n) for name, n in (refused or {}).items()], columns=REFUSED_COLUMNS),
    )
    return Reading("access log", "requests at the proxy", log)


def exhausted(*rows: dict[str, Any], lines: int = 40, at: datetime | None = None) -> Reading[AccessLog]:
    """The proxy's log, with so many lines of a minute ago about worker connections."""
    found = access(*rows)
    told = pd.DataFrame([(at or ago(1), NOT_ENOUGH, lines)], columns=EXHAUSTED_COLUMNS)
    return replace(found, value=replace(found.require(), exhausted=told))


def said(what: str, *rows: dict[str, Any], failed: dict[str, int] | None = None) -> Reading[AccessLog]:
    """The proxy's log, with forty errors of its own a minute ago, in its words; *failed* requests by client."""
    found = access(*rows).require()
    told = pd.DataFrame([(ago(1), what, 40)], columns=SAID_COLUMNS)
    clients = found.clients.assign(failed=found.clients["client"].map(failed or {}).fillna(0).astype(int))
    return Reading("access log", "requests at the proxy", replace(found, said=told, clients=clients))


def unreached(*rows: dict[str, Any], status: int) -> Reading[AccessLog]:
    """The proxy's log, with forty lines of a minute ago about servers that take no connection."""
    found = access(*rows)
    told = pd.DataFrame([(ago(1), status, "", 40)], columns=UNREACHED_COLUMNS)
    return replace(found, value=replace(found.require(), unreached=told))


def surge(*before: dict[str, Any], number: int = 150, **facts: Any) -> Reading[AccessLog]:
    """A third of the recent requests is answered 401, to thirty clients; what was *before*."""
    options = {"refused": {f"198.51.100.{n}": number // 30 for n in range(1, 31)}} | facts
    return access(*before, *fine(), answer(number, 401), **options)


def failed(requests: int, status: int = 500, **facts: Any) -> dict[str, Any]:
    """So many requests that the backend logged a minute ago, and the error in front of them."""
    found = {
        "at": ago(1),
        "replica": "backend-1",
        "route": "/api/prices",
        "status": status,
        "signature": "",
        "kind": "",
        "dependency": "",
        "requests": requests,
    }
    return found | facts


def on_all(requests: int, *, routes: tuple[str, ...] = ("/api/prices",), **facts: Any) -> list[dict[str, Any]]:
    """The same on every replica and each of *routes*."""
    return [
        failed(requests, route=route, replica=f"backend-{number}", **facts) for route in routes for number in (1, 2, 3)
    ]


def errors(*rows: dict[str, Any], begins: datetime = LONG_AGO) -> Reading[ErrorLog]:
    """The backend's log; every signature in it is also a row of ``exceptions``."""
    signatures = sorted({str(row["signature"]) for row in rows} - {""})
    exceptions = [
        dict.fromkeys(EXCEPTION_COLUMNS, "")
        | {
            "signature": one,
            "kind": next((str(row["kind"]) for row in rows if row["signature"] == one), ""),
            "replicas": "backend-1",
            "recent": 1,
            "count": 1,
            "first_line": f"it is {one}",
            "last_frame": 'File "x.py", line 1, in f',
        }
        for one in signatures
    ]
    log = ErrorLog(
        pd.DataFrame(exceptions, columns=EXCEPTION_COLUMNS),
        pd.DataFrame(list(rows), columns=REQUEST_COLUMNS),
        NOW,
        RECENT,
        {f"backend-{number}": begins for number in (1, 2, 3)},
    )
    return Reading("logs", "errors in the log", log)


def services(*versions: str, started: datetime = LONG_AGO) -> Reading[pd.DataFrame]:
    """A replica of the backend for each of *versions*, three of 1.4.2 without; those of another release started later."""
    rows = [
        dict.fromkeys(REPLICA_COLUMNS)
        | {
            "service": "backend",
            "name": f"backend-{number}",
            "state": "running",
            "health": "healthy",
            "started_at": LONG_AGO if version == "1.4.2" and len(set(versions)) > 1 else started,
            "version": version,
        }
        for number, version in enumerate(versions or ("1.4.2",) * 3, start=1)
    ]
    redis = dict.fromkeys(REPLICA_COLUMNS) | {
        "service": "redis",
        "name": "redis-1",
        "state": "exited",
        "health": "none",
    }
    return Reading("stack", "services", pd.DataFrame([*rows, redis], columns=REPLICA_COLUMNS), taken_at=NOW)


def files(*held: float | None) -> Reading[pd.DataFrame]:
    """So many files are open on each replica, of 1,024; thirty on three without."""
    rows = [(f"backend-{n}", one, 1024.0 if one else None, None) for n, one in enumerate(held or (30.0,) * 3, start=1)]
    return Reading("backend", "open files", pd.DataFrame(rows, columns=FILES_COLUMNS))


def ask(
    check: Callable[[FailedRequests], Verdict],
    access: Reading[AccessLog],
    errors: Reading[ErrorLog],
    services: Reading[pd.DataFrame],
    held: Reading[pd.DataFrame] | None = None,
    **limits: Any,
) -> Verdict:
    """One check of failed requests, with readings and limits of its own."""
    return check(FailedRequests(access, errors, services, held or files(), **limits))
