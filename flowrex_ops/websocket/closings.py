"""Connections that ended by the backend's log: a line for each closing, restarts, and exceptions of the handlers."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from flowrex_ops.model import LogLine

CLOSING_COLUMNS = [
    "at",
    "replica",
    "code",
    "by",
    "age_seconds",
    "idle_seconds",
    "recent",
    "restart",
    "client",
    "reason",
]
ERROR_COLUMNS = ["exception", "lines", "recent", "last_at"]

ABNORMAL = 1006
LOST = "lost"
"""Who closed a connection that has an opening line, no closing line, and whose replica was started anew since."""

KEPT_CLOSINGS = 5000
KEPT_OPENINGS = 50_000
KEPT_EXCEPTIONS = 50
RESTART_SECONDS = 5.0
"""So long before its stopping or starting line a replica's connections end because of it."""

_STARTS = ("backend started", "started server process", "application startup complete", "booting worker")
_STOPS = ("backend stopping", "shutting down", "worker exiting")
_CLOSED = re.compile(r"websocket\w*\W.{0,40}?(clos|disconnect)", re.IGNORECASE)
_OPENED = re.compile(r"websocket\w*\W.{0,40}?(opened|connected)", re.IGNORECASE)
_PLAIN_OPENED = re.compile(r'"WebSocket [^"]*" (?:\[accepted\]|101)|\bconnection open$')
"""uvicorn's own lines, by either of its protocols (uvicorn.protocols.websockets); hypercorn logs a request with 101."""
_PLAIN_CLOSED = re.compile(r"\bconnection closed$")
_CODE = re.compile(r"""\bcode["']?\s*[=:]\s*["']?([1-4]\d{3})\b""")
_BY = re.compile(r"""\bby["']?\s*[=:]\s*["']?([a-z]+)""")
_ID = re.compile(r"""\b(?:connection_)?id["']?\s*[=:]\s*["']?([\w-]+)""")
_AGE = re.compile(r"""\b(?:age|duration|lasted)_(s|seconds|ms)["']?\s*[=:]\s*["']?(\d+(?:\.\d+)?)""")
_IDLE = re.compile(r"""\bidle_(s|seconds|ms)["']?\s*[=:]\s*["']?(\d+(?:\.\d+)?)""")
_CLIENT = re.compile(r"""\bclient["']?\s*[=:]\s*["']?([^\s"',}]+)""")
_REASON = re.compile(r"""\breason["']?\s*[=:]\s*["']?(.+?)["'}]*$""")
_HANDLER_FAILED = re.compile(r"websocket.*(fail|error|exception)|exception in asgi application", re.IGNORECASE)
_WEBSOCKET_FRAME = "protocols/websockets/"
"""A file of uvicorn's in each traceback of a WebSocket; those of requests begin with the same words, and in ``protocols/http/``."""
_WAITS = "waits"
_CHAINED = ("Traceback", "During handling", "The above exception")


@dataclass(frozen=True, slots=True)
class ConnectionLog:
    """What one pass over the backend's log found. ``closed`` counts all closings, of which ``closings`` has the newest.

    Where the backend logs no close codes, ``closings`` are those that the proxy's access log has (code ``UNREPORTED``). ``openings``: when
    the newest connections began, by the handler's lines or the server's own.

    ``closings``: ``CLOSING_COLUMNS`` (ages in seconds, None where the line does not tell). ``errors``: exceptions of WebSocket
    handlers, ``ERROR_COLUMNS``. ``starts``: at, replica, of every start of a replica. ``opened``: connections of any form; ``coded``: lines
    that tell more than the server's own; ``unreported``: recent closings without a code. ``begins_at``: from when on closings count as recent. ``replicas``: whose lines were read.
    """

    closings: pd.DataFrame
    errors: pd.DataFrame
    starts: pd.DataFrame
    opened: int = 0
    closed: int = 0
    coded: int = 0
    unreported: int = 0
    begins_at: datetime | None = None
    replicas: frozenset[str] = frozenset()
    openings: tuple[datetime, ...] = ()


def parse_closings(lines: Iterable[LogLine], *, recent_since: datetime) -> ConnectionLog:
    """One pass with bounded memory; lines in order of time."""
    reader = _Reader(recent_since)
    for line in lines:
        reader.read(line)
    return reader.result()


