"""A folder with tiny runbooks, and the real command in it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from serve_bench import COMMAND, write_runbook

from flowrex_ops.archive.records import Record, list_records
from flowrex_ops.jobs.table import JobTable

BUSY = "import pathlib, time\nwhile pathlib.Path(f'hold-{since}').exists(): time.sleep(0.02)"
"""A cell that lasts while there is a file named after the run's parameter ``since``."""


@dataclass(frozen=True)
class Yard:
    """The folder, its runbooks and its batches."""

    folder: Path

    @classmethod
    def prepare(cls, folder: Path) -> Yard:
        write_runbook(folder, "pool", BUSY)
        write_runbook(folder, "bad", "1 / 0")
        (folder / "staging.toml").write_text('platform = "staging"\n')
        (folder / "flowrex-ops.toml").write_text('platform = "production"\n')
        return cls(folder)

    def plan(self, text: str) -> Path:
        path = self.folder / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, in a process of its own."""
        command = [sys.executable, "-c", COMMAND, "batch", *arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
        return subprocess.Popen(
            command, cwd=self.folder, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def hold(self, since: str) -> None:
        (self.folder / f"hold-{since}").touch()

    def release(self, since: str) -> None:
        (self.folder / f"hold-{since}").unlink()

    def records(self) -> list[Record]:
        """Oldest first."""
        return list_records(self.folder / "outputs")[::-1]

    def waiting(self) -> list[Record]:
        """Records whose last cell runs."""
        return [record for record in self.records() if record.status == "running" and _last_runs(record)]

    def finished(self) -> int:
        """How many jobs the batches' tables have as finished."""
        return sum(_finished(path) for path in (self.folder / "outputs" / "batches").glob("*/jobs.sqlite"))


def _finished(path: Path) -> int:
    with contextlib.closing(JobTable(path)) as table:
        return len(table.jobs("finished"))


def _last_runs(record: Record) -> bool:
    cells = json.loads(record.path.read_text(encoding="utf-8"))["cells"]
    return bool(cells[-1]["metadata"]["flowrex_ops"]["state"] == "running")
