"""PostgreSQL itself is gone, or there and silent."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass

import psycopg

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_sandbox import processes
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_STOP_SECONDS = 20.0
_SILENCE_SECONDS = 2
"""How long a connection must go unanswered; libpq knows no shorter limit."""


@dataclass(frozen=True, slots=True)
class PostgresStopped(Fault):
    """PostgreSQL was stopped; its port refuses."""

    name = "postgres-stopped"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.stack().stop(_postgres(sandbox), timeout_seconds=_STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not _postgres(sandbox).running

    def stop(self, sandbox: Sandbox) -> None:
        replica = _postgres(sandbox)
        if not replica.running:
            sandbox.stack().start(replica, timeout_seconds=_STOP_SECONDS)
        await_condition(lambda: answers(sandbox), "PostgreSQL answered", timeout_seconds=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class PostgresHanging(Fault):
    """Every process of PostgreSQL is halted: its port accepts, and nobody answers."""

    name = "postgres-hanging"

    def start(self, sandbox: Sandbox) -> None:
        halt(sandbox, _postgres(sandbox), halted=True)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not answers(sandbox)

    def stop(self, sandbox: Sandbox) -> None:
        halt(sandbox, _postgres(sandbox), halted=False)


def answers(sandbox: Sandbox) -> bool:
    """Whether PostgreSQL answers a new connection within two seconds."""
    try:
        psycopg.connect(sandbox.admin_dsn, connect_timeout=_SILENCE_SECONDS).close()
    except psycopg.OperationalError:
        return False
    return True


def _postgres(sandbox: Sandbox) -> Replica:
    return sandbox.stack().get_replicas("postgres")[0]


def halt(sandbox: Sandbox, replica: Replica, *, halted: bool) -> None:
    """Halt every process of *replica* where it is, or let it go on."""
    if sandbox.state.stack == "compose":
        _pause_container(replica, paused=halted)
    elif replica.running:
        pid = int(replica.identity.rsplit(":", 2)[1])
        tree = [p for p in processes.list_processes() if p.pid == pid] + processes.descendants(pid)
        for process in tree:
            processes.send(process, signal.SIGSTOP if halted else signal.SIGCONT)


def _pause_container(replica: Replica, *, paused: bool) -> None:
    if (replica.state == "paused") is paused or replica.state not in ("paused", "running"):
        return
    verb = "pause" if paused else "unpause"
    container = replica.identity.partition("@")[0]
    done = subprocess.run(["docker", verb, container], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"docker {verb} failed: {done.stderr.strip()}; look with 'docker ps'")
