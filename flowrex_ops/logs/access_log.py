"""NGINX's access log, added up while it streams by: what users got, on which route, and who made that answer.

NGINX says who answered: where ``header_time`` is ``-`` no replica did. The release comes from a response header of
the backend that NGINX logs and hides: containers that a deployment replaces take their logs with them, the proxy
keeps its own. A log without these fields is read too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.access_format import Format, compile_format, method_of, parse_line, path_of
from flowrex_ops.logs.request_times import TIME_COLUMNS, RequestTimes, Times, times_of_fields, times_of_line
from flowrex_ops.logs.routes import route_of
from flowrex_ops.reading import Source, reads

ACCESS_COLUMNS = ["at", "route", "status", "made_by", "replica", "version", "requests", "seconds"]
CLIENT_COLUMNS = ["client", "requests", "failed", "limited"]
REFUSED_COLUMNS = ["client", "status", "requests"]
SLOW_COLUMNS = ["seconds", "route", "status", "client", "at"]
UNREACHED_COLUMNS = ["at", "status", "replica", "requests"]
EXHAUSTED_COLUMNS = SAID_COLUMNS = ["at", "what", "requests"]

_LINE = re.compile(
    rb"^(?:(?P<iso>\d{4}-\d\d-\d\dT[\d:]{8}\S*) (?P<client>\S+)|(?P<other>[^\s\"]+) - [^\[\n]*\[(?P<clf>[^\]\n]+)\])"
    rb' "(?P<method>[A-Z]+) (?P<path>[^ ?"\n]*)[^"\n]*" (?P<status>\d{3}) \S+(?: (?P<seconds>\d+\.\d+))?'
    rb' "[^"\n]*"(?: "[^"\n]*"(?: "[-\d., ]*")?'
    rb'|[^\n]*? upstream="(?P<upstream>[^"\n]*)"[^\n]*? header_time="(?P<header>[^"\n]*)"'
    rb'(?:[^\n]*? version="(?P<version>[^"\n]*)")?)?\r?$',
    re.MULTILINE,
)
"""Whole lines of the two commonest forms, read by one expression over a piece: ours (see docs/settings.md), and ``combined``
with or without the ``X-Forwarded-For`` of the standard image, which do not tell who answered. Others are read one by one."""

_UNREACHED = re.compile(
    r"(\d{4}/\d\d/\d\d [\d:]{8}) \[\w+\] .*?(upstream timed out|while connecting to upstream|no live upstreams"
    r"|while reading response header from upstream|while SSL handshaking to upstream)"
    r'(?:.*?, upstream: "\w+://([^/"]+))?'
)
"""NGINX's error log, which shares the stream: a request for which it got no answer from a server."""

_APACHE = re.compile(
    r"\[\w{3} (\w{3} +\d+ [\d:]{8})\S* (\d{4})\] \[proxy\w*:error\] .*?(?:attempt to connect to (\S+)"
    r"|disabled connection for|All workers are in error state|(error reading status line from remote server)|(DNS lookup failure))"
)
"""Apache's, the same: it answers 503 for want of a server, 502 or 504 where one does not answer, 500 where its name leads nowhere."""

NOT_ENOUGH = "worker_connections are not enough"
_EXHAUSTED = re.compile(rf"(\d{{4}}/\d\d/\d\d [\d:]{{8}}) \[\w+\] .*?({NOT_ENOUGH}(?!, reusing)|Too many open files)")
"""There, too: a connection or a file that it could not have. Where it can, NGINX reuses idle ones and only warns of it."""

_SAID = re.compile(
    r"(\d{4}/\d\d/\d\d [\d:]{8}) \[(?:error|crit|alert|emerg)\] \d+#\d+: (?:\*\d+ )?(.+?)(?:, client: |$)"
)
_VARIES = re.compile(r'"[^"]*"|\d+')
"""Each of its errors, in its own words up to the client; they are one kind where names and numbers alone are not the same."""

_SEVERAL = re.compile(rb", | : ")
_URL = re.compile(rb"^https?://([^/]*).*")
MOST_ROUTES = 200
MOST_CLIENTS = MOST_PATHS = 20_000
KEPT_SLOW = MOST_SAID = 50
_EXAMPLE_CHARACTERS = 160
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SECONDS_DIGITS = 11
"""A time with more digits counts milliseconds."""
MOST_BUCKETS = 1800
SERVER_ERROR, SWITCHING_PROTOCOLS, TOO_MANY_REQUESTS = 500, 101, 429
CLIENT_ERROR, GAVE_UP = 400, 499
"""From the first to below NGINX's own 499, a client that did not wait, the answers are refusals."""
BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504
TOLERATED_UNREAD = 0.01
"""Above this share of lines that were not understood, what was counted proves nothing of the rest."""


