"""What one pass over a log finds, in both of the formats that backends write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flowrex_ops.logs.source import KEPT_SLOW_REQUESTS, LogSource, LogSummary, summarise
from flowrex_ops.model import LogLine

AT = datetime(2026, 1, 31, 4, 12, 30, tzinfo=UTC)


def read(*lines: str, slow_seconds: float = 5.0) -> LogSummary:
    return summarise((LogLine("backend", "backend-1", line, AT) for line in lines), slow_seconds=slow_seconds)


def test_pool_errors_are_counted_with_their_time() -> None:
    """The words that drivers and pools use when there is no connection to be had."""
    summary = read(
        "ERROR connection pool exhausted: couldn't get a connection after 2.00 sec",
        "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached",
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "INFO all is well",
    )
    assert (summary.pool_errors, summary.lines, summary.first_pool_error) == (3, 4, AT)
    assert summary.per_minute == {AT.replace(second=0): 3}
    assert summary.example.startswith("ERROR connection pool exhausted")


def test_requests_in_key_value_and_in_json() -> None:
    """Status and duration are understood either way."""
    summary = read(
        "INFO request method=GET route=/api/portfolio status=200 duration_ms=12",
        '{"route": "/api/trades", "status": 503, "duration_ms": 6100.5}',
    )
    assert (summary.requests, summary.server_errors, summary.slow_requests) == (2, 1, 1)
    assert summary.slowest == [(6.1005, "/api/trades", "backend-1")]


def test_requests_whose_duration_no_line_tells() -> None:
    """Of uvicorn, gunicorn, NGINX, Caddy and logfmt; what was asked of others, and what is said twice, is none."""
    summary = read(
        'INFO:     10.0.0.7:4000 - "GET /api/trades HTTP/1.1" 500',
        '10.0.0.7 - - [31/Jan/2026:04:12:30 +0000] "POST /api/trades HTTP/1.1" 502 157 "-" "curl/8"',
        '{"logger":"http.log.access","request":{"method":"GET","uri":"/api/trades"},"duration":0.01,"status":504}',
        '{"logger":"http.log.error","msg":"timeout","request":{"method":"GET","uri":"/api/trades"},"status":504}',
        "ts=2026-01-31T04:12:30Z level=info msg=http path=/api/trades status=200",
        "ts=2026-01-31T04:12:30Z level=warn msg=retrying url=http://venue:9301/orders status=503",
    )
    assert (summary.requests, summary.untimed, summary.server_errors) == (4, 4, 3)


def test_how_far_back_it_was_read_is_told() -> None:
    """Of a million lines the newest sixty megabytes are read; without this they pass for all of the time asked for."""
    frame = read("INFO all is well", "INFO still").to_frame().set_index("found")
    assert frame.loc["lines in all", ["lines", "from"]].tolist() == [2, AT]


def test_memory_stays_flat() -> None:
    """Of a million slow requests only the slowest are kept."""
    summary = summarise(
        (LogLine("backend", "b", f"status=500 duration_ms={9000 + n}") for n in range(20_000)), slow_seconds=5
    )
    assert summary.slow_requests == 20_000
    assert len(summary.slowest) <= 2 * KEPT_SLOW_REQUESTS
    assert max(summary.slowest)[0] == 28.999


OWN = '{"ts":"$time_iso8601","ip":"$remote_addr","m":"$request_method","u":"$request_uri","st":"$status"}'


def test_a_log_format_of_the_proxys_own_is_read_by_its_configuration() -> None:
    """Its keys mean nothing by themselves: without the format, the log seemed to tell of no request."""
    lines = [
        f'{{"ts":"2026-01-31T04:12:30+00:00","ip":"10.0.0.1","m":"GET","u":"/v2/{n}","st":"{status}"}}'
        for n, status in enumerate((200, 200, 503, 404))
    ]

    class Proxy:
        def read_logs(self, service: str, **_asked: Any) -> list[LogLine]:
            return [LogLine(service, f"{service}-1", line, AT) for line in lines]

    source = LogSource(Proxy(), "edge", limit_seconds=5, max_bytes=1000, find_formats=lambda: [OWN])  # type: ignore[arg-type]  # all that is asked
    found = source.get_pool_errors(since=timedelta(minutes=5)).require()
    assert (found.requests, found.server_errors, sum(found.refusals.values())) == (4, 1, 1)


def test_servers_that_drivers_do_not_reach() -> None:
    """Which pool they are of, no line tells; that one is not reached, its own words do."""
    libpq = 'connection failed: connection to server at "172.19.0.7", port 5432 failed: Connection refused'
    found = read("GET / HTTP/1.1", f"psycopg.pool - WARNING - error connecting in 'pool-2': {libpq}")
    assert (found.last_refused, libpq in found.refused_example) == (AT, True)
    assert read("httpx.ConnectError: Connection refused").last_refused is None


def test_tornados_own_access_log() -> None:
    """The status first, no quotes, and any head."""
    head = "2026-01-31 04:12:30,123 - tornado.access - {} - "
    found = read(
        head.format("INFO") + "200 GET /invoices/242?x=1 (172.19.0.6) 129.70ms",
        head.format("ERROR") + "500 POST /invoices/3 (172.19.0.6) 7000.50ms",
        "[E 260131 04:12:30 web:2239] 503 GET /status (::1) 0.50ms",
        "slept 200 GET (no path) 3ms",
    )
    assert (found.requests, found.server_errors, found.slowest) == (3, 2, [(7.0005, "/invoices/3", "backend-1")])


def per_minute(*minutes: tuple[int, int, str]) -> LogSummary:
    """So many good answers a minute, and so many with this status."""
    text = '10.0.0.1 - - [31/Jan/2026:04:12:30 +0000] "GET /v2 HTTP/1.1" {} 12'
    rows = [
        LogLine("edge", "edge-1", text.format(status), AT + timedelta(minutes=at))
        for at, (good, other, bad) in enumerate(minutes)
        for status in ["200"] * good + [bad] * other
    ]
    return summarise(rows, slow_seconds=5.0)


def test_most_are_refused_and_were_not_before() -> None:
    """A key that was rotated locks everybody out; what a scanner is refused costs nobody anything."""
    well = [(40, 2, "404")] * 4
    assert per_minute(*well, (2, 38, "401"), (1, 20, "401")).refused_since(0.5) == (58, 61)
    assert per_minute(*well, (40, 200, "404"), (40, 200, "404")).refused_since(0.5) is None
    assert per_minute(*[(5, 38, "401")] * 6).refused_since(0.5) is None
    assert per_minute(*well, (2, 38, "499"), (1, 20, "499")).refused_since(0.5) is None
