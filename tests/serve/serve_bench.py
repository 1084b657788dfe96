"""A real ``serve`` in a process of its own, with a runbook that takes as long as a file says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nbformat
from nbformat import v4

from flowrex_ops.archive import timeline
from flowrex_ops.archive.records import Record, list_records

PARAMETERS = """incident_id: str = ""
since: str = "30m"
approve: list[str] = []
operator: str = ""
settings: str = ""
"""
BUSY = "import pathlib, time\nwhile pathlib.Path('hold').exists(): time.sleep(0.02)"
COMMAND = "from flowrex_ops.cli import main; main()"


def write_runbook(folder: Path, slug: str, *sources: str, alerts: Sequence[str] = ()) -> Path:
    """A runbook of *sources* under *folder*."""
    cells = [v4.new_markdown_cell(f"# {slug}"), v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [v4.new_code_cell(source) for source in sources]
    about = {"runbook": slug, "title": slug.title(), "alerts": list(alerts), "severity": "P2"}
    path = folder / f"{slug}.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata={"flowrex_ops": about}), path)
    return path


def an_alert(
    name: str = "PoolExhausted", fingerprint: str = "f1", status: str = "firing", start: int = 0
) -> dict[str, Any]:
    """One alert as Alertmanager has it; *start* is a minute."""
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "P1"},
        "annotations": {"summary": f"{name} for a test"},
        "startsAt": f"2026-01-02T03:{start:02d}:00.123456789Z",
        "endsAt": f"2026-01-02T03:{start:02d}:30Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": fingerprint,
    }


def a_payload(*alerts: dict[str, Any], group: str = "{}:{}") -> dict[str, Any]:
    """A notification of *alerts*."""
    return {
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
        "receiver": "flowrex",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
    }


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until *condition* is true, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


@dataclass
class Server:
    """A folder with runbooks and settings, and the server that works in it (again and again)."""

    folder: Path
    options: str = ""
    process: subprocess.Popen[str] | None = None
    url: str = ""
    said: list[str] = field(default_factory=list)
    token: str = ""

    @classmethod
    def prepare(cls, folder: Path, options: str = "") -> Server:
        """Runbooks: triage, and pool for PoolExhausted and PoolErrors; both last while the file ``hold`` exists."""
        (folder / "notebooks").mkdir(parents=True)
        write_runbook(folder / "notebooks", "triage", BUSY)
        write_runbook(folder / "notebooks", "pool", BUSY, alerts=["PoolExhausted", "PoolErrors"])
        (folder / "flowrex-ops.toml").write_text(f"[serve]\n{options}\n")
        return cls(folder, options)

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def start(self, *arguments: str, code: str = COMMAND, notebooks: str = "notebooks") -> Server:
        """Start it and wait until it listens; *code* may cut it off at a chosen moment, no *notebooks* means ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
        own = ["--notebooks", notebooks] if notebooks else []
        command = [sys.executable, "-c", code, "serve", "--port", "0", *own, *arguments]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.url = ""
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        until(lambda: self.url or self.process is None or self.process.poll() is not None)
        assert self.url, self.said
        return self

    def send(self, payload: object, **options: Any) -> httpx.Response:
        """What Alertmanager does."""
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        }
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return httpx.post(
            f"{self.url}/alertmanager",
            content=content,
            headers=headers | options.pop("headers", {}),
            timeout=20,
            **options,
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, **options)

    def hold(self) -> None:
        """Runs do not end."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        """Runs end."""
        (self.folder / "hold").unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, of the server alone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=40)

    def records(self) -> list[Record]:
        """Oldest first."""
        return list_records(self.outputs)[::-1]

    def busy(self) -> bool:
        """Whether a run has come to its last cell, which waits."""
        texts = [record.path.read_text(encoding="utf-8") for record in self.records() if record.status == "running"]
        return any(json.loads(text)["cells"][-1]["metadata"]["flowrex_ops"]["state"] == "running" for text in texts)

    def is_idle(self) -> bool:
        """Nothing runs, and nothing waits."""
        metrics = self.get("/metrics").text
        idle = "flowrex_ops_queue_length 0.0" in metrics and "flowrex_ops_runs_running 0.0" in metrics
        return idle and all(record.status != "running" for record in self.records())

    def ended(self, count: int) -> list[Record]:
        """Wait until *count* records are there and none of them runs, and nothing waits."""
        until(lambda: self.is_idle() and len(self.records()) >= count)
        assert len(self.records()) == count, [record.metadata.trigger for record in self.records()]
        return self.records()

    def timeline(self) -> list[dict[str, Any]]:
        """The only incident's."""
        (folder,) = self.outputs.glob("INC-*")
        return timeline.read(folder)

    def stop(self) -> None:
        """Whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            until(lambda: "stopping" in "\n".join(self.said) or self.process is None or self.process.poll() is not None)
            self.process.send_signal(signal.SIGTERM)  # the second cuts the grace short
            self.process.wait(timeout=40)
        self.release()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.said.append(line.rstrip())
            found = re.search(r"listening on (\S+)/alertmanager", line)
            if found:
                self.url = found[1]
