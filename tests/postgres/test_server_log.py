"""PostgreSQL's own log: each of its forms, what is only quoted in it, and what it says when things really happen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flowrex_ops.compose import Stack
from flowrex_ops.model import LogLine
from flowrex_ops.postgres.server_log import ELSEWHERE, UNDERSTOOD, ServerLogSource, count_events
from flowrex_sandbox.faults.postgres import BackendCrashed, DamagedPage, Deadlocks
from flowrex_sandbox.sandbox import Sandbox

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
TIME = "2026-01-31 04:12:00.123 UTC"
CSV = (
    f'{TIME},"flow,rex","flowrex",42,"10.0.0.1:4711",65bb.2a,3,"UPDATE",2026-01-31 04:00:00 UTC,4/7,815,'
    'ERROR,40P01,"deadlock detected","Process 42 waits",,,,,"UPDATE a",,,"web","client backend",,0'
)
JSON = {"timestamp": TIME, "pid": 42, "error_severity": "ERROR", "state_code": "40P01", "message": "deadlock detected"}


def counted(*texts: str) -> dict[str, int]:
    """How many lines of each kind *texts* are, without the kinds that there are none of."""
    events = count_events((LogLine("postgres", "postgres-1", text, NOW) for text in texts), recent_since=NOW)
    return {row.kind: row.lines for row in events.itertuples() if row.lines and row.kind != "from csvlog or jsonlog"}


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME} [42] ERROR:  deadlock detected",
        f"{TIME} [42] web@flowrex ERROR:  deadlock detected at character 8",
        "ERROR:  deadlock detected",
        f"{TIME} [42] ERROR:  40P01: deadlock detected",
        f"user=a,db=b,app=LOG: x,client=::1 {TIME}: ERROR:  deadlock detected",
        f"2026-01-31T04:12:00.123456789Z stderr F {TIME} [42] ERROR:  deadlock detected",
        f"postgres-1  | {TIME} [42] ERROR:  deadlock detected",
        CSV,
        f"2026-01-31T04:12:00.123456789Z stdout F {CSV}",
        json.dumps(JSON),
        json.dumps({"level": "info", "logger": "postgres", "msg": "record", "record": JSON}),
        json.dumps({"log": f"{TIME} [42] ERROR:  deadlock detected\n", "stream": "stderr"}),
    ],
)
def test_a_deadlock_in_each_form(line: str) -> None:
    """PostgreSQL's own three, and what wraps them."""
    assert counted(line) == {UNDERSTOOD: 1, "deadlock": 1}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOG:  server process (PID 7) was terminated by signal 11: Segmentation fault", "ended process"),
        ("LOG:  terminating any other active server processes", "crash"),
        ("LOG:  database system was not properly shut down; automatic recovery in progress", "recovery"),
        ('ERROR:  invalid page in block 7 of relation "base/16387/24576"', "corruption"),
        ("ERROR:  invalid page in block 7 of relation base/16387/24576", "corruption"),
        ('ERROR:  could not read block 3 in file "base/1/2": read only 0 of 8192 bytes', "corruption"),
        ('ERROR:  could not read blocks 3..3 in file "base/1/2": Input/output error', "corruption"),
        ("WARNING:  page verification failed, calculated checksum 1 but expected 2", "corruption"),
        ('ERROR:  index "a_idx" contains unexpected zero page at block 7', "corruption"),
        ("ERROR:  missing chunk number 0 for toast value 815 in pg_toast_2619", "corruption"),
        ("ERROR:  out of shared memory", "lock table full"),
        ('PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device', "disk full"),
        ("LOG:  redirecting log output to logging collector process", ELSEWHERE),
        ("LOG:  ending log output to stderr", ELSEWHERE),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    """In PostgreSQL's words of several versions."""
    assert set(counted(f"{TIME} [42] {text}")) - {UNDERSTOOD} == {kind}


def test_what_is_quoted_is_not_said() -> None:
    """By a statement, in what belongs to the line before, in an error of somebody's own; and the archiver's own command."""
    words = "ERROR:  deadlock detected"
    assert counted(
        f"{TIME} [42] LOG:  statement: SELECT '{words}'",
        f"{TIME} [42] LOG:  duration: 3.1 ms  statement: SELECT 'LOG:  terminating any other active server processes'",
        f"{TIME} [42] STATEMENT:  SELECT '{words}'",
        f"\t{words}",
        f"2026-01-31T04:12:00.123456789Z stderr F \t{words}",
        f"{TIME} [42] DETAIL:  Process 42: {words}",
        f'{TIME} [42] CONTEXT:  SQL statement "{words}"',
        f'{TIME} [42] ERROR:  syntax error at or near "deadlock detected"',
        f"{TIME} [42] LOG:  archive command was terminated by signal 15: Terminated",
        json.dumps({"message": "deadlock detected", "level": "ERROR"}),
    ) == {UNDERSTOOD: 3}


def test_a_statement_of_csvlog_goes_on_in_lines_of_its_own() -> None:
    assert counted(CSV, "ERROR:  deadlock detected", "LOG:  terminating any other active server processes") == {
        UNDERSTOOD: 1,
        "deadlock": 1,
    }


@pytest.fixture
def platform(start_platform: Callable[[str], Sandbox]) -> Iterator[Sandbox]:
    return start_platform("supervisor")


def look(stack: Stack, service: str = "postgres", since: timedelta = timedelta(minutes=5)) -> dict[str, int]:
    source = ServerLogSource(stack, service, limit_seconds=30, max_bytes=2**20)
    events = source.get_events(since=since, log_minutes=5).require()
    return {row.kind: row.lines for row in events.itertuples()}


@pytest.mark.timeout(300)
def test_what_postgresql_logs(platform: Sandbox) -> None:
    """An orderly restart, a deadlock, a session whose process is killed, a damaged page; and a time in which nothing happened."""
    stack = platform.stack()
    quiet = look(stack, since=timedelta(0))
    assert quiet[UNDERSTOOD] >= 3, "its beginning tells that it is PostgreSQL's"
    assert quiet["crash"] == 0
    Deadlocks(1).inject(platform, {})
    before = look(stack)
    assert (before["deadlock"], before["crash"], before["corruption"]) == (1, 0, 0)
    BackendCrashed().inject(platform, {})
    DamagedPage().inject(platform, {})
    after = look(stack)
    assert {kind: after[kind] for kind in ("ended process", "crash", "recovery", "corruption", ELSEWHERE)} == {
        "ended process": 1,
        "crash": 1,
        "recovery": 1,
        "corruption": after["corruption"],
        ELSEWHERE: 0,
    }
    assert after["corruption"] >= 1


def test_a_service_that_is_not_there(supervisor_sandbox: Sandbox) -> None:
    """No log is no quiet log."""
    source = ServerLogSource(supervisor_sandbox.stack(), "db", limit_seconds=9, max_bytes=2**20)
    reading = source.get_events(since=timedelta(minutes=5), log_minutes=5)
    assert "no service 'db'; set postgres.service" in str(reading.error)
