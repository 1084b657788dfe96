"""What the logs say of WebSockets that ended, in our backend's words and in others'."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowrex_ops.model import LogLine
from flowrex_ops.websocket.closings import KEPT_CLOSINGS, KEPT_OPENINGS, ConnectionLog, parse_closings
from flowrex_ops.websocket.log import count_proxy_errors

START = datetime(2026, 1, 31, 4, 0, tzinfo=UTC)
OURS = "INFO websocket closed id=a code={code} by={by} age_s=12.5 idle_s=2.001 sent=3 received=0 client=10.0.0.9 reason={reason}"
ACCEPTED = 'INFO:     ("10.0.0.9", 51234) - "WebSocket /ws" [accepted]'
OPENED = "INFO websocket opened id=a client=10.0.0.9 path=/ws"


def line(second: float, text: str, replica: str = "backend-1") -> LogLine:
    return LogLine("backend", replica, text, START + timedelta(seconds=second))


def parse(*lines: LogLine, recent: float = 0.0) -> ConnectionLog:
    return parse_closings(lines, recent_since=START + timedelta(seconds=recent))


def test_our_own_line() -> None:
    """Code, closer, age, silence, reason; a dash is no reason."""
    row = parse(line(1, OURS.format(code=1011, by="server", reason="KeyError"))).closings.iloc[0]
    assert (row["code"], row["by"], row["age_seconds"], row["idle_seconds"]) == (1011, "server", 12.5, 2.001)
    assert (row["client"], row["reason"]) == ("10.0.0.9", "KeyError")
    assert parse(line(1, OURS.format(code=1000, by="client", reason="-"))).closings["reason"].tolist() == [""]


@pytest.mark.parametrize("texts", [[OPENED], [OPENED, ACCEPTED], [ACCEPTED]])
def test_when_connections_begin(texts: list[str]) -> None:
    """By the handler's lines, of which the server's own say the same again, or by these alone."""
    assert parse(*(line(second, text) for second in (1, 2) for text in texts)).openings == (
        START + timedelta(seconds=1),
        START + timedelta(seconds=2),
    )


@pytest.mark.parametrize(
    ("text", "code", "by", "age"),
    [
        ('{"message": "WebSocket closed", "code": 1006, "duration_s": 60.2}', 1006, "abnormal", 60.2),
        ("WebSocket disconnected: code=1001 age_ms=1500", 1001, "client", 1.5),
        ("websocket connection closed code=1012", 1012, "server", None),
    ],
)
def test_other_ways_to_say_so(text: str, code: int, by: str, age: float | None) -> None:
    """JSON, milliseconds, no word of who closed."""
    row = parse(line(1, text)).closings.iloc[0]
    assert (row["code"], row["by"]) == (code, by)
    assert row["age_seconds"] == age or age is None


@pytest.mark.parametrize(
    "text",
    [
        "INFO request method=GET route=/ws status=404 duration_ms=3 client=10.0.0.9",
        "INFO websocket pool size=1006",
        "INFO connection closed",
        "ERROR error code=1006 while saving",
    ],
)
def test_lines_about_something_else(text: str) -> None:
    assert parse(line(1, text)).closings.empty


def test_age_from_the_opening_line() -> None:
    """Where the closing line does not tell it."""
    found = parse(line(1, OPENED), line(31, "websocket closed id=a code=1006"))
    assert found.closings["age_seconds"].tolist() == [30.0]
    assert (found.opened, found.closed) == (1, 1)


class TestRestarts:
    def test_connections_that_died_with_their_process(self) -> None:
        """Opened, never closed, and the replica begins anew: lost; those of another replica are still open."""
        found = parse(
            line(1, OPENED), line(1, OPENED, "backend-2"), line(61, "INFO backend started version=1 replica=1")
        ).closings
        assert found[["replica", "code", "by", "age_seconds", "restart"]].values.tolist() == [
            ["backend-1", 1006, "lost", 60.0, True]
        ]

    def test_closings_just_before_the_end(self) -> None:
        """They belong to the restart, also when the last line of the old process comes after them."""
        dropped = OURS.format(code=1006, by="abnormal", reason="-")
        found = parse(
            line(1, dropped), line(20, dropped), line(20, dropped, "backend-2"), line(21, "INFO backend stopping")
        ).closings
        assert found["restart"].tolist() == [False, True, False]

    def test_closings_after_the_start(self) -> None:
        dropped = OURS.format(code=1006, by="abnormal", reason="-")
        found = parse(
            line(1, "INFO Shutting down"), line(2, dropped), line(3, "INFO backend started"), line(5, dropped)
        )
        assert found.closings["restart"].tolist() == [True, False]

    def test_one_start_says_so_several_times(self) -> None:
        """The server and the application each have a line."""
        found = parse(line(1, "INFO Started server process [9]"), line(2, "INFO Application startup complete."))
        assert len(found.starts) == 1


class TestErrors:
    TRACEBACK = (
        "ERROR websocket handler failed id=a",
        "Traceback (most recent call last):",
        '  File "app/streams.py", line 9, in serve',
        "KeyError: 'EURUSD'",
    )

    def test_last_line_of_a_traceback(self) -> None:
        lines = [line(n, text) for n, text in enumerate(self.TRACEBACK * 2)]
        found = parse(*lines, recent=4).errors
        assert found[["exception", "lines", "recent"]].values.tolist() == [["KeyError: 'EURUSD'", 2, 1]]

    def test_replicas_that_write_at_once(self) -> None:
        """Lines of two tracebacks one after the other."""
        lines = [
            line(n, text, replica) for n, text in enumerate(self.TRACEBACK) for replica in ("backend-1", "backend-2")
        ]
        assert parse(*lines).errors["lines"].tolist() == [2]

    def test_other_tracebacks(self) -> None:
        """Those of requests are none of ours."""
        assert parse(*[line(1, text) for text in ("ERROR database error", *self.TRACEBACK[1:])]).errors.empty

    def test_what_follows_a_traceback_is_read(self) -> None:
        closed = OURS.format(code=1011, by="server", reason="KeyError")
        assert parse(*[line(1, text) for text in (*self.TRACEBACK, closed)]).closings["code"].tolist() == [1011]


def test_memory_stays_flat() -> None:
    """The newest closings are kept, and all are counted; connections that never close are forgotten, the oldest first."""
    closings = (line(n / 1000, f"websocket closed id={n} code=1006") for n in range(KEPT_CLOSINGS + 10))
    found = parse_closings(closings, recent_since=START)
    assert (len(found.closings), found.closed) == (KEPT_CLOSINGS, KEPT_CLOSINGS + 10)
    opened = (line(0, f"websocket opened id={n}") for n in range(KEPT_OPENINGS + 10))
    assert parse_closings(opened, recent_since=START).opened == KEPT_OPENINGS + 10


def test_no_line_at_all() -> None:
    """Is an answer: nobody closed."""
    assert parse().closings.empty


class TestProxyErrors:
    def test_kinds(self) -> None:
        """NGINX's own words (ngx_http_upstream.c, ngx_connection.c)."""
        request = 'client: 10.0.0.9, server: flowrex.app, request: "GET /ws HTTP/1.1"'
        texts = (
            f"[error] 7#7: *1 upstream timed out (110: Connection timed out) while proxying upgraded connection, {request}",
            "[alert] 7#7: 512 worker_connections are not enough",
            f"[error] 7#7: *2 recv() failed (104: Connection reset by peer) while proxying upgraded connection, {request}",
            f"[error] 7#7: *3 connect() failed (111: Connection refused) while connecting to upstream, {request}",
            '[error] 7#7: *4 upstream timed out (110: Connection timed out) while reading response, request: "GET /api"',
        )
        found = count_proxy_errors(
            [line(n, text) for n, text in enumerate(texts)], recent_since=START + timedelta(seconds=1)
        )
        assert dict(zip(found["kind"], found["recent"], strict=True)) == {
            "broken": 1,
            "timeout": 0,
            "unreachable": 1,
            "worker-connections": 1,
        }


