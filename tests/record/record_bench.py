"""Tiny notebooks, and a runner in a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
from nbformat import v4

from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.record.events import OnEvent, ignore
from flowrex_ops.record.result import RunResult
from flowrex_ops.record.run import run_notebook
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

PARAMETERS = 'operator = ""\nsettings = ""'


def shows(payload: dict[str, Any]) -> str:
    """Source of a cell that displays *payload* the way Investigation does."""
    bundle = {"text/plain": str(payload.get("kind")), OUTCOME_MIME_TYPE: payload}
    return f"display({bundle!r}, raw=True)"


def confirmed(cause: str = "db.idle-in-transaction", severity: str = "P1") -> dict[str, Any]:
    """A verdict output with its finding."""
    finding = {"cause": cause, "severity": severity, "title": f"{cause} it is", "evidence": [], "next_steps": []}
    verdict = {"cause": cause, "verdict": "confirmed", "reason": "5 sessions", "evidence": [], "severity": severity}
    return {"kind": "verdict", **verdict, "finding": finding}


def verdict(cause: str, answer: str) -> dict[str, Any]:
    """A verdict output that is no finding."""
    return {
        "kind": "verdict",
        "cause": cause,
        "verdict": answer,
        "reason": "as read",
        "severity": None,
        "finding": None,
    }


@dataclass(frozen=True)
class Bench:
    """A folder to run tiny notebooks in."""

    folder: Path

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def notebook(self, *sources: str) -> Path:
        """A notebook with a title, a parameters cell, and a heading before each of the *sources*."""
        cells = [v4.new_markdown_cell("# A runbook"), v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
        for number, source in enumerate(sources, start=1):
            cells += [v4.new_markdown_cell(f"## Step {number}"), v4.new_code_cell(source)]
        path = self.folder / f"{uuid4().hex}.ipynb"
        nbformat.write(
            v4.new_notebook(cells=cells, metadata={"flowrex_ops": {"runbook": "database_connections"}}), path
        )
        return path

    def run(
        self,
        *sources: str,
        secrets: tuple[str, ...] = (),
        parameters: dict[str, Any] | None = None,
        on_event: OnEvent = ignore,
        incident_id: str | None = None,
        **limits: float,
    ) -> RunResult:
        """Run a notebook of *sources* in this process."""
        return run_notebook(
            self.notebook(*sources),
            parameters or {},
            folder=self.outputs,
            incident_id=incident_id,
            runbook="database_connections",
            title="Database connections",
            settings=Settings(),
            redactor=Redactor(secrets),
            on_event=on_event,
            **limits,
        )

    def runner(self, *sources: str) -> Runner:
        """Start a notebook of *sources* in a process of its own."""
        return Runner.start(self.notebook(*sources), self.outputs)


RUNNER = """
import json, sys
from pathlib import Path
from flowrex_ops.errors import FlowrexOpsError
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.record.run import run_notebook
from flowrex_ops.settings import Settings

def tell(event):
    fields = {name: getattr(event, name) for name in event.__slots__}
    text = json.dumps({"event": type(event).__name__, **fields}, default=lambda one: getattr(one, "to_dict", one.__str__)())
    print(text, flush=True)

try:
    result = run_notebook(
        Path(sys.argv[1]), {}, folder=Path(sys.argv[2]), incident_id=None, runbook="database_connections",
        title="Database connections", settings=Settings(), redactor=Redactor(), on_event=tell,
    )
    print(json.dumps({"event": "result", **result.to_json()}), flush=True)
except FlowrexOpsError as error:
    print(json.dumps({"event": "error", "type": type(error).__name__, "text": str(error)}), flush=True)
"""


@dataclass
class Runner:
    """A run in a process of its own; its events come as lines of JSON."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, notebook: Path, outputs: Path) -> Runner:
        command = [sys.executable, "-c", RUNNER, str(notebook), str(outputs)]
        return cls(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def wait_for(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next event of this name with these fields."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name and all(event[key] == value for key, value in fields.items()):
                return event
        raise AssertionError(f"the runner ended without {name} {fields}")

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> str:
        """Wait for the process to end; what it wrote to stderr."""
        return self.process.communicate(timeout=10)[1]


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def read(path: Path) -> nbformat.NotebookNode:
    """The record at *path*, which must be a valid notebook."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def states(path: Path) -> list[str]:
    """The state of each code cell of a record."""
    return [cell.metadata.flowrex_ops.state for cell in read(path).cells if cell.cell_type == "code"]
