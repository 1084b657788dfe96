"""Tracebacks in every dress: which line names the exception, and which frame is the application's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowrex_ops.logs.error_log import ErrorLog, read_errors
from flowrex_ops.logs.tracebacks import parse_traceback, tells_of_pool
from flowrex_ops.model import LogLine

NOW = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
SAMPLES = Path(__file__).parent / "samples"
BOOK = "psycopg.OperationalError in ledger.py:book"
HEAD = "Traceback (most recent call last):"
FRAMES = [
    '  File "/usr/lib/python3/dist-packages/starlette/routing.py", line 70, in app',
    "    answer = await call(request)",
    '  File "/opt/desk/ledger.py", line 58, in book',
    "    await cursor.execute(statement)",
]
LAST = "psycopg.OperationalError: the connection is closed"


def read(*lines: str) -> ErrorLog:
    entries = (LogLine("backend", "b1", line, NOW - timedelta(minutes=1)) for line in lines)
    return read_errors(entries, until=NOW, since=NOW - timedelta(minutes=30), recent_since=NOW - timedelta(minutes=5))


def sample(name: str) -> ErrorLog:
    return read(*(SAMPLES / name).read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head-gunicorn.log", [(BOOK, "postgres", 1)]),
        ("head-ansi.log", [(BOOK, "postgres", 1)]),
        ("bare-traceback.log", [(BOOK, "postgres", 1)]),
        ("exception-group.log", [(BOOK, "postgres", 1)]),
        ("ecs.log", [(BOOK, "postgres", 1)]),
        ("loguru-json-otel.log", [(BOOK, "postgres", 2)]),
        ("detail.log", [("psycopg.errors.UniqueViolation in ledger.py:book", "", 1)]),
        ("hint.log", [("psycopg.errors.UndefinedColumn in ledger.py:book", "", 1)]),
        ("compiled-traceback.log", [("AttributeError in portfolio.py:summarize", "", 1)]),
        ("head-asctime.log", [("margin call failed", "", 10), ("quotes went silent", "", 10)]),
    ],
)
def test_sample(name: str, expected: list[tuple[str, str, int]]) -> None:
    """One row an error: its signature, what it depends on, how often it came."""
    table = sample(name).exceptions
    assert list(table[["signature", "dependency", "count"]].itertuples(index=False, name=None)) == expected


def test_compiled_frames_are_somebody_elses() -> None:
    """A relative path and a function with its module: Cython's."""
    assert sample("compiled-traceback.log").exceptions["last_frame"].tolist() == ["app/portfolio.py:6 in summarize"]


LOGURU = [
    "2026-11-27 12:00:00.007 | ERROR    | app.ledger:book:58 - booking failed",
    HEAD,
    "",
    '  File "/usr/lib/python3.12/runpy.py", line 198, in _run_module_as_main',
    "    return _run_code(code)",
    '> File "/opt/desk/ledger.py", line 58, in book',
    "    await cursor.execute(statement)",
    "          │      └ <function execute at 0x7f>",
    "          └ <Cursor>",
    "",
    LAST,
]
NOTES = [
    "ERROR:    Exception in ASGI application",
    HEAD,
    *FRAMES,
    LAST,
    "while booking order 17",
    "account: 4711",
    "Hint: retry",
]
CAUSED = [
    "[2026-11-27 12:00:00 +0000] [9] [ERROR] Exception in worker process",
    HEAD,
    '  File "/opt/desk/rates.py", line 4, in load',
    "    return table[key]",
    "KeyError: 'EURUSD'",
    "",
    "During handling of the above exception, another exception occurred:",
    "",
    HEAD,
    *FRAMES,
    LAST,
]
TASK = [
    "2026-11-27 12:00:00,007 - asyncio - ERROR - Task exception was never retrieved",
    "future: <Task finished name='Task-7' coro=<book() done> exception=OperationalError('gone')>",
    HEAD,
    *FRAMES,
    LAST,
]
THREAD = ["Exception in thread Thread-3 (worker):", HEAD, *FRAMES, LAST]
GROUP_IN_CHAIN = [
    "ERROR:    Exception in ASGI application",
    "  + Exception Group Traceback (most recent call last):",
    '  |   File "/opt/desk/fan.py", line 12, in both',
    "  |     async with asyncio.TaskGroup() as group:",
    "  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
    "  +-+---------------- 1 ----------------",
    "    | Traceback (most recent call last):",
    *(f"    | {line}" for line in FRAMES),
    f"    | {LAST}",
    "    +---------------- 2 ----------------",
    "    | Traceback (most recent call last):",
    '    |   File "/opt/desk/other.py", line 1, in other',
    "    | ValueError: two",
    "    +------------------------------------",
]
STRUCTLOG = {
    "event": "booking failed",
    "level": "error",
    "exception": [
        {
            "exc_type": "OperationalError",
            "exc_value": "the connection is closed",
            "frames": [{"filename": "/opt/desk/ledger.py", "lineno": 58, "name": "book"}],
        }
    ],
}
JSON_LOGGER = {
    "asctime": "2026-11-27 12:00:00,007",
    "levelname": "ERROR",
    "message": "booking failed",
    "exc_info": "\n".join([HEAD, *FRAMES, LAST]),
}
OTLP = {
    "severityText": "ERROR",
    "body": {"stringValue": "booking failed"},
    "attributes": [{"key": "exception.stacktrace", "value": {"stringValue": "\n".join([HEAD, *FRAMES, LAST])}}],
}
PINO = {
    "level": 50,
    "time": 1,
    "pid": 9,
    "hostname": "b1",
    "msg": "booking failed",
    "err": {"type": "OperationalError", "message": "gone"},
}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (LOGURU, BOOK),
        (NOTES, BOOK),
        (CAUSED, BOOK),
        (TASK, BOOK),
        (THREAD, BOOK),
        (GROUP_IN_CHAIN, BOOK),
        ([json.dumps(STRUCTLOG)], "OperationalError in ledger.py:book"),
        ([json.dumps(JSON_LOGGER)], BOOK),
        ([json.dumps(OTLP)], BOOK),
        ([json.dumps(PINO)], "OperationalError"),
    ],
)
def test_form(lines: list[str], expected: str) -> None:
    """The exception is the first line without indentation after the frames, of a group its first member."""
    table = read(*lines).exceptions
    assert table[["signature", "count"]].values.tolist() == [[expected, 1]]


