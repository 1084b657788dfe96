"""What the access log's source makes of lines: the sandbox's format, the combined one, and what is no request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.logs.access_log import (
    KEPT_SLOW,
    MOST_CLIENTS,
    MOST_ROUTES,
    OTHER,
    AccessCounter,
    AccessLog,
    count_statuses,
    route_of,
)

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)


def line(status: int = 200, path: str = "/api/prices", client: str = "198.51.100.7", **facts: Any) -> bytes:
    """A line of the sandbox's log_format."""
    reported = {"at": "2026-11-23T16:59:30+00:00", "seconds": "0.012", "upstream": "172.18.0.5:8000", "header": "0.011"}
    reported |= {"version": "1.4.2"} | facts
    return (
        f'{reported["at"]} {client} "GET {path} HTTP/1.1" {status} 24 {reported["seconds"]} "curl/8" host="flowrex.test" '
        f'upstream="{reported["upstream"]}" upstream_status="{status}" upstream_time="0.012" header_time="{reported["header"]}" '
        f'version="{reported["version"]}"\n'
    ).encode()


def combined(status: int, at: str = "23/Nov/2026:17:59:30 +0100") -> bytes:
    return f'198.51.100.7 - ada [{at}] "POST /api/trades HTTP/1.1" {status} 157 "-" "Mozilla/5.0 (X11)"\n'.encode()


def read(*chunks: bytes, minutes: float = 30, slow_seconds: float = 5.0) -> AccessLog:
    counter = AccessCounter(
        until=NOW,
        since=NOW - timedelta(minutes=minutes),
        recent_since=NOW - timedelta(minutes=5),
        slow_seconds=slow_seconds,
        replicas={"172.18.0.5:8000": "backend-1"},
    )
    for chunk in chunks:
        counter.add(chunk)
    return counter.result()


def rows(log: AccessLog, *columns: str) -> list[list[Any]]:
    return log.requests[list(columns)].values.tolist()


class TestWhoAnswered:
    @pytest.mark.parametrize(
        ("facts", "expected"),
        [
            ({"status": 502, "header": "0.011"}, ["backend", "backend-1"]),
            ({"status": 502, "header": "-"}, ["proxy", "backend-1"]),
            ({"status": 502, "header": "-", "upstream": "-"}, ["proxy", ""]),
            (
                {"status": 200, "header": "-, 0.002", "upstream": "10.0.0.9:8000, 172.18.0.5:8000"},
                ["backend", "backend-1"],
            ),
            (
                {"status": 504, "header": "-, -", "upstream": "172.18.0.5:8000, 10.0.0.9:8000"},
                ["proxy", "10.0.0.9:8000"],
            ),
        ],
    )
    def test_by_the_header_time_of_the_server_asked_last(self, facts: dict[str, Any], expected: list[str]) -> None:
        """No header came from there: the proxy made the answer."""
        assert rows(read(line(**facts)), "made_by", "replica") == [expected]

    def test_the_combined_format_does_not_tell(self) -> None:
        """But it has time (with its zone), client, route and status."""
        log = read(combined(502))
        assert rows(log, "at", "route", "status", "made_by") == [
            [datetime(2026, 11, 23, 16, 59, 30, tzinfo=UTC), "/api/trades", 502, "unknown"]
        ]
        assert log.clients["client"].tolist() == ["198.51.100.7"]


