"""A real Alertmanager sends what amtool gives it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import missing_part
from serve_bench import Server, until

from flowrex_sandbox.ports import pick_free_ports

TOKEN = "open-sesame-open-sesame"


class Alertmanager:
    """One that sends everything to *server* at once."""

    def __init__(self, server: Server, folder: Path) -> None:
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if program is None or shutil.which("amtool") is None:
            missing_part("Alertmanager")
        hook = {
            "url": f"{server.url}/alertmanager",
            "send_resolved": True,
            "http_config": {"authorization": {"type": "Bearer", "credentials": TOKEN}},
        }
        times = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
        configuration = {
            "route": {"receiver": "flowrex-ops", "group_by": ["platform"], **times},
            "receivers": [{"name": "flowrex-ops", "webhook_configs": [hook]}],
        }
        (folder / "alertmanager.yml").write_text(json.dumps(configuration))
        (port,) = pick_free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        files = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
        listen = ["--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}"]
        self.process = subprocess.Popen(
            [program, *files, *listen], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: self.amtool("alert", "query").returncode == 0)

    def amtool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["amtool", f"--alertmanager.url={self.url}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


@pytest.fixture
def served(prepare: Callable[..., Server], tmp_path: Path) -> Iterator[tuple[Server, Alertmanager]]:
    server = prepare(f'token = "{TOKEN}"')
    server.token = TOKEN
    server.start()
    alertmanager = Alertmanager(server, tmp_path)
    yield server, alertmanager
    alertmanager.process.terminate()
    alertmanager.process.wait(timeout=20)


def test_what_amtool_adds_is_run_and_its_end_verified(served: tuple[Server, Alertmanager]) -> None:
    """Two alerts of one runbook in one group: one incident, one run; once both have ended, one verification."""
    server, alertmanager = served
    labels = ["severity=P1", "platform=flowrex"]
    summary = "--annotation=summary=every pooled connection is in use"
    for name in ("PoolExhausted", "PoolErrors"):
        added = alertmanager.amtool("alert", "add", f"alertname={name}", *labels, summary)
        assert added.returncode == 0, added.stderr
    until(lambda: len([line for line in alerts_of(server) if line["state"] == "firing"]) >= 2)
    until(lambda: [record for record in server.records() if record.status == "complete"])
    now = datetime.now(UTC) + timedelta(seconds=1)
    for name in ("PoolExhausted", "PoolErrors"):
        ended = alertmanager.amtool(
            "alert", "add", f"alertname={name}", *labels, summary, f"--end={now:%Y-%m-%dT%H:%M:%SZ}"
        )
        assert ended.returncode == 0, ended.stderr
    until(lambda: [line for line in server.timeline() if line["kind"] == "verification"])
    triggers = [record.metadata.trigger for record in server.records()]
    assert triggers[-1].endswith("verification")
    assert {record.metadata.runbook for record in server.records()} == {"pool"}
    assert {line["alertname"] for line in alerts_of(server)} == {"PoolExhausted", "PoolErrors"}


def alerts_of(server: Server) -> list[dict[str, object]]:
    return [line for line in server.timeline() if line["kind"] == "alert"] if list(server.outputs.glob("INC-*")) else []
