"""A real standby of the embedded PostgreSQL that receives everything and applies nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.observe import count
from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.processes import MARK, find_marked, kill
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.embedded.account import database_account
from flowrex_sandbox.stacks.embedded.parts import find_parts
from flowrex_sandbox.waiting import await_condition

NAME = "reports"
_BEHIND = "SELECT count(*) FROM pg_stat_replication WHERE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > {bytes}"
_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
_LOAD = "CREATE TABLE bulk_load AS SELECT repeat('x', 1000) AS row FROM generate_series(1, {rows})"


@dataclass(frozen=True, slots=True)
class StandbyBehind(Fault):
    """A standby for reports applies nothing (``recovery_min_apply_delay``), and a bulk load comes in."""

    name = "standby-behind"
    megabytes: int = 4

    def start(self, sandbox: Sandbox) -> None:
        folder = sandbox.home / "standby"
        parts, account = find_parts(), database_account()
        (port,) = pick_free_ports(1)
        dsn = f"{sandbox.admin_dsn.rpartition('/')[0]}/?application_name={NAME}"
        copy = [
            str(parts.postgres_bin / "pg_basebackup"),
            "-D",
            str(folder),
            "-d",
            dsn,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-N",
        ]
        _run([*account.prefix, *copy])
        settings = f"port = {port}\nhot_standby = off\nrecovery_min_apply_delay = '1h'\n"
        with (folder / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(settings)
        with (sandbox.home / "log" / "standby.log").open("ab") as log:
            subprocess.Popen(
                [*account.prefix, str(parts.postgres_bin / "postgres"), "-D", str(folder)],
                cwd=folder,
                env={**os.environ, MARK: str(sandbox.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await_condition(lambda: count(sandbox, _STREAMING) == 1, "the standby followed", timeout_seconds=30)
        # It waits before it applies a commit, and then applies nothing that comes after that.
        sandbox.execute("SELECT pg_current_xact_id()")
        sandbox.execute(_LOAD.format(rows=1000 * self.megabytes))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _BEHIND.format(bytes=1024 * 1024 * (self.megabytes - 1))) == 1

    def stop(self, sandbox: Sandbox) -> None:
        folder = sandbox.home / "standby"
        if not folder.exists():
            return
        kill(process for process in find_marked(sandbox.home) if str(folder) in process.command)
        shutil.rmtree(folder, ignore_errors=True)
        sandbox.execute("DROP TABLE IF EXISTS bulk_load")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=Path("/"))
    if done.returncode:
        raise SandboxError(f"pg_basebackup failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