class TestCounting:
    def test_the_same_is_one_row(self) -> None:
        log = read(line() * 3 + line(500), line() * 2)
        assert rows(log, "status", "version", "requests") == [[200, "1.4.2", 5], [500, "1.4.2", 1]]
        assert log.requests["seconds"].tolist() == pytest.approx([0.06, 0.012])

    def test_the_error_log_in_between_is_passed_over(self) -> None:
        """NGINX writes both to the same stream."""
        error = b'2026/11/23 16:59:30 [error] 7#7: *1 connect() failed (111: Connection refused), request: "GET / HTTP/1.1"\n'
        assert rows(read(error + line() + error), "requests") == [[1]]

    def test_what_is_older_is_left_out_and_what_is_not_recent_counts_no_client(self) -> None:
        log = read(line(at="2026-11-23T10:00:00+00:00"), line(at="2026-11-23T16:40:00+00:00"))
        assert rows(log, "requests") == [[1]]
        assert log.clients.empty

    def test_long_times_have_coarse_buckets(self) -> None:
        """A day in seconds would be as long as the log."""
        seconds = [line(at=f"2026-11-23T16:59:{second:02d}+00:00") for second in range(60)]
        assert len(read(*seconds).requests) == 60
        assert len(read(*seconds, minutes=24 * 60).requests) <= 3

    def test_clients_that_failed_and_that_were_told_to_wait(self) -> None:
        log = read(line(503, client="a"), line(429, client="b") * 2, line(200, client="b"))
        assert log.clients.to_numpy().tolist() == [["b", 3, 0, 2], ["a", 1, 1, 0]]

    def test_want_of_connections_and_of_files(self) -> None:
        """Where it reuses idle ones instead, none is missing."""
        head = b"2026/11/23 16:59:30 [alert] 7#7: "
        log = read(
            line(),
            head + b"1024 worker_connections are not enough\n",
            head + b"*9 16 worker_connections are not enough while connecting to upstream, client: 1.2.3.4\n",
            head + b"accept4() failed (24: Too many open files)\n",
            head + b"1024 worker_connections are not enough, reusing connections\n",
        )
        assert log.exhausted[["what", "requests"]].to_numpy().tolist() == [
            ["worker_connections are not enough", 2],
            ["Too many open files", 1],
        ]

    def test_errors_in_the_proxys_own_words(self) -> None:
        """One kind is one row, whatever numbers are in it; a notice is no error."""
        head = b"2026/11/23 16:59:30 [error] 7#7: *9 "
        log = read(
            line(),
            *(head + f'limiting requests, excess: 2.{n} by zone "ip", client: 10.0.0.{n}\n'.encode() for n in range(3)),
            head.replace(b"error", b"crit") + b"connect() to unix:/a.sock failed (2: No such file), client: 10.0.0.1\n",
            head.replace(b"error", b"notice") + b"signal process started\n",
        )
        assert log.said[["what", "requests"]].to_numpy().tolist() == [
            ['limiting requests, excess: 2.0 by zone "ip"', 3],
            ["connect() to unix:/a.sock failed (2: No such file)", 1],
        ]

    def test_who_was_refused(self) -> None:
        """Who gave up by himself (499) was not."""
        log = read(line(404, client="a") * 2, line(401, client="a"), line(499, client="b"), line(client="b"))
        assert log.refused.to_numpy().tolist() == [["a", 404, 2], ["a", 401, 1]]

    def test_numbers_in_paths_are_no_routes(self) -> None:
        assert route_of("/api/trades/4711/legs/2") == "/api/trades/{id}/legs/{id}"
        assert route_of("/api/v2/trades") == "/api/v2/trades"

    def test_slow_requests_the_slowest_first_and_open_websockets_are_none(self) -> None:
        log = read(line(seconds="6.100"), line(seconds="9.000"), line(101, path="/ws", seconds="3600.0"))
        assert log.slow["seconds"].tolist() == [9.0, 6.1]


class TestMemory:
    def test_a_scanner_that_asks_for_everything(self) -> None:
        """Of a hundred thousand paths, clients and slow requests only so many are kept."""
        log = read(
            *(
                line(
                    404,
                    path=f"/{number:x}x",
                    client=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
                    seconds="7.0",
                )
                for number in range(MOST_CLIENTS + 500)
            )
        )
        assert log.requests["route"].nunique() == MOST_ROUTES + 1
        assert OTHER in set(log.requests["route"])
        assert len(log.clients) <= MOST_CLIENTS
        assert len(log.refused) <= MOST_CLIENTS
        assert len(log.slow) == KEPT_SLOW

    def test_the_busiest_clients_survive(self) -> None:
        """Whoever floods is not dropped among strangers."""
        flood = line(client="203.0.113.66") * 50
        strangers = [line(client=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(MOST_CLIENTS + 500)]
        assert read(flood, *strangers, flood).clients.iloc[0].tolist() == ["203.0.113.66", 100, 0, 0]


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_read(chunks: list[bytes]) -> None:
    """Nonsense in a log breaks nothing."""
    assert read(*chunks).requests["requests"].sum() == 0


class TestStatuses:
    def test_the_last_word_of_lines_with_http_in_them(self) -> None:
        """What grep, awk, sort and uniq make of them, JSON lines too."""
        text = (
            b'T INFO request route=/x client=1 "GET /x HTTP/1.1" 200\n'
            b'T ERROR broker said HTTP 401 Unauthorized\n  File "x.py", line 500\n'
            b'{"message": "request \\"GET /x HTTP/1.1\\" 503"}\n'
            b'T INFO request "GET /x HTTP/1.1" 200\r\n'
            b'T INFO request "GET /y HTTP/1.1" 502'
        )
        assert count_statuses([text]) == {"200": 2, "502": 1, "503": 1}