def test_the_servers_own_lines_count_and_tell_no_code() -> None:
    """Uvicorn says that a connection opened and closed, and nothing of how."""
    found = parse(
        line(1, "INFO:     ('192.0.2.1', 40001) - \"WebSocket /ws\" [accepted]"),
        line(1, "INFO:     connection open"),
        line(2, "INFO:     connection closed"),
    )
    assert (found.opened, found.unreported, found.coded, found.closed) == (1, 1, 0, 0)


class TestOfRequestsOrWebSockets:
    """Uvicorn begins both tracebacks with the same words; the files in them differ."""

    def traceback(self, protocol: str) -> list[str]:
        return [
            "ERROR:    Exception in ASGI application",
            "Traceback (most recent call last):",
            f'  File "/usr/lib/python3/dist-packages/uvicorn/protocols/{protocol}.py", line 238, in run_asgi',
            '  File "app/streams.py", line 9, in serve',
            "KeyError: 'EURUSD'",
        ]

    def test_a_websocket(self) -> None:
        found = parse(*[line(1, text) for text in self.traceback("websockets/websockets_impl")])
        assert found.errors["exception"].tolist() == ["KeyError: 'EURUSD'"]

    def test_a_request(self) -> None:
        assert parse(*[line(1, text) for text in self.traceback("http/h11_impl")]).errors.empty
