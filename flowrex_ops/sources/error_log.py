"""A backend's log, read once: its requests added up, its errors clustered, and each failed request with the error before it.

Errors with a traceback are one cluster where the same exception comes out of the same function of our own code;
errors without one are one cluster where drain3 finds the same template in them.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pandas as pd

from flowrex_ops.model import LogLine
from flowrex_ops.sources.access_log import MOST_BUCKETS, MOST_ROUTES, OTHER, SERVER_ERROR
from flowrex_ops.sources.routes import route_of
from flowrex_ops.sources.tracebacks import Trouble, understand

EXCEPTION_COLUMNS = [
    "signature", "kind", "dependency", "count", "recent", "requests", "replicas", "first_at", "last_at", "first_line", "last_frame",
]  # fmt: skip
REQUEST_COLUMNS = ["at", "replica", "route", "status", "signature", "kind", "dependency", "requests"]

_ENTRY = re.compile(r"\d{4}[-/]\d\d[-/]\d\d|\{|\[?(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b")
_LEVEL = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")
_HEAD = re.compile(r"^\S*\d\d:\d\d:\d\d\S*\s+(?:\[?\w+\]?:?\s+)?|^\[?(?:ERROR|CRITICAL|FATAL)\]?:?\s+")
_REQUEST = re.compile(r'"[A-Z]+ ([^ ?"]+)[^"]*" (\d{3})\b')
_ROUTE = re.compile(r"\b(?:route|path)=(\S+)")
_STATUS = re.compile(r"\bstatus=(\d{3})\b")
_REQUEST_ID = re.compile(r"\brequest_id=(\S+)")
_TEXT_KEYS, _LEVEL_KEYS = ("message", "msg", "event"), ("level", "levelname", "severity")
_TRACEBACK_KEYS = ("exc_info", "exception", "traceback", "stack_trace", "stack")
MOST_LINES = 200
"""Lines kept of one entry: its first, and the last of its traceback, which tell what happened."""
MOST_SIGNATURES = 500
WAITING_ERRORS = 64
WAITING_SECONDS = 10.0
_EXAMPLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ErrorLog:
    """One pass over the log.

    ``exceptions``: columns ``EXCEPTION_COLUMNS``, a row a signature; ``count`` entries, of them ``recent`` ones, and the
    failed ``requests`` that they explain. ``requests``: columns ``REQUEST_COLUMNS``, added up by buckets that begin ``at``
    (UTC); ``signature`` is empty where no error was logged for them. ``begins_at``: the replicas' first lines by name.
    """

    exceptions: pd.DataFrame
    requests: pd.DataFrame
    until: datetime
    recent_since: datetime
    begins_at: dict[str, datetime]


@dataclass(slots=True)
class _Signature:
    text: str
    trouble: Trouble
    first_line: str
    first_at: datetime | None
    last_at: datetime | None = None
    count: int = 0
    recent: int = 0
    requests: int = 0
    replicas: set[str] = field(default_factory=set)
    cluster: int = 0


@dataclass(slots=True)
class _Replica:
    """What is known of one replica while its lines come by; replicas' lines may be interleaved, one replica's are not."""

    entry: str = ""
    at: datetime | None = None
    wanted: bool = False
    rest: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    waiting: deque[tuple[float, str, _Signature]] = field(default_factory=lambda: deque(maxlen=WAITING_ERRORS))


def read_errors(lines: Iterable[LogLine], *, until: datetime, since: datetime, recent_since: datetime) -> ErrorLog:
    """One pass; memory grows with the kinds of errors and of requests, not with the log."""
    reader = _Reader(since, until, recent_since)
    for line in lines:
        reader.add(line)
    return reader.result(until)


class _Reader:
    def __init__(self, since: datetime, until: datetime, recent_since: datetime) -> None:
        self._recent_since = recent_since
        self._bucket = max(1, round((until - since).total_seconds() / MOST_BUCKETS))
        self._replicas: dict[str, _Replica] = {}
        self._signatures: dict[tuple[str, ...], _Signature] = {}
        self._requests: dict[tuple[Any, ...], list[Any]] = {}
        self._routes: set[str] = set()
        self._begins: dict[str, datetime] = {}
        self._miner: Any = None

    def add(self, line: LogLine) -> None:
        """Take the next line of any replica."""
        text = line.text
        replica = self._replicas.get(line.replica)
        if replica is None:
            replica = self._replicas[line.replica] = _Replica()
            if line.at is not None:
                self._begins[line.replica] = line.at
        if not _ENTRY.match(text):
            if replica.wanted:
                replica.rest.append(text)
            return
        self._finish(line.replica, replica)
        if text[0] == "{":
            self._add_json(line, replica)
        elif "HTTP/" in text and (request := _REQUEST.search(text)):
            route = _ROUTE.search(text)
            self._count(line, replica, route[1] if route else request[1], int(request[2]), text)
        elif "status=" in text and (status := _STATUS.search(text)) and (route := _ROUTE.search(text)):
            self._count(line, replica, route[1], int(status[1]), text)
        elif _LEVEL.search(text[:80]):
            replica.entry, replica.at, replica.wanted = text, line.at, True

    def _add_json(self, line: LogLine, replica: _Replica) -> None:
        try:
            entry = json.loads(line.text)
        except ValueError:
            return
        message = str(next((entry[key] for key in _TEXT_KEYS if key in entry), ""))
        traceback = next((str(entry[key]) for key in _TRACEBACK_KEYS if entry.get(key)), "")
        status = str(entry.get("status") or entry.get("status_code") or "")
        request = _REQUEST.search(message)
        if request or status.isdigit():
            route = _ROUTE.search(message)
            named = entry.get("route") or entry.get("path") or (route[1] if route else request[1] if request else "")
            self._count(line, replica, str(named), int(request[2] if request else status), line.text)
        elif traceback or str(next((entry[key] for key in _LEVEL_KEYS if key in entry), "")).upper() in (
            "ERROR",
            "CRITICAL",
            "FATAL",
        ):
            replica.entry, replica.at, replica.wanted = message, line.at, True
            replica.rest.extend(traceback.splitlines())

    def _finish(self, name: str, replica: _Replica) -> None:
        """An entry ends where the next one of the same replica begins."""
        if not replica.wanted:
            return
        first = _HEAD.sub("", replica.entry)[:_EXAMPLE_CHARACTERS]
        trouble = _understood(first, tuple(replica.rest))
        signature = self._signature(first, trouble, replica.at)
        signature.count += 1
        signature.recent += replica.at is not None and replica.at >= self._recent_since
        signature.last_at = replica.at or signature.last_at
        signature.replicas.add(name)
        identity = _REQUEST_ID.search(replica.entry)
        replica.waiting.append((_seconds(replica.at), identity[1] if identity else "", signature))
        replica.wanted = False
        replica.rest.clear()

    def _signature(self, first: str, trouble: Trouble, at: datetime | None) -> _Signature:
        cluster = 0
        if trouble.exception:
            key: tuple[str, ...] = (trouble.exception, trouble.frame, trouble.dependency)
        else:
            cluster = self._mine(first)
            key = (str(cluster), trouble.kind, trouble.dependency)
        if key not in self._signatures and len(self._signatures) >= MOST_SIGNATURES:
            key = (OTHER,)
        found = self._signatures.get(key)
        if found is None:
            text = f"{trouble.exception} in {trouble.frame}" if trouble.frame else trouble.exception or first
            found = self._signatures[key] = _Signature(
                OTHER if key == (OTHER,) else text, trouble, first, at, cluster=cluster
            )
        return found

    def _mine(self, first: str) -> int:
        """The cluster of an error without a traceback."""
        if self._miner is None:
            self._miner = _new_miner()
        return int(self._miner.add_log_message(first)["cluster_id"])

    def _count(self, line: LogLine, replica: _Replica, path: str, status: int, text: str) -> None:
        route = route_of(path.partition("?")[0])
        if route not in self._routes:
            route = OTHER if len(self._routes) >= MOST_ROUTES else route
            self._routes.add(route)
        seconds = _seconds(line.at)
        signature = self._explain(replica, seconds, text) if status >= SERVER_ERROR else None
        if signature:
            signature.requests += 1
        key = (seconds - seconds % self._bucket, line.replica, route, status, id(signature))
        entry = self._requests.get(key)
        if entry is None:
            entry = self._requests[key] = [0, signature]
        entry[0] += 1

    @staticmethod
    def _explain(replica: _Replica, seconds: float, text: str) -> _Signature | None:
        """The error of a failed request: the one with its id, else the newest one that explains no other request yet."""
        waiting = replica.waiting
        while waiting and seconds - waiting[0][0] > WAITING_SECONDS:
            waiting.popleft()
        identity = _REQUEST_ID.search(text)
        chosen = next((item for item in reversed(waiting) if identity and item[1] == identity[1]), None)
        if chosen is None and waiting and not (identity and waiting[-1][1]):
            chosen = waiting[-1]
        if chosen is not None:
            waiting.remove(chosen)
        return chosen[2] if chosen else None

    def result(self, until: datetime) -> ErrorLog:
        """What was read."""
        for name, replica in self._replicas.items():
            self._finish(name, replica)
        templates = {c.cluster_id: c.get_template() for c in self._miner.drain.clusters} if self._miner else {}
        for one in self._signatures.values():
            if one.cluster:
                one.text = templates.get(one.cluster, one.text)
        signatures = sorted(self._signatures.values(), key=lambda one: (-one.recent, -one.count, one.text))
        exceptions = [
            (
                one.text, one.trouble.kind, one.trouble.dependency, one.count, one.recent, one.requests,
                ", ".join(sorted(one.replicas)), one.first_at, one.last_at, one.first_line, one.trouble.place,
            )
            for one in signatures
        ]  # fmt: skip
        requests = [
            (datetime.fromtimestamp(at, UTC), replica, route, status, *_explanation(signature), number)
            for (at, replica, route, status, _), (number, signature) in self._requests.items()
        ]
        return ErrorLog(
            pd.DataFrame(exceptions, columns=EXCEPTION_COLUMNS),
            pd.DataFrame(requests, columns=REQUEST_COLUMNS),
            until,
            self._recent_since,
            self._begins,
        )


_understood = lru_cache(maxsize=1024)(understand)
"""A log in trouble has the same traceback thousands of times."""


def _explanation(signature: _Signature | None) -> tuple[str, str, str]:
    return (signature.text, signature.trouble.kind, signature.trouble.dependency) if signature else ("", "", "")


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


def _new_miner() -> Any:
    """drain3 in memory, with what varies in every line masked before it looks."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.drain_max_clusters = MOST_SIGNATURES
    config.masking_instructions = [
        MaskingInstruction(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "id"),
        MaskingInstruction(r"\b\d+(?:\.\d+)*\b", "n"),
    ]
    return TemplateMiner(config=config)
