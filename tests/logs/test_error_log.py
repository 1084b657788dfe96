"""What a backend's log tells of its errors: tracebacks of every shape, JSON lines, and which request failed of which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.logs.error_log import MOST_SIGNATURES, ErrorLog, read_errors
from flowrex_ops.logs.tracebacks import parse_traceback
from flowrex_ops.model import LogLine

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
AT = NOW - timedelta(minutes=1)
STAMP = "2026-11-23T16:59:00.000Z"

KEY_ERROR = [
    f"{STAMP} ERROR unhandled exception in /api/prices: 'ETHUSD'",
    "Traceback (most recent call last):",
    '  File "/srv/app/main.py", line 108, in observe',
    "    response = await handler(request)",
    "               ^^^^^^^^^^^^^^^^^^^^^^",
    '  File "/srv/app/trading.py", line 41, in get_prices',
    "    return {symbol: prices[symbol] for symbol in wanted}",
    '  File "/srv/app/trading.py", line 41, in <dictcomp>',
    "    return {symbol: prices[symbol] for symbol in wanted}",
    '  File "/usr/lib/python3/dist-packages/somewhere.py", line 3, in deep',
    "    raise",
    "KeyError: 'ETHUSD'",
]
CHAINED = [
    f"{STAMP} ERROR unhandled exception in /api/session: no session",
    "Traceback (most recent call last):",
    '  File "/usr/lib/python3/dist-packages/redis/connection.py", line 699, in connect',
    "    sock = self.retry.call_with_retry(",
    "redis.exceptions.ConnectionError: Error 111 connecting to redis:6379. Connection refused.",
    "",
    "The above exception was the direct cause of the following exception:",
    "",
    "Traceback (most recent call last):",
    '  File "/srv/app/sessions.py", line 30, in touch',
    "    raise SessionError('no session') from error",
    "app.sessions.SessionError: no session",
]


def request(route: str = "/api/prices", status: int = 500, more: str = "") -> str:
    return f'{STAMP} INFO request route={route} duration_ms=3 client=198.51.100.7{more} "GET {route} HTTP/1.1" {status}'


def read(*lines: str | tuple[str, str]) -> ErrorLog:
    """The log of replica ``b1``, or of the one that a line names."""

    def entries() -> Iterator[LogLine]:
        for entry in lines:
            replica, text = entry if isinstance(entry, tuple) else ("b1", entry)
            yield LogLine("backend", replica, text, AT)

    return read_errors(entries(), until=NOW, since=NOW - timedelta(minutes=30), recent_since=NOW - timedelta(minutes=5))


def found(log: ErrorLog, *columns: str) -> list[list[Any]]:
    return log.exceptions[list(columns)].values.tolist()


class TestTracebacks:
    def test_first_line_last_frame_and_count(self) -> None:
        """The frame is the deepest one in code of our own; the signature has no line number."""
        (one,) = read(*KEY_ERROR, request(), *KEY_ERROR, request()).exceptions.to_dict("records")
        assert one["signature"] == "KeyError in trading.py:get_prices"
        assert one["first_line"] == "unhandled exception in /api/prices: 'ETHUSD'"
        assert one["last_frame"] == "app/trading.py:41 in get_prices"
        assert (one["count"], one["recent"], one["requests"], one["kind"]) == (2, 2, 2, "code")

    def test_another_line_number_is_the_same_error(self) -> None:
        moved = [line.replace("line 41", "line 43") for line in KEY_ERROR]
        assert found(read(*KEY_ERROR, *moved), "count") == [[2]]

    def test_of_a_chain_the_last_exception_counts_and_its_cause_names_the_dependency(self) -> None:
        assert found(read(*CHAINED, request("/api/session")), "signature", "kind", "dependency") == [
            ["app.sessions.SessionError in sessions.py:touch", "dependency", "redis"]
        ]

    def test_interleaved_replicas(self) -> None:
        """Line by line in turns; each replica's own lines stay together."""
        turns = [
            (replica, text)
            for pair in zip(KEY_ERROR, CHAINED, strict=False)
            for replica, text in zip("ab", pair, strict=True)
        ]
        rest = [("b", text) for text in CHAINED[len(KEY_ERROR) :]]
        log = read(*turns, *rest, ("a", request()), ("b", request("/api/session")))
        assert sorted(found(log, "signature", "requests")) == [
            ["KeyError in trading.py:get_prices", 1],
            ["app.sessions.SessionError in sessions.py:touch", 1],
        ]

    def test_cut_at_the_beginning_of_the_log(self) -> None:
        """The end of a traceback whose head is missing belongs to nobody."""
        assert found(read(*KEY_ERROR[5:], request(), *KEY_ERROR, request()), "count", "requests") == [[1, 1]]

    def test_cut_at_its_end(self) -> None:
        """A traceback that was still being written is an error all the same."""
        assert found(read(*KEY_ERROR[:6]), "count", "first_line") == [
            [1, "unhandled exception in /api/prices: 'ETHUSD'"]
        ]

    def test_a_very_deep_one_keeps_its_end(self) -> None:
        deep = [*KEY_ERROR[:4], *(['  File "/srv/app/loop.py", line 1, in again', "    again()"] * 900), *KEY_ERROR[5:]]
        assert found(read(*deep), "signature") == [["KeyError in trading.py:get_prices"]]