@dataclass(frozen=True, slots=True)
class AccessLog:
    """One pass over the log.

    ``requests``: columns ``ACCESS_COLUMNS`` and ``method``, a row for each combination seen in a bucket of ``bucket_seconds`` that begins
    ``at`` (UTC); ``made_by`` is ``backend``, ``proxy`` or ``unknown``, ``seconds`` their times added up.
    ``clients``: ``CLIENT_COLUMNS`` since ``recent_since``, busiest first; ``limited`` were answered 429. ``slow``: ``SLOW_COLUMNS``, slowest first.
    ``unreached``: ``UNREACHED_COLUMNS``, how often the proxy logged that it got no answer, by the status that it gives then.
    ``refused``: ``REFUSED_COLUMNS`` since ``recent_since``, who was answered with which 4xx.
    ``exhausted``: ``EXHAUSTED_COLUMNS``, how often the proxy logged that it has no more connections, or files.
    ``said``: ``SAID_COLUMNS``, how often NGINX logged which error, in the words of the first of its kind.
    ``times``: ``TIME_COLUMNS``, how long requests took and where; empty unless asked for.
    ``lines`` were understood, ``unread`` not, such as ``example``.
    """

    requests: pd.DataFrame
    clients: pd.DataFrame
    slow: pd.DataFrame
    until: datetime
    recent_since: datetime
    bucket_seconds: int
    lines: int = 0
    unread: int = 0
    example: str = ""
    unreached: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=UNREACHED_COLUMNS))
    times: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=TIME_COLUMNS))
    refused: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REFUSED_COLUMNS))
    exhausted: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EXHAUSTED_COLUMNS))
    said: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SAID_COLUMNS))

    @property
    def gap(self) -> str:
        """What is to be said of lines that were not understood; empty where there are next to none."""
        whole = self.lines + self.unread
        if self.unread <= TOLERATED_UNREAD * whole:
            return ""
        return f"{self.unread} of {whole} lines of the proxy's log were not understood, such as '{self.example}'"


