"""A backend's log, read once: its requests added up, its errors clustered, and each failed request with the error before it.

Errors with a traceback are one cluster where the same exception comes out of the same function of our own code;
errors without one are one cluster where drain3 finds the same template in them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pandas as pd

from flowrex_ops.logs.access_format import TORNADO
from flowrex_ops.logs.access_log import MOST_BUCKETS, MOST_ROUTES, OTHER, SERVER_ERROR
from flowrex_ops.logs.entry import plain, split_entry
from flowrex_ops.logs.json_entry import JsonEntry, has_fields
from flowrex_ops.logs.pairing import Failed, Logged, Pairing
from flowrex_ops.logs.routes import route_of
from flowrex_ops.logs.tracebacks import HEADING, ParsedError, parse_traceback
from flowrex_ops.model import LogLine

EXCEPTION_COLUMNS = [
    "signature", "kind", "dependency", "count", "recent", "requests", "replicas", "first_at", "last_at", "first_line", "last_frame",
]  # fmt: skip
REQUEST_COLUMNS = ["at", "replica", "route", "status", "signature", "kind", "dependency", "requests"]

_REQUEST = re.compile(r'"([A-Z]{3,9}) (/[^ ?"]*|\*|https?://[^ ?"]+)[^"]*" (\d{3})\b')
_ROUTE = re.compile(r"\b(?:route|path)=(\S+)")
_STATUS = re.compile(r"\bstatus=(\d{3})\b")
_REQUEST_ID = re.compile(r"""\b(?:request_id|req_id|correlation_id|trace_id)["']?[=:] ?["']?([\w-]+)""")
_QUIET = re.compile(
    r"(?:\[?[\d.,:T/Z+ -]{8,35}\]? ?)?(?:\[\d+\] |[|-] |\([\w-]+\) )*\[?(?:INFO|DEBUG|info|debug)\b(?! in )"
)
"""The most of the lines of most logs, told at a glance to be of no interest."""
_OUTGOING = "urllib3"
"""Its line of a request that the backend made looks like one of a request that was made to it."""
_NO_TITLE = re.compile(
    r"Exception in ASGI application|Error handling request|Exception on /|Exception in (?:thread|callback)|Internal Server Error"
    r"|Task exception was never retrieved|Error in ASGI Framework|Uncaught exception|$"
    r"|(?i:(?:un(?:handled|caught|expected)[_ ])?(?:exception|error)\W*$|request[_ ](?:has )?(?:failed|error(?:ed)?|crashed|aborted|died)\W*$)"
)
"""What servers and catch-all handlers write above a traceback, whatever it is; the exception itself is its title."""
MOST_LINES = 200
"""Lines kept of one entry: its first, and the last of its traceback, which tell what happened."""
MOST_SIGNATURES = 500
_EXAMPLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ErrorLog:
    """One pass over the log.

    ``exceptions``: columns ``EXCEPTION_COLUMNS``, a row a signature; ``count`` entries, of them ``recent`` ones, and the
    failed ``requests`` that they explain. ``requests``: columns ``REQUEST_COLUMNS`` and ``method``, added up by buckets that begin ``at``
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
    error: ParsedError
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
    """What is known of one replica while its lines come by; replicas' lines may be interleaved, one replica's are not.

    ``printed``: the line before, where it began no entry; it is the title of a traceback that nobody logged.
    """

    pairing: Pairing[_Signature]
    lines: int = 0
    first_line: int = 0
    entry: str = ""
    raw: str = ""
    at: datetime | None = None
    wanted: bool = False
    warned: bool = False
    printed: str = ""
    rest: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))

    def begin(self, entry: str, raw: str, at: datetime | None) -> None:
        """An error's first line."""
        self.entry, self.raw, self.at, self.wanted, self.first_line = entry, raw, at, True, self.lines


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
        replica = self._replicas.get(line.replica)
        if replica is None:
            replica = self._replicas[line.replica] = _Replica(Pairing(self._finalize))
            if line.at is not None:
                self._begins[line.replica] = line.at
        replica.lines += 1
        text = plain(line.text)
        if not text or text[0].isspace():
            self._continue(line, replica, text)
        elif has_fields(text):
            self._finish(line.replica, replica)
            self._add_json(line, replica)
        elif '"' in text and (request := _REQUEST.search(text)) and _OUTGOING not in text:
            self._finish(line.replica, replica)
            route = _ROUTE.search(text)
            self._count(line, replica, request[1], route[1] if route else request[2], int(request[3]), text)
        elif text.endswith("ms") and (request := TORNADO.search(text)):
            self._finish(line.replica, replica)
            self._count(line, replica, request[2], request[3], int(request[1]), text)
        else:
            self._add_text(line, replica, text)

    def _add_text(self, line: LogLine, replica: _Replica, text: str) -> None:
        if _QUIET.match(text) and "status=" not in text:
            self._finish(line.replica, replica)
            replica.printed, replica.warned = "", False
            return
        entry = split_entry(text)
        if entry is None:
            self._continue(line, replica, text)
            return
        self._finish(line.replica, replica)
        replica.printed, replica.warned = "", entry.level == "WARNING"
        if "status=" in text and (status := _STATUS.search(text)) and (route := _ROUTE.search(text)):
            self._count(line, replica, "", route[1], int(status[1]), text)
        elif entry.is_error:
            replica.begin(entry.text, text, line.at)

    def _continue(self, line: LogLine, replica: _Replica, text: str) -> None:
        """A line that begins no entry: more of an error, or a traceback that was printed without one."""
        if HEADING in text and not replica.wanted and not replica.warned:
            replica.begin(replica.printed, replica.printed, line.at)
        if replica.wanted:
            replica.rest.append(text)
        elif text.strip():
            replica.printed = text

    def _add_json(self, line: LogLine, replica: _Replica) -> None:
        entry = JsonEntry.of(line.text)
        if entry is None:
            return
        replica.printed, replica.warned = "", False
        if entry.is_error:
            replica.begin(entry.message, line.text, line.at)
            replica.rest.extend(entry.traceback)
        request, route = _REQUEST.search(entry.message), _ROUTE.search(entry.message)
        path = entry.path or (route[1] if route else "") or (request[2] if request else "")
        if path and (request or entry.status):
            self._finish(line.replica, replica)
            method = request[1] if request else entry.method
            self._count(line, replica, method, path, int(request[3]) if request else entry.status, line.text)

    def _finish(self, name: str, replica: _Replica) -> None:
        """An entry ends where the next one of the same replica begins."""
        if not replica.wanted:
            return
        first = replica.entry[:_EXAMPLE_CHARACTERS]
        error = _parsed(first, tuple(replica.rest))
        if error.exception and _NO_TITLE.match(first):
            where = f" at {error.place}" if error.place and not error.message else ""
            first = f"{error.exception}: {error.message}".rstrip(": ")[:_EXAMPLE_CHARACTERS] + where
        signature = self._signature(first, error, replica.at)
        signature.count += 1
        signature.recent += replica.at is not None and replica.at >= self._recent_since
        signature.last_at = replica.at or signature.last_at
        signature.replicas.add(name)
        identity = _REQUEST_ID.search(replica.raw)
        replica.pairing.add_error(
            Logged(
                _seconds(replica.at),
                replica.first_line,
                replica.lines - 1,
                identity[1] if identity else "",
                replica.entry,
                error.names,
                signature,
            )
        )
        replica.wanted = False
        replica.rest.clear()

    def _signature(self, first: str, error: ParsedError, at: datetime | None) -> _Signature:
        cluster = 0
        if error.exception:
            key: tuple[str, ...] = (error.exception, error.frame, error.dependency or error.kind)
        else:
            cluster = self._mine(first)
            key = (str(cluster), error.kind, error.dependency)
        if key not in self._signatures and len(self._signatures) >= MOST_SIGNATURES:
            key = (OTHER,)
        found = self._signatures.get(key)
        if found is None:
            text = f"{error.exception} in {error.frame}" if error.frame else error.exception or first
            found = self._signatures[key] = _Signature(
                OTHER if key == (OTHER,) else text, error, first, at, cluster=cluster
            )
        return found

    def _mine(self, first: str) -> int:
        """The cluster of an error without a traceback."""
        if self._miner is None:
            self._miner = _new_miner()
        return int(self._miner.add_log_message(first)["cluster_id"])

    def _count(self, line: LogLine, replica: _Replica, method: str, path: str, status: int, text: str) -> None:
        replica.printed = ""
        path = path.partition("?")[0]
        route = route_of(path)
        if route not in self._routes:
            route = OTHER if len(self._routes) >= MOST_ROUTES else route
            self._routes.add(route)
        seconds = _seconds(line.at)
        key = (seconds - seconds % self._bucket, line.replica, method, route, status)
        if status < SERVER_ERROR:
            self._add_request(key, None)
            return
        identity = _REQUEST_ID.search(text)
        replica.pairing.add_request(Failed(seconds, replica.lines, identity[1] if identity else "", path, route, key))

    def _finalize(self, request: Failed, signature: _Signature | None) -> None:
        if signature:
            signature.requests += 1
        self._add_request(request.key, signature)

    def _add_request(self, key: tuple[Any, ...], signature: _Signature | None) -> None:
        entry = self._requests.get((*key, id(signature)))
        if entry is None:
            entry = self._requests[(*key, id(signature))] = [0, signature]
        entry[0] += 1

    def result(self, until: datetime) -> ErrorLog:
        """What was read."""
        for name, replica in self._replicas.items():
            self._finish(name, replica)
            replica.pairing.finish()
        templates = {c.cluster_id: c.get_template() for c in self._miner.drain.clusters} if self._miner else {}
        for one in self._signatures.values():
            if one.cluster:
                one.text = templates.get(one.cluster, one.text)
        signatures = sorted(self._signatures.values(), key=lambda one: (-one.recent, -one.count, one.text))
        exceptions = [
            (
                one.text, one.error.kind, one.error.dependency, one.count, one.recent, one.requests,
                ", ".join(sorted(one.replicas)), one.first_at, one.last_at, one.first_line, one.error.place,
            )
            for one in signatures
        ]  # fmt: skip
        requests = [
            (datetime.fromtimestamp(at, UTC), replica, route, status, *_explanation(signature), number, method)
            for (at, replica, method, route, status, _), (number, signature) in self._requests.items()
        ]
        return ErrorLog(
            pd.DataFrame(exceptions, columns=EXCEPTION_COLUMNS),
            pd.DataFrame(requests, columns=[*REQUEST_COLUMNS, "method"]),
            until,
            self._recent_since,
            self._begins,
        )


_parsed = lru_cache(maxsize=1024)(parse_traceback)
"""A log in trouble has the same traceback thousands of times."""


def _explanation(signature: _Signature | None) -> tuple[str, str, str]:
    return (signature.text, signature.error.kind, signature.error.dependency) if signature else ("", "", "")


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
        MaskingInstruction(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b0x[0-9a-fA-F]+\b", "id"),
        MaskingInstruction(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", "id"),
        MaskingInstruction(r"(?<![A-Za-z0-9.])-?\d+(?:[.:]\d+)*(?![A-Za-z0-9])", "n"),
    ]
    return TemplateMiner(config=config)