class TestOtherLines:
    def test_json_with_the_traceback_inside(self) -> None:
        """The same error is the same signature in both ways of logging."""
        entry = {"time": STAMP, "level": "ERROR", "message": "unhandled exception in /api/prices: 'ETHUSD'"}
        entry["exc_info"] = "\n".join(KEY_ERROR[1:])
        asked = {"time": STAMP, "level": "INFO", "message": request().partition("INFO ")[2]}
        log = read(json.dumps(entry), json.dumps(asked), *KEY_ERROR, request())
        assert found(log, "signature", "count", "requests") == [["KeyError in trading.py:get_prices", 2, 2]]

    def test_json_whose_fields_tell_the_request(self) -> None:
        log = read('{"path": "/api/trades/17?x=1", "status": 503, "duration_ms": 12}')
        assert log.requests[["route", "status"]].values.tolist() == [["/api/trades/{id}", 503]]

    def test_logfmt_is_read_as_json_is(self) -> None:
        """Its traceback too, whose lines stand escaped in one."""
        stack = "\n".join(KEY_ERROR[1:]).replace('"', '\\"').replace("\n", "\\n")
        asked = f"ts={STAMP} level=info msg=http method=GET path=/api/prices status=500"
        log = read(f'ts={STAMP} level=error msg="request failed" path=/api/prices stack="{stack}"', asked)
        assert found(log, "signature", "requests", "first_line") == [
            ["KeyError in trading.py:get_prices", 1, "KeyError: 'ETHUSD'"]
        ]
        assert log.requests[["method", "route", "status"]].values.tolist() == [["GET", "/api/prices", 500]]

    @pytest.mark.parametrize(
        "line",
        [
            '{"event": "order_failed", "level": "error", "error": "Cannot connect to host venue:9301 ssl:default"}',
            f"ts={STAMP} level=error msg=order_failed err=\"HTTPConnectionPool(host='venue', port=9301): Read timed out.\"",
            '{"event": "order_put_off", "level": "warning", "status": 429, "url": "http://venue:9301/orders"}',
        ],
    )
    def test_what_a_handler_caught_is_in_a_field(self, line: str) -> None:
        assert found(read(line), "kind", "dependency") == [["dependency", "venue"]]

    def test_broken_json_is_passed_over(self) -> None:
        assert read('{"level": "ERROR", "mess', request(status=200)).exceptions.empty

    def test_errors_without_a_traceback_are_clustered_by_template(self) -> None:
        """drain3 finds what varies."""
        lines = [
            f"{STAMP} ERROR trade failed id={n} symbol={symbol} side=buy reason=broker-timeout: broker timeout: no answer in 2 s"
            for n, symbol in enumerate(("EURUSD", "GBPUSD", "XAUUSD"))
        ]
        assert found(read(*lines), "signature", "kind", "dependency", "count") == [
            [
                "trade failed id=<n> <*> side=buy reason=broker-timeout: broker timeout: no answer in <n> s",
                "dependency",
                "broker",
                3,
            ]
        ]

    def test_uvicorns_own_lines(self) -> None:
        """No time, level first, the status as the access log of uvicorn has it."""
        log = read(
            "ERROR:    Exception in ASGI application", *KEY_ERROR[1:], 'INFO:     10.0.0.1:1 - "GET /x HTTP/1.1" 500'
        )
        assert found(log, "signature", "requests") == [["KeyError in trading.py:get_prices", 1]]


