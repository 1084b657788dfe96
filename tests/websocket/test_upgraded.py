"""Ends of WebSockets by the proxy's access log, in the forms that proxies write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowrex_ops.websocket.upgraded import UNREPORTED, find_used_path, read_upgraded

SINCE = datetime(2026, 11, 27, 21, 0, tzinfo=UTC)
AT = datetime(2026, 11, 27, 21, 30, 16, tzinfo=UTC)
COMBINED = '172.24.0.1 - - [27/Nov/2026:21:30:16 +0000] "GET /ws HTTP/1.1" 101 10 "-" "Python/3.11 websockets/17.4"'
OWN = '$remote_addr "$request" $status $request_time [$time_iso8601] $upstream_addr'


@pytest.mark.parametrize(
    ("text", "formats", "age", "replica"),
    [
        (COMBINED, [], None, ""),
        (COMBINED + " 15.002", [], 15.002, ""),
        ('10.0.0.1 "GET /ws HTTP/1.1" 101 15.002 [2026-11-27T21:30:16+00:00] 172.24.0.5:8000', [OWN], 15.002, "shop-1"),
        (
            '{"time":"2026-11-27T21:30:16+00:00","method":"GET","path":"/ws","status":101,"request_time":17.03,"upstream_addr":"172.24.0.5:8000"}',
            [],
            17.03,
            "shop-1",
        ),
        (
            '{"level":"info","ts":1795815016,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","method":"GET","uri":"/ws"},"duration":17.03,"status":101}',
            [],
            17.03,
            "",
        ),
    ],
    ids=["combined", "with the time behind", "a format of its own", "JSON", "Caddy"],
)
def test_forms(text: str, formats: list[str], age: float | None, replica: str) -> None:
    """One row for each end: when, how old and at which replica, as far as the form tells."""
    names = {"172.24.0.5:8000": "shop-1"}
    chunk = f'10.0.0.9 - - [27/Nov/2026:21:30:15 +0000] "GET / HTTP/1.1" 200 101 "-" "-"\n{text}\n'.encode()
    assert find_used_path([chunk], lambda: formats) == "/ws"
    [row] = read_upgraded([chunk], recent_since=SINCE, find_formats=lambda: formats, replicas=names)
    assert (row["at"], row["code"], row["age_seconds"], row["replica"], row["recent"]) == (
        AT,
        UNREPORTED,
        age,
        replica,
        True,
    )


def test_proxy_is_not_asked_for_nothing() -> None:
    """Without an upgraded connection nobody needs to know the format."""

    def refuse() -> list[str]:
        raise AssertionError("asked")

    assert read_upgraded([COMBINED.replace(" 101 ", " 200 ").encode()], recent_since=SINCE, find_formats=refuse) == []


def test_older_ends_are_kept_and_not_recent() -> None:
    [row] = read_upgraded([COMBINED.encode()], recent_since=AT + timedelta(seconds=1))
    assert row["recent"] is False