@dataclass(slots=True)
class _Reader:
    """State of the pass: what is open by (replica, id), the newest closings, and where a traceback is under way."""

    recent_since: datetime
    open: dict[tuple[str, str], datetime] = field(default_factory=dict)
    closings: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSINGS))
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts: deque[tuple[datetime, str]] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSINGS))
    started: dict[str, datetime] = field(default_factory=dict)
    stopping: dict[str, datetime] = field(default_factory=dict)
    armed: dict[str, str] = field(default_factory=dict)
    unsure: dict[str, bool] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    replicas: set[str] = field(default_factory=set)
    openings: deque[datetime] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSINGS))
    named_openings: deque[datetime] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSINGS))

    def read(self, line: LogLine) -> None:
        text = line.text
        self.replicas.add(line.replica)
        if line.replica in self.armed and self._in_traceback(line):
            return
        if "duration_ms" in text:  # a request, as nearly every line is
            return
        lowered = text.lower()
        if "websocket" in lowered and _CLOSED.search(text) and _CODE.search(text):
            self.counts["coded"] += 1
            self._closed(line)
        elif _PLAIN_CLOSED.search(text):
            self.counts["unreported"] += line.at is None or line.at >= self.recent_since
        elif '"WebSocket' in text and _PLAIN_OPENED.search(text):
            self.counts["opened"] += 1
            self.openings.extend([line.at] if line.at else ())
        elif "websocket" in lowered and _OPENED.search(text):
            self._opened(line)
        elif line.at and any(words in lowered for words in _STOPS):
            self._mark_restart(line.replica, line.at)
            self.stopping[line.replica] = line.at
        elif line.at and any(words in lowered for words in _STARTS):
            self._started(line.replica, line.at)
        if "error" in lowered and (failed := _HANDLER_FAILED.search(text)):
            self.armed[line.replica] = _WAITS
            self.unsure[line.replica] = failed[1] is None

    def _opened(self, line: LogLine) -> None:
        name = _ID.search(line.text)
        self.counts["opened"] += 1
        self.counts["coded"] += name is not None
        self.named_openings.extend([line.at] if line.at else ())
        if name and line.at:
            self.open[line.replica, name[1]] = line.at
            if len(self.open) > KEPT_OPENINGS:
                del self.open[next(iter(self.open))]

    def _closed(self, line: LogLine) -> None:
        text, code = line.text, int(_CODE.search(line.text)[1])  # type: ignore[index]  # read() has seen it
        name, by, client, reason = (pattern.search(text) for pattern in (_ID, _BY, _CLIENT, _REASON))
        opened = self.open.pop((line.replica, name[1]), None) if name else None
        age = _seconds(_AGE.search(text))
        if age is None and opened and line.at:
            age = (line.at - opened).total_seconds()
        self._keep(
            line.replica,
            line.at,
            code=code,
            by=by[1] if by else _usual_closer(code),
            age_seconds=age,
            idle_seconds=_seconds(_IDLE.search(text)),
            restart=line.replica in self.stopping,
            client=client[1] if client else "",
            reason="" if reason is None or reason[1] == "-" else reason[1][:200],
        )

    def _started(self, replica: str, at: datetime) -> None:
        """Whatever was open in this replica ended with the process before."""
        self.stopping.pop(replica, None)
        if replica not in self.started or (at - self.started[replica]).total_seconds() > RESTART_SECONDS:
            self.starts.append((at, replica))
        self.started[replica] = at
        for key in [key for key in self.open if key[0] == replica]:
            age = (at - self.open.pop(key)).total_seconds()
            self._keep(
                replica,
                at,
                code=ABNORMAL,
                by=LOST,
                age_seconds=age,
                idle_seconds=None,
                restart=True,
                client="",
                reason="the process ended without a word",
            )

    def _mark_restart(self, replica: str, at: datetime) -> None:
        """Connections that ended just before a replica said that it stops were ended by that."""
        for closing in reversed(self.closings):
            if closing["at"] is None or (at - closing["at"]).total_seconds() > RESTART_SECONDS:
                break
            closing["restart"] |= closing["replica"] == replica

    def _keep(self, replica: str, at: datetime | None, **facts: Any) -> None:
        self.counts["closed"] += 1
        recent = at is not None and at >= self.recent_since
        self.closings.append({"at": at, "replica": replica, "recent": recent, **facts})

    def _in_traceback(self, line: LogLine) -> bool:
        """Whether the line belongs to a traceback; its last line, which is not indented, names the exception."""
        text = line.text
        if self.armed[line.replica] == _WAITS:
            if text.startswith("Traceback"):
                self.armed[line.replica] = "inside"
                return True
            return False
        if _WEBSOCKET_FRAME in text:
            self.unsure[line.replica] = False
        if not text.strip() or text[:1].isspace() or text.startswith(_CHAINED):
            return True
        del self.armed[line.replica]
        if self.unsure[line.replica]:
            return True
        if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit|Warning|Closed\w*|Timeout)?(:|$)", text) is None:
            return False
        if text[:200] in self.errors or len(self.errors) < KEPT_EXCEPTIONS:
            entry = self.errors.setdefault(text[:200], {"exception": text[:200], "lines": 0, "recent": 0})
            entry["lines"] += 1
            entry["recent"] += line.at is not None and line.at >= self.recent_since
            entry["last_at"] = line.at
        return True

    def result(self) -> ConnectionLog:
        errors = sorted(self.errors.values(), key=lambda entry: (-entry["recent"], -entry["lines"], entry["exception"]))
        return ConnectionLog(
            closings=pd.DataFrame(list(self.closings), columns=CLOSING_COLUMNS),
            errors=pd.DataFrame(errors, columns=ERROR_COLUMNS),
            starts=pd.DataFrame(list(self.starts), columns=["at", "replica"]),
            opened=self.counts["opened"],
            closed=self.counts["closed"],
            coded=self.counts["coded"],
            unreported=self.counts["unreported"],
            begins_at=self.recent_since,
            replicas=frozenset(self.replicas),
            openings=tuple(self.named_openings or self.openings),  # the server says the same again
        )


def _seconds(found: re.Match[str] | None) -> float | None:
    return None if found is None else float(found[2]) / (1000 if found[1] == "ms" else 1)


def _usual_closer(code: int) -> str:
    """Who closes with this code, where the log does not tell (RFC 6455, section 7.4.1)."""
    if code == ABNORMAL:
        return "abnormal"
    return "server" if code in (1011, 1012, 1013) else "client"
