"""What the logs say of WebSockets that ended: the backend's, the ends in the proxy's access log, and NGINX's errors about them.

It has the time limit of logs, which it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.logs.access_log import NOT_ENOUGH
from flowrex_ops.model import LogLine
from flowrex_ops.reading import Source, reads
from flowrex_ops.websocket.closings import CLOSING_COLUMNS, ConnectionLog, parse_closings
from flowrex_ops.websocket.upgraded import find_used_path, read_upgraded

_LATELY = timedelta(hours=2)
PROXY_ERROR_COLUMNS = ["kind", "lines", "recent", "first_at", "last_at", "example"]

_PROXY_ERRORS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("worker-connections", re.compile(NOT_ENOUGH)),
    ("timeout", re.compile(r"upstream timed out .*while proxying upgraded connection")),
    ("broken", re.compile(r"while proxying upgraded connection")),
    ("unreachable", re.compile(r"(connect\(\) failed|no live upstreams).*request: \"GET [^\"]*(?:ws|socket)")),
)


class WebSocketLogSource(Source):
    """The backend's and the proxy's logs, read through the stack."""

    name = "logs"

    def __init__(
        self,
        stack: Stack,
        backend: str,
        proxy: str,
        *,
        find_formats: Callable[[], Sequence[str]] = tuple,
        find_addresses: Callable[[], Mapping[str, str]] = dict,
        limit_seconds: float,
        max_bytes: int,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._find_formats = find_formats
        self._find_addresses = find_addresses
        self._stack = stack
        self._backend = backend
        self._proxy = proxy
        self._max_bytes = max_bytes

    @reads("WebSocket closings")
    def get_closings(self, *, since: timedelta, recent_minutes: float) -> ConnectionLog:
        """Every closing that the backend logged since *since* ago, and the connections that a restart swallowed.

        Where the backend logs no code at all, the ends that the proxy's access log has.
        """
        recent_since = self.now() - timedelta(minutes=recent_minutes)
        try:
            log = parse_closings(self._lines(self._backend, since), recent_since=recent_since)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._backend}' broke off: {error}; ask again") from None
        return log if log.coded or log.closed else self._with_ends(log, since, recent_since)

    def _with_ends(self, log: ConnectionLog, since: timedelta, recent_since: datetime) -> ConnectionLog:
        """*log* with the ends that the proxy logged; as it is where the proxy's log cannot be read, for then nothing is known."""
        chunks = self._stack.read_log_chunks(self._proxy, since=self.now() - since, max_bytes=self._max_bytes)
        try:
            ends = read_upgraded(
                chunks,
                recent_since=recent_since,
                find_formats=self._find_formats,
                replicas=self._find_addresses(),
            )
        except (OSError, StackUnavailableError):
            return log
        return replace(log, closings=pd.DataFrame(ends, columns=CLOSING_COLUMNS), closed=len(ends))

    def find_path(self) -> str:
        """Where clients opened WebSockets lately, by the proxy's log; empty where it does not tell."""
        since = self.now() - _LATELY
        try:
            chunks = self._stack.read_log_chunks(self._proxy, since=since, max_bytes=self._max_bytes)
            return find_used_path(chunks, self._find_formats)
        except (OSError, SourceUnavailableError, StackUnavailableError):
            return ""

    @reads("proxy errors")
    def get_proxy_errors(self, *, since: timedelta, recent_minutes: float) -> pd.DataFrame:
        """NGINX's error lines that concern WebSockets, by kind; columns ``PROXY_ERROR_COLUMNS``."""
        recent_since = self.now() - timedelta(minutes=recent_minutes)
        if not self._stack.get_replicas(self._proxy):
            raise SourceUnavailableError(f"the stack has no service '{self._proxy}'; set proxy.service")
        try:
            return count_proxy_errors(self._lines(self._proxy, since), recent_since=recent_since)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._proxy}' broke off: {error}; ask again") from None

    def _lines(self, service: str, since: timedelta) -> Iterable[LogLine]:
        return self._stack.read_logs(service, since=self.now() - since, max_bytes=self._max_bytes)


def count_proxy_errors(lines: Iterable[LogLine], *, recent_since: datetime) -> pd.DataFrame:
    """One pass, constant memory: error lines by kind, and how many since *recent_since*."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        # Plain searches first: nearly all lines are about requests that went well.
        if "upgraded" not in line.text and "connect" not in line.text and "no live" not in line.text:
            continue
        kind = next((kind for kind, pattern in _PROXY_ERRORS if pattern.search(line.text)), None)
        if kind is None:
            continue
        entry = found.setdefault(kind, {"kind": kind, "lines": 0, "recent": 0, "first_at": line.at, "last_at": line.at})
        entry["lines"] += 1
        entry["recent"] += line.at is not None and line.at >= recent_since
        entry["last_at"] = line.at or entry["last_at"]
        entry["example"] = line.text[:300]
    return pd.DataFrame(sorted(found.values(), key=lambda entry: entry["kind"]), columns=PROXY_ERROR_COLUMNS)
