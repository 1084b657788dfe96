"""NGINX's access log, added up while it streams by: what users got, on which route, and who made that answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.sources.reading import Source, reads
from flowrex_ops.stack import Stack

ACCESS_COLUMNS = ["at", "route", "status", "made_by", "replica", "version", "requests", "seconds"]
CLIENT_COLUMNS = ["client", "requests", "failed", "limited"]
SLOW_COLUMNS = ["seconds", "route", "status", "client", "at"]

_LINE = re.compile(
    rb"^(?:(?P<iso>\d{4}-\d\d-\d\dT[\d:]{8}\S*) (?P<client>\S+)|(?P<other>\S+) \S+ \S+ \[(?P<clf>[^\]]+)\])"
    rb' "\S+ (?P<path>[^ ?"]*)[^"\n]*" (?P<status>\d{3}) \S+(?: (?P<seconds>\d+\.\d+))?'
    rb'(?:[^\n]*? upstream="(?P<upstream>[^"\n]*)"[^\n]*? header_time="(?P<header>[^"\n]*)"'
    rb'(?:[^\n]*? version="(?P<version>[^"\n]*)")?)?',
    re.MULTILINE,
)
"""A line of the sandbox's log_format (see docs/settings.md), or of the combined one, which does not tell who answered."""

_NUMBER = re.compile(r"/(?:\d+|[0-9a-f]{8}-[0-9a-f-]{27})(?=/|$)")
_SEVERAL = re.compile(rb", | : ")
MOST_ROUTES = 200
MOST_CLIENTS = MOST_PATHS = 20_000
KEPT_SLOW = 50
MOST_BUCKETS = 1800
SERVER_ERROR, SWITCHING_PROTOCOLS, TOO_MANY_REQUESTS = 500, 101, 429


@dataclass(frozen=True, slots=True)
class AccessLog:
    """One pass over the log.

    ``requests``: columns ``ACCESS_COLUMNS``, a row for each combination seen in a bucket of ``bucket_seconds`` that begins
    ``at`` (UTC); ``made_by`` is ``backend``, ``proxy`` or ``unknown``, ``seconds`` their times added up.
    ``clients``: ``CLIENT_COLUMNS`` since ``recent_since``, busiest first; ``limited`` were answered 429. ``slow``: ``SLOW_COLUMNS``, slowest first.
    """

    requests: pd.DataFrame
    clients: pd.DataFrame
    slow: pd.DataFrame
    until: datetime
    recent_since: datetime
    bucket_seconds: int


class AccessLogSource(Source):
    """The log of the proxy's service; *find_addresses* tells which replica answers at which ``host:port``."""

    name = "access log"

    def __init__(
        self,
        stack: Stack,
        service: str,
        find_addresses: Callable[[], Mapping[str, str]],
        *,
        limit_seconds: float,
        max_bytes: int,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack
        self._service = service
        self._find_addresses = find_addresses
        self._max_bytes = max_bytes

    @reads("requests at the proxy")
    def get_requests(self, *, since: timedelta, recent_minutes: float, slow_seconds: float = 5.0) -> AccessLog:
        """Every request since *since* ago, added up; an :class:`AccessLog`."""
        now = datetime.now(UTC)
        chunks = self._stack.read_log_chunks(self._service, since=now - since, max_bytes=self._max_bytes)
        counter = AccessCounter(
            until=now,
            since=now - since,
            recent_since=now - timedelta(minutes=recent_minutes),
            slow_seconds=slow_seconds,
            replicas=self._find_addresses(),
        )
        try:
            for chunk in chunks:
                counter.add(chunk)
        except OSError as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None
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
    ) -> None:
        self.lines = 0
        self._until, self._since, self._recent_since = until, since.timestamp(), recent_since
        self._recent = recent_since.timestamp()
        self._slow_seconds = slow_seconds
        self._replicas = {address.encode(): name for address, name in (replicas or {}).items()}
        self._bucket = max(1, round((until - since).total_seconds() / MOST_BUCKETS))
        self._sums: dict[tuple[Any, ...], list[float]] = {}
        self._clients: dict[bytes, list[int]] = {}
        self._slow: list[tuple[float, str, int, str, float]] = []
        self._routes: dict[bytes, str] = {}
        self._known: set[str] = set()
        self._times: tuple[bytes, float] = (b"", 0.0)

    def add(self, chunk: bytes) -> None:
        """Count the lines of one piece."""
        for match in _LINE.finditer(chunk):
            iso, client, other, clf, path, status, seconds, upstream, header, version = match.groups()
            at = self._time(iso or clf)
            if at is None or at < self._since:
                continue
            self.lines += 1
            code = int(status)
            took = float(seconds or 0)
            place, maker = self._answered_by(upstream, header)
            key = (at - at % self._bucket, self._routes.get(path) or self._route(path), code, maker, place, version)
            entry = self._sums.get(key)
            if entry is None:
                entry = self._sums[key] = [0, 0.0]
            entry[0] += 1
            entry[1] += took
            who = client or other
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
            )
            for (at, route, code, maker, place, version), (number, took) in self._sums.items()
        ]
        clients = sorted(self._clients.items(), key=lambda item: (-item[1][0], item[0]))
        slow = sorted(self._slow, reverse=True)[:KEPT_SLOW]
        return AccessLog(
            pd.DataFrame(rows, columns=ACCESS_COLUMNS),
            pd.DataFrame([(who.decode(errors="replace"), *counts) for who, counts in clients], columns=CLIENT_COLUMNS),
            pd.DataFrame([(*row[:4], datetime.fromtimestamp(row[4], UTC)) for row in slow], columns=SLOW_COLUMNS),
            self._until,
            self._recent_since,
            self._bucket,
        )

    def _time(self, text: bytes) -> float | None:
        """Seconds since 1970; the last one is remembered, for many lines share a second."""
        if text != self._times[0]:
            try:
                form = "%d/%b/%Y:%H:%M:%S %z"
                whole = text.decode()
                at = datetime.fromisoformat(whole) if whole[4:5] == "-" else datetime.strptime(whole, form)
            except ValueError:
                return None
            self._times = (text, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
        return self._times[1]

    @staticmethod
    def _answered_by(upstream: bytes | None, header: bytes | None) -> tuple[bytes, str]:
        """The last server that was asked, and who made the answer: the proxy where no header came from there."""
        if upstream is None or header is None:
            return b"", "unknown"
        place = _SEVERAL.split(upstream)[-1]
        return (b"" if place == b"-" else place), "proxy" if header.endswith(b"-") else "backend"

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

    def _keep_slow(self, row: tuple[float, str, int, str, float]) -> None:
        self._slow.append(row)
        if len(self._slow) > 2 * KEPT_SLOW:
            self._slow = sorted(self._slow, reverse=True)[:KEPT_SLOW]


OTHER = "(other)"


def route_of(path: str) -> str:
    """``/api/trades/{id}`` of ``/api/trades/4711``: numbers and UUIDs are no route."""
    return _NUMBER.sub("/{id}", path)


def count_statuses(chunks: Iterable[bytes]) -> dict[str, int]:
    """How many lines that have HTTP in them end with which status: the playbook's ``grep | awk | sort | uniq -c``.

    One search a piece, and no line is ever made into an object of its own.
    """
    from collections import Counter

    found: Counter[bytes] = Counter()
    for chunk in chunks:
        found.update(_LAST_STATUS.findall(chunk))
    return {status.decode(): number for status, number in sorted(found.items())}


_LAST_STATUS = re.compile(rb'HTTP[^\n]* (\d{3})(?:"\})?\r?(?:\n|\Z)')
