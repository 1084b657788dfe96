"""Readings of WebSockets made by hand, in as few words as an example needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
from database_examples import NOW

from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.metrics.backend import WEBSOCKET_COLUMNS
from flowrex_ops.model import Reading
from flowrex_ops.proxy.nginx_config import LOCATION_COLUMNS
from flowrex_ops.websocket.closings import CLOSING_COLUMNS, ERROR_COLUMNS, ConnectionLog
from flowrex_ops.websocket.log import PROXY_ERROR_COLUMNS
from flowrex_ops.websocket.source import HANDSHAKE_COLUMNS, PROXY

MB = 2**20


def closing(code: int, by: str = "", *, age: float | None = 30.0, ago: float = 10.0, **facts: Any) -> dict[str, Any]:
    """One connection that ended *ago* seconds before now, open for *age* seconds and silent for the last of them."""
    closer = by or {1006: "abnormal", 1011: "server", 1012: "server", 1013: "server"}.get(code, "client")
    row = {
        "at": NOW - timedelta(seconds=ago),
        "replica": "backend-1",
        "code": code,
        "by": closer,
        "age_seconds": age,
        "idle_seconds": None,
        "recent": True,
        "restart": False,
        "client": "10.0.0.9",
        "reason": "",
    }
    return row | facts


def log(
    *closings: dict[str, Any], errors: tuple[tuple[str, int], ...] = (), began_ago: Sequence[float] = ()
) -> Reading[ConnectionLog]:
    """Closings, exceptions with how many of each are recent, and how long ago connections began."""
    return Reading(
        "logs",
        "WebSocket closings",
        ConnectionLog(
            closings=pd.DataFrame(list(closings), columns=CLOSING_COLUMNS),
            errors=pd.DataFrame([(text, number, number, NOW) for text, number in errors], columns=ERROR_COLUMNS),
            starts=pd.DataFrame(columns=["at", "replica"]),
            opened=len(began_ago),
            closed=len(closings),
            begins_at=NOW - timedelta(minutes=5) if began_ago else None,
            openings=tuple(sorted(NOW - timedelta(seconds=ago) for ago in began_ago)),
        ),
    )


def location(path: str = "/ws", **facts: Any) -> dict[str, Any]:
    """A location as it should be, unless *facts* say otherwise."""
    row = {
        "server": "flowrex.app",
        "listen": "443 ssl",
        "location": path,
        "proxy_pass": "http://backend",
        "carries_websockets": True,
        "upgrade_header": "$http_upgrade",
        "connection_header": "upgrade",
        "http_version": "1.1",
        "read_timeout_seconds": 60.0,
        "send_timeout_seconds": 60.0,
        "worker_connections": 1024,
        "workers": "auto",
    }
    return row | facts


def locations(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    return Reading("nginx", "proxy configuration", pd.DataFrame(list(rows) or [location()], columns=LOCATION_COLUMNS))


def handshakes(through: str = "ok", *straight: str, status: int | None = None, **facts: Any) -> Reading[pd.DataFrame]:
    """What came of a handshake through the proxy (nothing: none was tried) and of one straight to each replica."""
    rows = [(PROXY, False, through)] if through else []
    rows += [(f"backend-{number}", True, kind) for number, kind in enumerate(straight or ("ok", "ok"), start=1)]
    found = [
        {
            "place": place,
            "straight": is_straight,
            "url": "ws://here/ws",
            "status": 101 if kind in ("ok", "closed") else status,
            "kind": kind,
            "seconds": 0.02,
            "messages": 1,
            "error": "" if kind == "ok" else f"it was {kind} with {status}",
            **facts,
        }
        for place, is_straight, kind in rows
    ]
    return Reading("websocket", "WebSocket handshakes", pd.DataFrame(found, columns=HANDSHAKE_COLUMNS))


def proxy_errors(**recent: int) -> Reading[pd.DataFrame]:
    """NGINX's recent error lines by kind."""
    rows = [(kind.replace("_", "-"), number, number, NOW, NOW, f"[error] {kind}") for kind, number in recent.items()]
    return Reading("logs", "proxy errors", pd.DataFrame(rows, columns=PROXY_ERROR_COLUMNS))


def replicas(**started_ago: float) -> Reading[pd.DataFrame]:
    """Replicas by name (``backend_1``), each started so many seconds before now."""
    rows = [
        {
            "service": "backend",
            "name": name.replace("_", "-"),
            "state": "running",
            "restarts": 0,
            "started_at": NOW - timedelta(seconds=ago),
        }
        for name, ago in started_ago.items()
    ]
    return Reading("stack", "services", pd.DataFrame(rows, columns=REPLICA_COLUMNS))


def samples(
    *megabytes: float | None,
    connections: tuple[int, ...] = (),
    messages: int = 4,
    closed: int = 0,
    replica: str = "backend-1",
) -> Reading[pd.DataFrame]:
    """One replica's memory, a sample a second, while it sends so many messages and closes so many connections a second."""
    rows = [
        {
            "at": NOW + timedelta(seconds=second),
            "replica": replica,
            "error": None,
            "connections": connections[second] if connections else 5,
            "messages": 100 + second * messages,
            "closed": 10 + second * closed,
            "memory_bytes": None if memory is None else memory * MB,
        }
        for second, memory in enumerate(megabytes)
    ]
    return Reading("backend", "WebSocket gauges", pd.DataFrame(rows, columns=WEBSOCKET_COLUMNS))
