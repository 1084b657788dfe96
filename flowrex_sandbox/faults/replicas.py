"""What is done to a replica from below: its processes halted, killed, and a command run in its container."""

from __future__ import annotations

import signal

from flowrex_ops.model import Replica
from flowrex_sandbox.processes import container_of, family, kill, pid_of, send
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.waiting import await_condition

RESTART_SECONDS = 30.0


def halt(sandbox: Sandbox, replica: Replica, *, halted: bool) -> None:
    """Halt every process of *replica* where it is, or let it go on."""
    if sandbox.state.stack == "compose":
        if replica.state == ("running" if halted else "paused"):
            docker("pause" if halted else "unpause", container_of(replica))
    elif replica.running:
        for process in family(pid_of(replica)):
            send(process, signal.SIGSTOP if halted else signal.SIGCONT)


def kill_replica(sandbox: Sandbox, replica: Replica, *, from_within: bool) -> None:
    """End the replica's process at once. In a container only what ends *from_within* is started again by Docker itself."""
    if sandbox.state.stack == "supervisor":
        kill(family(pid_of(replica))[:1])
    elif from_within:
        # All but the container's init, which then ends too; the shell may be gone before it can say so.
        run_inside(replica, "sh", "-c", "kill -KILL -1; true")
    else:
        docker("kill", "-s", "KILL", container_of(replica))
    await_condition(
        lambda: _identity(sandbox, replica.name) != replica.identity,
        f"{replica.name} ended",
        timeout_seconds=RESTART_SECONDS,
    )


def run_inside(replica: Replica, *command: str) -> str:
    """What *command* prints in the replica's container."""
    return docker("exec", container_of(replica), *command)


def _identity(sandbox: Sandbox, name: str) -> str:
    """Of the replica of that name; empty while it does not run."""
    return next((replica.identity for replica in sandbox.replicas() if replica.name == name), "")
