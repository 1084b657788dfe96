"""A service's log, streamed once: what it says about the connection pool, errors and slow requests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from statistics import median

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.access_format import TORNADO, Format, compile_format, method_of, parse_line, path_of
from flowrex_ops.logs.access_log import count_statuses
from flowrex_ops.logs.error_log import ErrorLog, read_errors
from flowrex_ops.logs.json_entry import excerpt
from flowrex_ops.logs.resolver import name_in, tells_of_lookup
from flowrex_ops.logs.tracebacks import tells_of_pool
from flowrex_ops.logs.trade_failures import count_trade_failures
from flowrex_ops.model import LogLine
from flowrex_ops.reading import Source, reads

DURATION_MS = re.compile(r"""duration_ms["']?\s*[=:]\s*["']?(\d+(?:\.\d+)?)""")
ROUTE = re.compile(r"""(?:route|path)["']?\s*[=:]\s*["']?([^\s"',}]+)""")
STATUS = re.compile(r"""(?:status["']?\s*[=:]\s*["']?|HTTP/[\d.]+\\?" )([1-5]\d\d)\b""")
_DRIVERS = ("psycopg", "asyncpg", "connection to server", "error connecting in")
_NOT_REACHED = ("connection refused", "could not translate host name", "no route to host", "errno 111")
"""In lower case, as libpq, psycopg's pool and asyncpg word it, in one line: an entry in JSON has its traceback there."""
_ASKED = re.compile(r"""(?:"[A-Z]{3,9} |(?:path|route|uri)["']?\s*[=:]\s*["']?)/""")
_GAVE_UP = "499"
_SAID_TWICE = "http.log.error"
"""Caddy's line of why it gave an answer, beside that of the request."""
KEPT_SLOW_REQUESTS = 200
_FEW, _FEW_MINUTES = 10, 4
_FAR_LESS = 1 / 3
PROXY_LOG_BYTES = 8 * 1024 * 1024
"""The newest of the proxy's log, for what NGINX itself has to say."""
ERROR_BYTES = 32 * 1024 * 1024
"""Understanding tracebacks takes a second or two for as much, on a slow machine the whole of a reading's time."""


@dataclass(slots=True)
class LogSummary:
    """What one pass over a log found. Counts are lines; ``per_minute`` counts pool errors by UTC minute. ``untimed`` requests do not tell how long they took.

    ``begins_at`` is the first line's time: of a long log only the newest is read. ``answers`` counts requests by UTC minute and whether they were answered with 5xx,
    ``refusals`` those answered 4xx. ``last_refused``: when a driver last told that a server of PostgreSQL cannot be reached. ``unresolved`` lines tell of a name that did not
    resolve, ``unresolved_names`` of which, where they tell it; None where nobody has looked for them.
    """

    lines: int = 0
    requests: int = 0
    untimed: int = 0
    server_errors: int = 0
    pool_errors: int = 0
    slow_requests: int = 0
    first_pool_error: datetime | None = None
    last_pool_error: datetime | None = None
    example: str = ""
    last_refused: datetime | None = None
    refused_example: str = ""
    per_minute: Counter[datetime] = field(default_factory=Counter)
    slowest: list[tuple[float, str, str]] = field(default_factory=list)
    answers: Counter[tuple[datetime, bool]] = field(default_factory=Counter)
    refusals: Counter[datetime] = field(default_factory=Counter)
    unresolved: int | None = None
    first_unresolved: datetime | None = None
    last_unresolved: datetime | None = None
    unresolved_names: Counter[str] = field(default_factory=Counter)
    unresolved_example: str = ""
    begins_at: datetime | None = None

    def failing_since(self, error_share: float) -> datetime | None:
        """The minute since which *error_share* of the requests fail, where they do so up to the last two; None otherwise.

        An outage that began just now is no half of one, however long the log is that was read.
        """
        minutes = sorted({minute for minute, _ in self.answers}, reverse=True)
        if minutes and not self._fails(minutes[0], error_share):
            minutes = minutes[1:]  # the newest has just begun
        going_on = list(takewhile(lambda minute: self._fails(minute, error_share), minutes))
        return going_on[-1] if going_on and self.count_since(going_on[-1])[1] >= _FEW else None

    def count_since(self, begin: datetime) -> tuple[int, int]:
        """Requests that failed, and all of them, since the minute *begin*."""
        later = {key: number for key, number in self.answers.items() if key[0] >= begin}
        return sum(number for (_, failed), number in later.items() if failed), sum(later.values())

    def refused_since(self, share: float) -> tuple[int, int] | None:
        """How many of how many requests of the last two minutes were refused (4xx), where these are *share* of them and users get far less than before.

        A scanner's requests are refused too; what others get stays as it was.
        """
        minutes = sorted({minute for minute, _ in self.answers})
        if len(minutes) < _FEW_MINUTES:
            return None
        got = [self.answers[one, False] - self.refusals[one] for one in minutes]
        number, of = (
            sum(part)
            for part in zip(*((self.refusals[one], self.answers[one, False]) for one in minutes[-2:]), strict=True)
        )
        usual = median(got[:-2])
        less = usual >= _FEW and got[-2] <= usual * _FAR_LESS and got[-1] <= usual * _FAR_LESS
        return (number, of) if less and number >= max(_FEW, share * of) else None

    def _fails(self, minute: datetime, error_share: float) -> bool:
        failed, well = self.answers[minute, True], self.answers[minute, False]
        return failed > 0 and failed >= error_share * (failed + well)

    def to_frame(self) -> pd.DataFrame:
        """What was counted, for people: found, lines, from, to (UTC), example."""
        found = [
            (
                "speak of the connection pool",
                self.pool_errors,
                self.first_pool_error,
                self.last_pool_error,
                self.example,
            ),
            ("requests answered with 5xx", self.server_errors, None, None, ""),
            ("requests slower than the limit", self.slow_requests, None, None, self._slowest()),
            ("requests in all", self.requests, None, None, ""),
            ("lines in all", self.lines, self.begins_at, None, ""),
        ]
        return pd.DataFrame(found, columns=["found", "lines", "from", "to", "example"])

    def _slowest(self) -> str:
        if not self.slowest:
            return ""
        seconds, route, replica = max(self.slowest)
        return f"{route} took {seconds:.1f} s on {replica}"


class LogSource(Source):
    """The log of one service, read through the stack."""

    name = "logs"

    def __init__(
        self,
        stack: Stack,
        service: str,
        *,
        limit_seconds: float,
        max_bytes: int,
        name: str = "logs",
        find_formats: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._find_formats = find_formats
        self.name = name
        self._stack = stack
        self._service = service
        self._max_bytes = max_bytes

    @reads("backend log")
    def get_pool_errors(self, *, since: timedelta, slow_seconds: float = 5.0) -> LogSummary:
        """Pool errors, 5xx answers and requests slower than *slow_seconds* since *since* ago."""
        return self._summarise(since, slow_seconds)

    @reads("name lookups in the log")
    def get_lookups(self, *, since: timedelta) -> LogSummary:
        """The same, for what it tells of names that did not resolve since *since* ago."""
        return self._summarise(since, slow_seconds=5.0)

    def _summarise(self, since: timedelta, slow_seconds: float) -> LogSummary:
        read = partial(self._stack.read_logs, self._service, since=self.now() - since, max_bytes=self._max_bytes)
        try:
            found = summarise(read(), slow_seconds=slow_seconds)
            if found.lines and not found.requests and (texts := self._find_formats()):
                formats = [compile_format(text) for text in texts]
                lines = (in_common_words(line, formats) for line in read())
                found = summarise(lines, slow_seconds=slow_seconds)
            return found
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None

    @reads("trades in the log")
    def get_trade_failures(self, *, since: timedelta, recent_minutes: float) -> pd.DataFrame:
        """What the log says of trades that were not filled, by kind of trouble; columns ``TRADE_LOG_COLUMNS``."""
        now = self.now()
        lines = self._stack.read_logs(self._service, since=now - since, max_bytes=self._max_bytes)
        try:
            return count_trade_failures(lines, recent_since=now - timedelta(minutes=recent_minutes))
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None

    @reads("errors in the log")
    def get_errors(self, *, since: timedelta, recent_minutes: float) -> ErrorLog:
        """Requests and what went wrong with them, clustered; an :class:`ErrorLog` of the newest 32 MB at most."""
        now = self.now()
        lines = self._stack.read_logs(self._service, since=now - since, max_bytes=min(self._max_bytes, ERROR_BYTES))
        try:
            return read_errors(
                lines, until=now, since=now - since, recent_since=now - timedelta(minutes=recent_minutes)
            )
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None

    @reads("statuses in the log")
    def count_statuses(self, *, since: timedelta) -> pd.DataFrame:
        """The playbook's count: status, lines. In one pass, however long the log is, and without holding it."""
        since_at = self.now() - since
        chunks = self._stack.read_log_chunks(self._service, since=since_at, max_bytes=self._max_bytes)
        try:
            found = count_statuses(chunks)
        except OSError as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None
        return pd.DataFrame(list(found.items()), columns=["status", "lines"])


def in_common_words(line: LogLine, formats: Sequence[Format]) -> LogLine:
    """A request of the proxy's own ``log_format`` as ``combined`` has it; any other line as it is."""
    matches = (one.pattern.match(line.text.encode()) for one in formats if one.pattern)
    found = next((m.groupdict(b"") for m in matches if m), None)
    fields = {name: text.decode(errors="replace") for name, text in found.items()} if found else None
    fields = fields or parse_line(line.text, formats) or {}
    if not fields.get("status"):
        return line
    return replace(line, text=f'"{method_of(fields) or "GET"} {path_of(fields)} HTTP/1.1" {fields["status"]} ')


def summarise(lines: Iterable[LogLine], *, slow_seconds: float) -> LogSummary:
    """One pass, constant memory: a :class:`LogSummary` of *lines*."""
    summary = LogSummary(unresolved=0)
    for line in lines:
        summary.lines += 1
        summary.begins_at = summary.begins_at or line.at
        _count_request(summary, line, slow_seconds)
        text = line.text.lower()
        if tells_of_pool(text):
            _count_pool_error(summary, line)
        if any(words in text for words in _NOT_REACHED) and any(words in text for words in _DRIVERS):
            summary.last_refused = line.at or summary.last_refused
            summary.refused_example = excerpt(line.text)[:300]
        if tells_of_lookup(text):
            _count_unresolved(summary, line)
    return summary


def _count_request(summary: LogSummary, line: LogLine, slow_seconds: float) -> None:
    # A plain search for a word is twenty times as fast as the expression, and most lines do not have it.
    text = line.text
    if text.endswith("ms") and (told := TORNADO.search(text)):
        text = f"path={told[3]} status={told[1]} duration_ms={text.rpartition(' ')[2][:-2]}"
    duration = DURATION_MS.search(text) if "duration_ms" in text else None
    status = STATUS.search(text) if duration or "HTTP/" in text or "status" in text else None
    if not duration and (not status or not _ASKED.search(text) or _SAID_TWICE in text):
        return
    summary.requests += 1
    failed = bool(status and status.group(1).startswith("5"))
    refused = bool(status and status.group(1).startswith("4") and status.group(1) != _GAVE_UP)
    summary.server_errors += failed
    if line.at is not None:
        minute = line.at.replace(second=0, microsecond=0)
        summary.answers[minute, failed] += 1
        summary.refusals[minute] += refused
    if not duration:
        summary.untimed += 1
        return
    seconds = float(duration.group(1)) / 1000
    if seconds < slow_seconds:
        return
    summary.slow_requests += 1
    route = ROUTE.search(text)
    summary.slowest.append((seconds, route.group(1) if route else "", line.replica))
    if len(summary.slowest) > 2 * KEPT_SLOW_REQUESTS:
        summary.slowest = sorted(summary.slowest, reverse=True)[:KEPT_SLOW_REQUESTS]


def _count_pool_error(summary: LogSummary, line: LogLine) -> None:
    summary.pool_errors += 1
    summary.example = summary.example or excerpt(line.text)[:300]
    if line.at is not None:
        summary.first_pool_error = summary.first_pool_error or line.at
        summary.last_pool_error = line.at
        summary.per_minute[line.at.replace(second=0, microsecond=0)] += 1


def _count_unresolved(summary: LogSummary, line: LogLine) -> None:
    summary.unresolved = (summary.unresolved or 0) + 1
    summary.unresolved_example = summary.unresolved_example or excerpt(line.text)[:300]
    summary.first_unresolved = summary.first_unresolved or line.at
    summary.last_unresolved = line.at or summary.last_unresolved
    if name := name_in(line.text):
        summary.unresolved_names[name] += 1
