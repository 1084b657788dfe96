"""What one pass over a log finds, in both of the formats that backends write."""

from __future__ import annotations

from datetime import UTC, datetime

from flowrex_ops.logs.source import KEPT_SLOW_REQUESTS, LogSummary, summarise
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
