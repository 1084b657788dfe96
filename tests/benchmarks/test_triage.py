"""How long triage takes where every source accepts and never answers: five seconds is what it promises."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.record.runbook import run_runbook
from flowrex_sandbox.sandbox import to_toml


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """A settings file that leads everywhere to somebody who never answers."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "silent.sock"))
        local.listen(256)
        kept: list[socket.socket] = []
        for one in (server, local):
            threading.Thread(
                target=lambda one=one: [kept.append(one.accept()[0]) for _ in range(10_000)], daemon=True
            ).start()  # type: ignore[misc]  # a default binds it
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        settings: dict[str, Any] = {
            "outputs": str(tmp_path / "outputs"),
            "stack": {"kind": "supervisor", "socket": str(tmp_path / "silent.sock")},
            "postgres": {"dsn": f"postgresql://x:pw@127.0.0.1:{port}/x"},
            "redis": {"url": f"redis://127.0.0.1:{port}/0"},
            "backend": {"urls": [url] * 3},
            "front_door": {"url": url},
            "tls": {"endpoints": [f"127.0.0.1:{port}"]},
            "prometheus": {"url": url},
            "sentry": {"url": url, "token": "not-a-token"},
            "status_pages": {"one": url, "other": url},
        }
        file = tmp_path / "silent.toml"
        file.write_text(to_toml(settings), encoding="utf-8")
        yield file


def test_triage_with_everything_silent(benchmark: Any, silent: Path) -> None:
    """Kernel, readings, record and page, as ``flowrex-ops triage`` does it."""
    result = benchmark.pedantic(run_runbook, args=("triage", {"settings": str(silent)}), rounds=3, iterations=1)
    assert result.status.value == "partial"
