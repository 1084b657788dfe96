"""Lines as proxies write them, and where the time of their requests went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowrex_ops.logs.access_log import AccessCounter
from flowrex_ops.logs.request_times import PARTS, Times, split

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
OURS = (
    '2026-11-23T16:59:00+00:00 198.51.100.7 "GET /api/prices HTTP/1.1" {status} 12 {took} "curl/8" host="x" upstream="10.0.0.2:8000"'
    ' upstream_status="200" upstream_time="{response}" connect_time="{connect}" header_time="{header}" version="1.4.2"'
)
LABELLED = (
    '198.51.100.7 - - [23/Nov/2026:16:59:00 +0000] "GET /api/prices HTTP/1.1" 200 12 "-" "curl/8" "-"'
    ' rt=3.500 ua="10.0.0.2:8000" us="200" uct="0.100" uht="2.100" urt="3.000"'
)
TRAEFIK = (
    '{"ClientAddr":"198.51.100.7:4000","Duration":3500000000,"OriginDuration":3000000000,"RequestMethod":"GET","RequestPath":"/api/prices",'
    '"DownstreamStatus":200,"ServiceAddr":"10.0.0.2:8000","StartUTC":"2026-11-23T16:59:00Z","time":"2026-11-23T16:59:00Z"}'
)
COMBINED = '198.51.100.7 - - [23/Nov/2026:16:59:00 +0000] "GET /api/prices HTTP/1.1" 200 12 "-" "curl/8"'


def ours(took: str, connect: str = "-", header: str = "-", response: str = "-", status: int = 200) -> str:
    return OURS.format(took=took, connect=connect, header=header, response=response, status=status)


def read(*lines: str, slow_seconds: float = 1.0) -> AccessCounter:
    counter = AccessCounter(
        until=NOW,
        since=NOW - timedelta(hours=1),
        recent_since=NOW - timedelta(minutes=5),
        slow_seconds=slow_seconds,
        replicas={"10.0.0.2:8000": "backend-1"},
        timed=True,
    )
    counter.add(("\n".join(lines) + "\n").encode())
    return counter


@pytest.mark.parametrize(
    ("line", "slow_in", "seconds"),
    [
        (ours("3.500", "0.100", "2.100", "3.000"), "first byte", (0.5, 0.1, 2.0, 0.9)),
        (LABELLED, "first byte", (0.5, 0.1, 2.0, 0.9)),
        (TRAEFIK, "first byte", (0.5, 0, 3.0, 0)),
        (ours("4.000", "0.001", "0.010", "0.010"), "client", (3.99, 0.001, 0.009, 0)),
        (ours("2.010", "2.000", "2.010", "2.010"), "connect", (0, 2.0, 0.01, 0)),
        (ours("5.000", "0.000", "0.010", "5.000"), "body", (0, 0, 0.01, 4.99)),
        (ours("2.500", "-, 0.001", "-, 0.400", "2.000, 0.500"), "first byte", (0, 0.001, 2.399, 0.1)),
        (ours("6.001", "0.001", "-", "6.001", 504), "first byte", (0, 0.001, 6.0, 0)),
        (ours("2.000"), "client", (2.0, 0, 0, 0)),
        (ours("0.020", "0.001", "0.015", "0.020"), "none", (0, 0.001, 0.014, 0.005)),
        (COMBINED, "untimed", (0, 0, 0, 0)),
        (COMBINED + " 3.500", "unsplit", (0, 0, 0, 0)),
    ],
)
def test_where_the_time_went(line: str, slow_in: str, seconds: tuple[float, ...]) -> None:
    (row,) = read(line).result().times.to_dict("records")
    assert (row["slow_in"], row["requests"], row["route"]) == (slow_in, 1, "/api/prices")
    assert [row[part] for part in PARTS] == pytest.approx(seconds, abs=1e-9)


def test_parts_add_up_to_the_whole() -> None:
    """Also where an upstream claims more than the request took, by rounding."""
    took, parts = split(Times("1.000", "0.000", "1.001", "1.001"))
    assert (took, sum(parts or ())) == (1.0, pytest.approx(1.0))


def test_it_grows_with_kinds_of_requests_and_not_with_their_number() -> None:
    """Twenty thousand requests of one route within a second are some rows, a websocket is none."""
    lines = [ours(f"0.{number % 50:03}", "0.001", "0.002", "0.003") for number in range(20_000)]
    times = read(*lines, ours("900.0", status=101)).result().times
    assert times["requests"].sum() == 20_000
    assert len(times) < 20
    assert set(times["replica"]) == {"backend-1"}


def test_nothing_is_kept_unless_asked_for() -> None:
    counter = AccessCounter(until=NOW, since=NOW - timedelta(hours=1), recent_since=NOW)
    counter.add(ours("3.500").encode() + b"\n")
    assert counter.result().times.empty
