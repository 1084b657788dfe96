"""Runbooks where everything that they ask is gone, or accepts and never answers: they finish, and say so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrex_ops.record.runbook import run_runbook

SECRETS = ("s3cret-pw", "t0p-s3cret-token")
SETTINGS = """
platform = "gone"
[stack]
kind = "supervisor"
socket = "{folder}/none.sock"
[postgres]
dsn = "postgresql://x:s3cret-pw@127.0.0.1:{port}/x"
[backend]
urls = ["http://127.0.0.1:{port}"]
[broker]
url = "http://127.0.0.1:{port}"
token = "t0p-s3cret-token"
[limits]
reading_seconds = 2.0
"""


@pytest.fixture(params=[pytest.param("refuses", marks=pytest.mark.thorough), "never answers"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which nobody listens, or one that accepts and stays silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        number = int(server.getsockname()[1])
        if request.param == "refuses":
            server.close()
        yield number


@pytest.mark.parametrize(
    ("runbook", "diagnosis", "verdicts"),
    [
        pytest.param("trade_failures", "trades.database", {"confirmed", "inconclusive"}, marks=pytest.mark.thorough),
        ("error_rate", None, {"inconclusive"}),
    ],
)
def test_it_finishes(
    runbook: str, diagnosis: str | None, verdicts: set[str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, no secret, a bounded time; what could not be read is inconclusive, never ruled out."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "gone.toml"
    file.write_text(SETTINGS.format(folder=tmp_path, port=port), encoding="utf-8")
    started = time.monotonic()

    result = run_runbook(runbook, {"settings": str(file)})

    assert time.monotonic() - started < 60
    assert result.status.value == "partial"
    assert result.diagnosis == diagnosis
    assert {verdict.kind.value for verdict in result.verdicts} == verdicts
    text = result.record.read_text(encoding="utf-8") + result.html.read_text(encoding="utf-8")
    assert [word for word in ("Traceback", *SECRETS) if word in text] == []


@pytest.mark.thorough
def test_memory_usage_finishes(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither stack nor Redis nor Prometheus every hypothesis stays open, and none is called healthy."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "gone.toml"
    more = f'\n[redis]\nurl = "redis://:s3cret-pw@127.0.0.1:{port}/0"\n[prometheus]\nurl = "http://127.0.0.1:{port}"\n'
    file.write_text(SETTINGS.format(folder=tmp_path, port=port) + more, encoding="utf-8")

    result = run_runbook("memory_usage", {"settings": str(file)})

    assert (result.status.value, result.diagnosis) == ("partial", None)
    assert {verdict.kind.value for verdict in result.verdicts} == {"inconclusive"}
    text = result.record.read_text(encoding="utf-8") + result.html.read_text(encoding="utf-8")
    assert [word for word in ("Traceback", *SECRETS) if word in text] == []