def test_asyncpgs_pool_that_has_nothing_to_give() -> None:
    """It says no more than TimeoutError; triage is to hear of the pool, and people of the line that waited."""
    frames = [
        '  File "/srv/app/main.py", line 46, in get',
        '  File "/usr/lib/python3/dist-packages/asyncpg/pool.py", line 840, in _acquire',
        '  File "/usr/lib/python3.11/asyncio/tasks.py", line 502, in wait_for',
    ]
    text = "\n".join([HEAD, *frames, "TimeoutError"])
    entry = json.dumps({"message": "request crashed", "severity": "ERROR", "exc_info": text})
    assert read(entry).exceptions[["kind", "dependency", "first_line"]].to_numpy().tolist() == [
        ["exhausted", "postgres", "TimeoutError at app/main.py:46 in get"]
    ]
    assert tells_of_pool(entry.lower())
    assert not tells_of_pool(entry.lower().replace("timeouterror", "toomanyconnectionserror"))


def test_what_servers_write_above_any_traceback_is_no_title() -> None:
    """What was raised is; but what the application itself said stays."""
    assert read(*NOTES).exceptions["first_line"].tolist() == [LAST]
    assert read(*LOGURU).exceptions["first_line"].tolist() == ["booking failed"]
    structlog = {
        "event": "unhandled_exception",
        "path": "/api/customers/7",
        "level": "error",
        "timestamp": "2026-12-01T05:31:41.496376Z",
        "exception": f'{HEAD}\n  File "/code/app/__init__.py", line 111, in customer\nValueError: cannot parse record',
    }
    assert read(json.dumps(structlog)).exceptions["first_line"].tolist() == ["ValueError: cannot parse record"]


def test_a_warning_with_a_traceback_is_a_warning() -> None:
    assert read("2026-11-27 12:00:00,007 WARNING tried again", HEAD, *FRAMES, LAST).exceptions.empty


@pytest.mark.parametrize(
    ("frames", "last", "expected"),
    [
        (
            ['  File "/x/site-packages/asyncpg/connect_utils.py", line 1, in _connect'],
            "OSError: Multiple exceptions",
            "postgres",
        ),
        ([], "ConnectionRefusedError: [Errno 111] Connect call failed ('172.30.0.2', 5432)", "postgres"),
        (['  File "/x/site-packages/redis/connection.py", line 1, in connect'], "TimeoutError", "redis"),
        (['  File "/opt/desk/files.py", line 1, in save'], "OSError: [Errno 28] No space left on device", ""),
        ([], "redis.exceptions.ResponseError: WRONGTYPE Operation against a key", ""),
        ([], "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached", "postgres"),
        (
            [],
            "asyncpg.exceptions.ReadOnlySQLTransactionError: cannot execute UPDATE in a read-only transaction",
            "postgres",
        ),
        ([], "psycopg.errors.InsufficientPrivilege: permission denied for table trades", "postgres"),
        ([], "psycopg2.errors.DeadlockDetected: deadlock detected", "postgres"),
        ([], "psycopg.errors.UniqueViolation: duplicate key value violates unique constraint", ""),
    ],
)
def test_dependency(frames: list[str], last: str, expected: str) -> None:
    """A driver that lets a plain exception through is known by its frames, or by the port."""
    assert parse_traceback("x", [HEAD, *frames, last]).dependency == expected


