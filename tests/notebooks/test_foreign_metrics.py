"""A backend whose /metrics are not the sandbox's: what it does not tell is unknown, and the runbook goes on."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flowrex_ops.record.runbook import run_runbook
from flowrex_sandbox.sandbox import Sandbox

METRICS = """\
process_resident_memory_bytes 9.7333248e+07
process_open_fds 30.0
http_requests_total{handler="/api/v1/trades",method="GET",status="200"} 272.0
http_requests_total{handler="/metrics",method="GET",status="200"} 20.0
flowrex_database_connections 1.0
flowrex_websocket_connections 6.0
flowrex_trades_total{side="buy",symbol="GBPUSD"} 142.0
flowrex_trades_created{side="buy",symbol="GBPUSD"} 1.7958135492818055e+09
"""


@pytest.fixture
def backend() -> Iterator[str]:
    """It answers everything with its metrics; there is no gauge of the pool's size among them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_args: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_pool_of_unknown_size_is_neither_full_nor_well(
    backend: str, supervisor_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chart says so, the pool's hypothesis is inconclusive, and PostgreSQL decides the others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_BACKEND__URLS", f'["{backend}"]')

    result = run_runbook("database_connections", {"settings": str(supervisor_sandbox.settings_file)})

    verdicts = {verdict.cause: verdict for verdict in result.verdicts}
    assert result.status.value == "partial", result.reason
    assert {cause for cause, one in verdicts.items() if one.kind == "inconclusive"} == {
        "db.pool-saturated",
        "db.unexplained-pool-exhaustion",
    }
    assert "set backend.pool_size" in verdicts["db.pool-saturated"].reason
    assert "Pools: 0 of 1 replicas have none left; 1 do not tell their size" in result.record.read_text(
        encoding="utf-8"
    )
