"""A capture keeps the lines of logs too, which the parsers of today read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import in_process
import pytest

from flowrex_ops.compose.logfiles import read_log_file
from flowrex_ops.copied.lines import keep_lines, read_lines
from flowrex_ops.model import LogLine
from flowrex_ops.settings import load
from flowrex_sandbox.sandbox import Sandbox


def test_lines_are_kept_and_read_again(supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """Of each service's replicas, without the platform's own secrets; the same requests are counted in them."""
    settings = str(supervisor_sandbox.settings_file)
    captured = ("capture", "-o", "site", "--runbook", "error_rate", "--settings", settings)
    code, out, err = in_process.call(*captured, cwd=tmp_path)
    assert code == 0, out + err
    logs = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "site/copies/logs").iterdir()}
    assert {"backend-1", "backend-2", "backend-3", "nginx-1", "postgres-1"} <= logs.keys()
    assert "/api/trades" in logs["nginx-1"]
    assert "replica=2" in logs["backend-2"]

    code, out, err = in_process.call("run", "error_rate", "--from", "site/copies", "--json", cwd=tmp_path)
    said = {one["cause"]: one["reason"] for one in json.loads(out)["verdicts"] if one["verdict"] == "ruled out"}
    assert code == 0, err
    assert "requests" in said["http.single-route"], said


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A stack that is not there costs the lines, and nothing else."""
    (tmp_path / "flowrex-ops.toml").write_text(f'[stack]\nkind = "supervisor"\nsocket = "{tmp_path}/none.sock"\n')
    code, out, err = in_process.call("capture", "-o", "site", "--runbook", "certificate_expiry", cwd=tmp_path)
    assert (code, "no lines of logs are kept: " in err) == (0, True), out + err


def test_a_full_disk_is_said(supervisor_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each service a line, and no traceback at the end of a capture that has all else."""
    settings = load(str(supervisor_sandbox.settings_file))
    (tmp_path / "copies" / "logs").mkdir(parents=True)
    for name in ("postgres-1", "redis-1"):
        (tmp_path / "copies" / "logs" / f"{name}.log").mkdir()  # nothing can take its place
    said = keep_lines(settings, tmp_path / "copies", since=timedelta(hours=1))
    assert [line.partition(":")[0] for line in said] == ["no lines of 'postgres'", "no lines of 'redis'"]


AT = datetime(2026, 11, 30, 4, 12, tzinfo=UTC)
WITHOUT_TIMES = [
    'INFO:     172.19.0.1:4000 - "GET /v1/quotes/EURUSD HTTP/1.1" 500 Internal Server Error',
    "ERROR:    Exception in ASGI application",
    "Traceback (most recent call last):",
    '  File "/app/desk.py", line 3, in quote',
    "ValueError: no such thing",
]
"""As uvicorn writes it: the time is Docker's alone."""


class Desk:
    """A stack of which nobody wants more than two entries, a minute apart."""

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        for minutes in (0, 1):
            at = AT + timedelta(minutes=minutes)
            yield from (LogLine(service, "desk-1", text, at) for text in WITHOUT_TIMES)


def test_lines_without_a_time_keep_that_of_their_container(tmp_path: Path) -> None:
    """In front of each entry, and not within: a traceback stays whole."""
    lines = read_lines(Desk(), "desk", AT)["desk-1"]  # type: ignore[arg-type]  # it reads logs, and nothing else is asked
    assert lines[0] == f"{AT.isoformat()} {WITHOUT_TIMES[0]}"
    assert lines[1:5] == WITHOUT_TIMES[1:]
    (tmp_path / "desk-1.log").write_text("\n".join(lines))
    again = list(read_log_file(tmp_path / "desk-1.log", service="desk", replica="desk-1", since=AT, max_bytes=10**6))
    assert [line.at for line in again] == [AT] * 5 + [AT + timedelta(minutes=1)] * 5
