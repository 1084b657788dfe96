"""A real standby of the embedded PostgreSQL that receives everything and applies nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.observe import count
from flowrex_sandbox.faults.pool import FAST
from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.processes import MARK, command_of, find_marked, kill
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.embedded.account import database_account
from flowrex_sandbox.stacks.embedded.parts import find_parts
from flowrex_sandbox.waiting import await_condition

_BEHIND = "SELECT count(*) FROM pg_stat_replication WHERE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > {bytes}"
_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
_RELOADED = 'parameter "recovery_min_apply_delay" changed'
_LOAD = "CREATE TABLE bulk_load AS SELECT repeat('x', 1000) AS row FROM generate_series(1, {rows})"
_SETTINGS = "port = {port}\nhot_standby = off\n"
_DELAY = "recovery_min_apply_delay = '1h'\n"


class StandbyBehind(Fault):
    """A standby applies nothing, and a bulk load comes in."""

    megabytes: int = 4

    def start(self, sandbox: Sandbox) -> None:
        folder, log = sandbox.home / "standby", sandbox.home / "log" / "standby.log"
        programs, account = find_parts().postgres_bin, database_account()
        primary = f"{sandbox.admin_dsn.rpartition('/')[0]}/?application_name=reports"
        copy = f"{programs}/pg_basebackup -D {folder} -d {primary} --write-recovery-conf --checkpoint=fast --no-sync"
        done = subprocess.run([*account.prefix, *copy.split()], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise SandboxError(f"pg_basebackup failed: {done.stderr.strip()}")
        configuration = folder / "postgresql.auto.conf"
        with configuration.open("a", encoding="utf-8") as file:
            file.write(_SETTINGS.format(port=pick_free_ports(1)[0]))
        with log.open("ab") as output:
            standby = subprocess.Popen(
                [*account.prefix, str(programs / "postgres"), "-D", str(folder)],
                cwd=folder,
                env={**os.environ, MARK: str(sandbox.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        await_condition(
            lambda: count(sandbox, _STREAMING) == 1,
            "the standby followed",
            timeout_seconds=60,
            details=lambda: log.read_text(encoding="utf-8", errors="replace")[-800:],
        )
        # Only now, or it might wait for an hour before it follows. It waits before it applies a commit, and then applies nothing more.
        with configuration.open("a", encoding="utf-8") as file:
            file.write(_DELAY)
        standby.send_signal(signal.SIGHUP)
        await_condition(
            lambda: _RELOADED in log.read_text(encoding="utf-8"), "the standby was told", timeout_seconds=30
        )
        sandbox.execute("SELECT pg_current_xact_id()")
        sandbox.execute(_LOAD.format(rows=1000 * self.megabytes))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _BEHIND.format(bytes=1024 * 1024 * (self.megabytes - 1))) == 1

    def stop(self, sandbox: Sandbox) -> None:
        folder = sandbox.home / "standby"
        if folder.exists():
            kill(process for process in find_marked(sandbox.home) if str(folder) in command_of(process))
            shutil.rmtree(folder, ignore_errors=True)
            sandbox.execute("DROP TABLE IF EXISTS bulk_load")


drill = drills_of("database_connections", **FAST, lag_megabytes=3)
DRILLS = (drill("standby-behind", StandbyBehind(), expected="db.replication-lag", stacks=("supervisor",)),)