@pytest.mark.parametrize(
    ("frames", "last"),
    [
        (['  File "/opt/desk/files.py", line 1, in save'], "OSError: [Errno 24] Too many open files: 'export.csv'"),
        ([], "psycopg.OperationalError: connection to server failed: could not create socket: Too many open files"),
        (
            ['  File "/x/site-packages/redis/connection.py", line 1, in connect'],
            "OSError: [Errno 24] No file descriptors available",
        ),
    ],
)
def test_no_file_can_be_opened(frames: list[str], last: str) -> None:
    """Whatever it was that could not be opened: it is no dependency that fails."""
    found = parse_traceback("socket.accept() out of system resource", [HEAD, *frames, last])
    assert (found.kind, found.dependency) == ("descriptors", "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("HTTPConnectionPool(host='venue', port=9301): Max retries exceeded with url: /orders", "venue"),
        ("HTTPSConnectionPool(host='api.venue.test', port=443): Read timed out. (read timeout=1)", "api.venue.test"),
        ("500 Server Error: Internal Server Error for url: http://venue:9301/orders", "venue"),
        ("403 Client Error: Forbidden for url: https://venue/orders", "venue"),
        ("Server error '502 Bad Gateway' for url 'https://venue/orders'", "venue"),
        ("Cannot connect to host venue:9301 ssl:default [Name or service not known]", "venue"),
        ("400 Client Error: Bad Request for url: http://venue:9301/orders", ""),
        ("Client error '404 Not Found' for url 'https://venue/orders'", ""),
    ],
)
def test_dependency_in_the_words_of_its_client(said: str, expected: str) -> None:
    """A line without a traceback names the other side too; what the client calls our mistake is ours."""
    assert parse_traceback(f"order for ALPHA not placed: {said}").dependency == expected


class TestWhichRequest:
    """Whichever is logged first, and never one off."""

    ROUTES = ("orders", "portfolio", "quotes", "orders", "trades")

    @staticmethod
    def error(name: str) -> list[str]:
        return [
            "ERROR:    Exception in ASGI application",
            HEAD,
            f'  File "/opt/desk/views_{name}.py", line 1, in show',
            f"app.{name.title()}Error: x",
        ]

    @staticmethod
    def request(name: str) -> str:
        return f'INFO:     192.0.2.7:4000 - "GET /api/{name} HTTP/1.1" 500 Internal Server Error'

    @staticmethod
    def paired(*lines: str) -> dict[str, set[str]]:
        table = read(*lines).requests
        return {route: set(part["signature"].str.partition(" ")[0]) for route, part in table.groupby("route")}

    def test_request_first(self) -> None:
        lines = [line for name in self.ROUTES for line in (self.request(name), *self.error(name))]
        assert self.paired(*lines) == {f"/api/{name}": {f"app.{name.title()}Error"} for name in self.ROUTES}

    def test_error_first(self) -> None:
        lines = [line for name in self.ROUTES for line in (*self.error(name), self.request(name))]
        assert self.paired(*lines) == {f"/api/{name}": {f"app.{name.title()}Error"} for name in self.ROUTES}

    @pytest.mark.parametrize("request_first", [True, False])
    def test_by_nearness_alone(self, request_first: bool) -> None:
        """Code whose names say nothing, requests that went well in between, and one that failed without a word."""
        lines = ['INFO:     192.0.2.7:4000 - "GET /api/silent HTTP/1.1" 503 Service Unavailable', "INFO:     a word"]
        for kind in "abc":
            error = [
                "ERROR:    Exception in ASGI application",
                HEAD,
                '  File "/opt/x.py", line 1, in f',
                f"app.{kind.upper()}Error: x",
            ]
            asked = [f'INFO:     192.0.2.7:4000 - "GET /{kind}{kind} HTTP/1.1" 500 Internal Server Error']
            lines += [
                *(asked + error if request_first else error + asked),
                'INFO:     1.2.3.4:1 - "GET /fine HTTP/1.1" 200 OK',
            ]
        found = self.paired(*lines)
        assert {route: found[route] for route in ("/aa", "/bb", "/cc")} == {
            f"/{k}{k}": {f"app.{k.upper()}Error"} for k in "abc"
        }
        assert found["/api/silent"] == {""}

    def test_one_replica_of_two(self) -> None:
        """Eleven orders failed on it, each of its own error."""
        log = sample("one-replica-backend2.log")
        failed = log.requests[log.requests["status"].eq(500)]
        assert failed[["route", "signature", "requests"]].values.tolist() == [["/api/v1/orders", "KeyError", 11]]