class AccessLogSource(Source):
    """The log of the proxy's service; *find_addresses* tells which replica answers at which ``host:port``.

    *find_formats* gives the ``log_format`` of the proxy's own configuration; it is asked where the lines are of no usual form.
    """

    name = "access log"

    def __init__(
        self,
        stack: Stack,
        service: str,
        find_addresses: Callable[[], Mapping[str, str]],
        *,
        find_formats: Callable[[], Sequence[str]] = tuple,
        limit_seconds: float,
        max_bytes: int,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack
        self._service = service
        self._find_addresses = find_addresses
        self._find_formats = find_formats
        self._max_bytes = max_bytes

    @reads("requests at the proxy")
    def get_requests(
        self, *, since: timedelta, recent_minutes: float, slow_seconds: float = 5.0, timed: bool = False
    ) -> AccessLog:
        """Every request since *since* ago, added up; an :class:`AccessLog`, with the ``times`` where *timed*."""
        now = self.now()
        chunks = self._stack.read_log_chunks(self._service, since=now - since, max_bytes=self._max_bytes)
        counter = AccessCounter(
            until=now,
            since=now - since,
            recent_since=now - timedelta(minutes=recent_minutes),
            slow_seconds=slow_seconds,
            replicas=self._find_addresses(),
            find_formats=self._find_formats,
            timed=timed,
        )
        try:
            for chunk in chunks:
                counter.add(chunk)
        except OSError as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None
        if not counter.lines and counter.unread:
            raise SourceUnavailableError(
                f"none of {counter.unread} lines of the log of '{self._service}' is of a known form, such as"
                f" '{counter.example}'; give it a log_format of docs/settings.md"
            )
        if not counter.lines and not self._stack.get_replicas(self._service):
            raise SourceUnavailableError(f"the stack has no service '{self._service}'; set front_door.service")
        if not counter.lines:
            raise SourceUnavailableError(
                f"the log of '{self._service}' has no request since then; check that its access_log goes to stdout"
            )
        return counter.result()


class AccessCounter:
    """Adds up pieces of an access log; what it keeps grows with the kinds of requests, not with their number."""

    def __init__(
        self,
        *,
        until: datetime,
        since: datetime,
        recent_since: datetime,
        slow_seconds: float = 5.0,
        replicas: Mapping[str, str] | None = None,
        find_formats: Callable[[], Sequence[str]] = tuple,
        timed: bool = False,
    ) -> None:
        self.lines = self.unread = 0
        self.example = ""
        self._find_formats = find_formats
        self._formats: list[Format] | None = None
        self._patterns: list[re.Pattern[bytes]] = []
        self._until, self._since, self._recent_since = until, since.timestamp(), recent_since
        self._recent = recent_since.timestamp()
        self._slow_seconds = slow_seconds
        self._replicas = {address.encode(): name for address, name in (replicas or {}).items()}
        self._bucket = max(1, round((until - since).total_seconds() / MOST_BUCKETS))
        self._sums: dict[tuple[Any, ...], list[float]] = {}
        self._clients: dict[bytes, list[int]] = {}
        self._refused: Counter[tuple[bytes, int]] = Counter()
        self._slow: list[tuple[float, str, int, str, float]] = []
        self._routes: dict[bytes, str] = {}
        self._known: set[str] = set()
        self._times: tuple[bytes, float] = (b"", 0.0)
        self._zone: tzinfo = UTC
        self._unreached: Counter[tuple[float, int, str]] = Counter()
        self._exhausted: Counter[tuple[float, str]] = Counter()
        self._said: Counter[tuple[float, str]] = Counter()
        self._words: dict[str, str] = {}
        seconds = (until - since).total_seconds()
        self._timed = RequestTimes(seconds=seconds, slow_seconds=slow_seconds) if timed else None

    def add(self, chunk: bytes) -> None:
        """Count the lines of one piece."""
        last = 0
        for match in _LINE.finditer(chunk):
            if match.start() > last:
                self._add_others(chunk[last : match.start()], 0)
            last = match.end() + 1
            iso, client, other, clf, method, path, status, seconds, upstream, header, version = match.groups()
            code = int(status)
            place, maker = _answered_by(code, upstream, header, None)
            times = times_of_line(match[0], seconds) if self._timed else None
            took = float(seconds or 0)
            self._count(iso or clf, method, path, code, took, place, maker, version, client or other, times)
        if last < len(chunk):
            self._add_others(chunk[last:], 0)

    def _add_others(self, text: bytes, number: int) -> None:
        """Lines of another form: by the expressions of the proxy's own formats, what is left of it one by one."""
        if number == len(self._patterns):
            lines = text.split(b"\n")
            for at, line in enumerate(lines):
                if not self._add_line(line.decode(errors="replace").rstrip("\r")):
                    self._ask_for_formats()
                    self._add_others(b"\n".join(lines[at:]), 0)
                    break
            return
        last = 0
        for match in self._patterns[number].finditer(text):
            if match.start() > last:
                self._add_others(text[last : match.start()], number + 1)
            last = match.end() + 1
            found = {
                name: value.decode(errors="replace") for name, value in match.groupdict().items() if value is not None
            }
            self._add_fields(found, text[match.start() : match.end()].decode(errors="replace"))
        if last < len(text):
            self._add_others(text[last:], number + 1)

    def _add_line(self, line: str) -> bool:
        """``False``, and nothing done, for a line of no usual form while nobody has asked the proxy for its own."""
        if not line:
            return True
        if found := _SAID.match(line):
            self._add_said(self._moment(found[1], "%Y/%m/%d %H:%M:%S"), found[2][:_EXAMPLE_CHARACTERS])
        if found := _EXHAUSTED.match(line):
            at = self._moment(found[1], "%Y/%m/%d %H:%M:%S")
            self._exhausted[at - at % self._bucket, found[2]] += at >= self._since
            return True
        if found := _UNREACHED.match(line):
            at = self._moment(found[1], "%Y/%m/%d %H:%M:%S")
            self._add_unreached(at, GATEWAY_TIMEOUT if "timed out" in line else BAD_GATEWAY, found[3] or "")
            return True
        if found := _APACHE.match(line):
            at = self._moment(f"{found[1]} {found[2]}", "%b %d %H:%M:%S %Y")
            late, nameless = (BAD_GATEWAY, GATEWAY_TIMEOUT), (SERVER_ERROR,)
            for status in late if found[4] else nameless if found[5] else (UNAVAILABLE,):
                self._add_unreached(at, status, found[3] or "")
            return True
        fields = parse_line(line, self._formats or ())
        if fields != {} and self._formats is None:
            return False
        if fields is None or fields:
            self._add_fields(fields or {}, line)
        return True

    def _add_said(self, at: float, words: str) -> None:
        kind = _VARIES.sub("#", words)
        if at >= self._since and (kind in self._words or len(self._words) < MOST_SAID):
            self._said[at - at % self._bucket, self._words.setdefault(kind, words)] += 1

    def _moment(self, text: str, form: str) -> float:
        """A time of the error log, which has no zone: that of the access log."""
        return datetime.strptime(text, form).replace(tzinfo=self._zone).timestamp()

    def _ask_for_formats(self) -> None:
        self._formats = [compile_format(text) for text in self._find_formats()]
        self._patterns = [one.pattern for one in self._formats if one.pattern]

    def _add_fields(self, fields: Mapping[str, str], line: str) -> None:
        """A line's fields as ``parse_line`` gives them; without time and status it was not understood."""
        time, status = fields.get("time", "").encode(), fields.get("status", "")
        if not status.isdigit() or self._time(time) is None:
            self.unread += 1
            self.example = self.example or line[:_EXAMPLE_CHARACTERS]
            return
        if "unreached" in fields:
            self._add_unreached(self._times[1], int(status), fields["unreached"])
            return
        upstream, header, asked = (
            fields[name].encode() if name in fields else None for name in ("upstream", "header", "asked")
        )
        place, maker = _answered_by(int(status), upstream, header, asked)
        version = fields.get("version", "").encode()
        client = fields.get("client", "").encode()
        took = fields.get("seconds", "").rpartition(" ")[2]
        seconds = float(took) if _NUMBER.fullmatch(took) else 0.0
        self._count(
            time,
            method_of(fields).encode(),
            path_of(fields).encode(errors="replace"),
            int(status),
            seconds,
            place,
            maker,
            version,
            client,
            times_of_fields(fields) if self._timed else None,
        )

    def _add_unreached(self, at: float, status: int, address: str) -> None:
        if at >= self._since:
            self._unreached[at - at % self._bucket, status, self._replicas.get(address.encode(), address)] += 1

    def _count(
        self,
        time: bytes,
        method: bytes,
        path: bytes,
        code: int,
        took: float,
        place: bytes,
        maker: str,
        version: bytes | None,
        who: bytes,
        times: Times | None,
    ) -> None:
        at = self._time(time)
        if at is None:
            self.unread += 1
            self.example = self.example or f"[{time.decode(errors='replace')}]"
            return
        if at < self._since:
            return
        self.lines += 1
        key = (at - at % self._bucket, method, self._routes.get(path) or self._route(path), code, maker, place, version)
        entry = self._sums.get(key)
        if entry is None:
            entry = self._sums[key] = [0, 0.0]
        entry[0] += 1
        entry[1] += took
        if self._timed and times and code != SWITCHING_PROTOCOLS:
            self._timed.add(at, key[2], place, version, times)
        if at >= self._recent:
            self._count_client(who, code)
        if took >= self._slow_seconds and code != SWITCHING_PROTOCOLS:
            self._keep_slow((took, self._route(path), code, who.decode(errors="replace"), at))

    def result(self) -> AccessLog:
        """What was counted so far."""
        rows = [
            (
                datetime.fromtimestamp(at, UTC),
                route,
                code,
                maker,
                self._replicas.get(place, place.decode(errors="replace")),
                (version or b"").decode(errors="replace").strip("-"),
                int(number),
                took,
                method.decode(errors="replace"),
            )
            for (at, method, route, code, maker, place, version), (number, took) in self._sums.items()
        ]
        clients = sorted(self._clients.items(), key=lambda item: (-item[1][0], item[0]))
        slow = sorted(self._slow, reverse=True)[:KEPT_SLOW]
        return AccessLog(
            pd.DataFrame(rows, columns=[*ACCESS_COLUMNS, "method"]),
            pd.DataFrame([(who.decode(errors="replace"), *counts) for who, counts in clients], columns=CLIENT_COLUMNS),
            pd.DataFrame([(*row[:4], datetime.fromtimestamp(row[4], UTC)) for row in slow], columns=SLOW_COLUMNS),
            self._until,
            self._recent_since,
            self._bucket,
            self.lines,
            self.unread,
            self.example,
            pd.DataFrame(
                [(datetime.fromtimestamp(at, UTC), *rest, number) for (at, *rest), number in self._unreached.items()],
                columns=UNREACHED_COLUMNS,
            ),
            self._timed.frame(self._replicas) if self._timed else pd.DataFrame(columns=TIME_COLUMNS),
            pd.DataFrame(
                [(who.decode(errors="replace"), code, number) for (who, code), number in self._refused.items()],
                columns=REFUSED_COLUMNS,
            ),
            pd.DataFrame(
                [(datetime.fromtimestamp(at, UTC), what, number) for (at, what), number in self._exhausted.items()],
                columns=EXHAUSTED_COLUMNS,
            ),
            pd.DataFrame(
                [(datetime.fromtimestamp(at, UTC), what, number) for (at, what), number in self._said.items()],
                columns=SAID_COLUMNS,
            ),
        )

    def _time(self, text: bytes) -> float | None:
        """Seconds since 1970; the last one is remembered, for many lines share a second."""
        if text != self._times[0]:
            try:
                at = parse_time(text.decode())
            except (ValueError, OverflowError, OSError):
                return None
            self._zone = at.tzinfo or UTC
            self._times = (text, at.timestamp())
        return self._times[1]

    def _route(self, path: bytes) -> str:
        """The route of a path that was not seen before; beyond ``MOST_ROUTES`` they are all one."""
        route = route_of(path.decode(errors="replace"))
        if route not in self._known and len(self._known) >= MOST_ROUTES:
            route = OTHER
        self._known.add(route)
        if len(self._routes) < MOST_PATHS:
            self._routes[path] = route
        return route

    def _count_client(self, who: bytes, code: int) -> None:
        entry = self._clients.get(who)
        if entry is None:
            if len(self._clients) >= MOST_CLIENTS:  # the rare ones go: who floods is never rare
                busiest = sorted(self._clients.items(), key=lambda item: -item[1][0])
                self._clients = dict(busiest[: MOST_CLIENTS // 2])
            entry = self._clients[who] = [0, 0, 0]
        entry[0] += 1
        entry[1] += code >= SERVER_ERROR
        entry[2] += code == TOO_MANY_REQUESTS
        if CLIENT_ERROR <= code < GAVE_UP:
            if len(self._refused) >= MOST_CLIENTS:
                self._refused = Counter(dict(self._refused.most_common(MOST_CLIENTS // 2)))
            self._refused[who, code] += 1

    def _keep_slow(self, row: tuple[float, str, int, str, float]) -> None:
        self._slow.append(row)
        if len(self._slow) > 2 * KEPT_SLOW:
            self._slow = sorted(self._slow, reverse=True)[:KEPT_SLOW]


OTHER = "(other)"


def parse_time(text: str) -> datetime:
    """A time of a log with its zone, UTC where it has none."""
    if text[:1].isdigit() and _NUMBER.fullmatch(text):
        return datetime.fromtimestamp(float(text) / (1000 if len(text.partition(".")[0]) > _SECONDS_DIGITS else 1), UTC)
    if text[2:3] == "/":
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")
    at = datetime.fromisoformat(text.replace("/", "-").replace(",", "."))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _answered_by(status: int, upstream: bytes | None, header: bytes | None, asked: bytes | None) -> tuple[bytes, str]:
    """The last server that was asked, and who made the answer: the proxy where no header came from there.

    Without its times a 502 or 504 may be either's: ``$upstream_status`` is 502 too where nobody took the connection.
    """
    if upstream is None:
        return b"", "unknown"
    place = _URL.sub(rb"\1", _SEVERAL.split(upstream)[-1])
    if place in (b"-", b""):
        return b"", "proxy"
    if header:
        return place, "proxy" if header.endswith(b"-") else "backend"
    if asked and asked.endswith(b"-"):
        return place, "proxy"
    return place, "unknown" if status in (BAD_GATEWAY, GATEWAY_TIMEOUT) else "backend"


def count_statuses(chunks: Iterable[bytes]) -> dict[str, int]:
    """How many requests in a log ended with which status: the playbook's ``grep | awk | sort | uniq -c``, wherever the status stands.

    One search a piece, and no line is ever made into an object of its own.
    """
    found: Counter[bytes] = Counter()
    for chunk in chunks:
        found.update(_STATUS.findall(chunk))
    return {status.decode(): number for status, number in sorted(found.items())}


_STATUS = re.compile(rb'HTTP/[\d.]+(?:\\?"|[^\n]{0,400}?[ ,"](?:status(?:_code)?["=:]+))\s?"?([1-5]\d\d)\b')