class TestWhichRequest:
    def test_the_newest_error_before_it(self) -> None:
        """A line about the trade, then the traceback that ended the request: the latter."""
        pool = f"{STAMP} ERROR trade failed id=0 symbol=X side=buy reason=database: couldn't get a connection"
        log = read(pool, *KEY_ERROR, request())
        assert log.requests["signature"].tolist() == ["KeyError in trading.py:get_prices"]

    def test_each_error_explains_one_request(self) -> None:
        log = read(*KEY_ERROR, request(), request("/api/portfolio"))
        assert log.requests[["route", "signature"]].values.tolist() == [
            ["/api/prices", "KeyError in trading.py:get_prices"],
            ["/api/portfolio", ""],
        ]

    def test_an_id_tells_better_than_the_order(self) -> None:
        first = [KEY_ERROR[0] + " request_id=a", *KEY_ERROR[1:]]
        second = [CHAINED[0] + " request_id=b", *CHAINED[1:]]
        log = read(
            *first, *second, request("/api/prices", more=" request_id=a"), request("/api/session", more=" request_id=b")
        )
        assert log.requests["signature"].tolist() == [
            "KeyError in trading.py:get_prices",
            "app.sessions.SessionError in sessions.py:touch",
        ]

    def test_a_request_that_went_well_takes_none(self) -> None:
        assert read(*KEY_ERROR, request(status=200)).requests["signature"].tolist() == [""]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("psycopg.OperationalError: connection failed: Connection refused", ("dependency", "postgres")),
        ("psycopg_pool.PoolTimeout: couldn't get a connection after 2.00 sec", ("exhausted", "postgres")),
        ("asyncpg.exceptions.ProtocolViolationError: query_wait_timeout", ("exhausted", "postgres")),
        (
            "asyncpg.exceptions.ProtocolViolationError: no more connections allowed (max_client_conn)",
            ("exhausted", "postgres"),
        ),
        (
            "psycopg.errors.ProtocolViolation: server login has been failing, try again later (server_login_retry)",
            ("dependency", "postgres"),
        ),
        ('psycopg.errors.UndefinedColumn: column "margin" does not exist', ("code", "")),
        ("redis.exceptions.TimeoutError: Timeout connecting to server", ("dependency", "redis")),
        ("httpx.ConnectError: [Errno 111] Connection refused", ("dependency", "an outside service")),
        ("ZeroDivisionError: division by zero", ("code", "")),
        ("RuntimeError: cannot schedule new futures after shutdown", ("code", "")),
    ],
)
def test_dependency(last: str, expected: tuple[str, str]) -> None:
    """An exception of a client library that could not reach its server, not every exception of it."""
    trouble = parse_traceback("unhandled exception", ["Traceback (most recent call last):", last])
    assert (trouble.kind, trouble.dependency) == expected


def test_memory_stays_flat() -> None:
    """Ten thousand different errors are so many signatures, and the rest."""
    lines = (
        LogLine("backend", "b1", text, AT)
        for number in range(10_000)
        for text in (f"{STAMP} ERROR x", "Traceback (most recent call last):", f"app.E{number:x}Error: y")
    )
    log = read_errors(lines, until=NOW, since=NOW - timedelta(minutes=30), recent_since=NOW - timedelta(minutes=5))
    assert len(log.exceptions) == MOST_SIGNATURES + 1
    assert log.exceptions["count"].sum() == 10_000


@given(
    st.lists(
        st.one_of(st.text(max_size=60), st.sampled_from([*KEY_ERROR, *CHAINED, request(), "{", '{"a": []}', "[]"]))
    )
)
def test_any_lines_are_read(lines: list[str]) -> None:
    """Nonsense in a log breaks nothing."""
    assert read(*lines).until == NOW
