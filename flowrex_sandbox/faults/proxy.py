"""NGINX itself is gone, or there and silent; and how it is told to reload."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from http import HTTPStatus

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_sandbox import processes
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.outage import halt
from flowrex_sandbox.health import await_front_door
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.waiting import await_condition

_STOP_SECONDS = 20.0
_SILENCE_SECONDS = 1.0
_RELOAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NginxStopped(Fault):
    """NGINX was stopped; its ports refuse."""

    name = "nginx-stopped"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.stack().stop(nginx(sandbox), timeout_seconds=_STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not nginx(sandbox).running

    def stop(self, sandbox: Sandbox) -> None:
        if not has_nginx(sandbox) or (replica := nginx(sandbox)).running:
            return
        sandbox.stack().start(replica, timeout_seconds=_STOP_SECONDS)
        await_front_door(sandbox, timeout_seconds=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class NginxHanging(Fault):
    """Every process of NGINX is halted: its ports accept, and nobody answers."""

    name = "nginx-hanging"

    def start(self, sandbox: Sandbox) -> None:
        halt(sandbox, nginx(sandbox), halted=True)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return get_answer(f"{sandbox.url}/health/ready", timeout_seconds=_SILENCE_SECONDS) != HTTPStatus.OK

    def stop(self, sandbox: Sandbox) -> None:
        if has_nginx(sandbox):
            halt(sandbox, nginx(sandbox), halted=False)


def has_nginx(sandbox: Sandbox) -> bool:
    """Whether NGINX is part of this sandbox; on a machine without it users go straight to the backend."""
    return "http" in sandbox.state.ports


def nginx(sandbox: Sandbox) -> Replica:
    """The proxy."""
    found = sandbox.stack().get_replicas("nginx")
    if not found:
        raise SandboxError("this sandbox has no NGINX; install it and start a new sandbox")
    return found[0]


def clear_control(sandbox: Sandbox) -> None:
    """Take away what a procedure has put into NGINX's configuration, such as a maintenance page."""
    if empty_control(sandbox) and nginx(sandbox).running:
        reload_nginx(sandbox)


def empty_control(sandbox: Sandbox) -> bool:
    """Take the files alone away; whether there were any. With a broken one NGINX would neither reload nor start."""
    left = list(sandbox.control.glob("*.conf")) if has_nginx(sandbox) else []
    for file in left:
        file.unlink()
    return bool(left)


def reload_nginx(sandbox: Sandbox) -> None:
    """Let NGINX read its configuration and certificates again, the way the playbook does; returns once the new one serves.

    The workers from before are asked to go and accept connections until they notice; a test that asked earlier could get
    the answer of either.
    """
    replica = nginx(sandbox)
    before = {process.pid for process in _workers(sandbox)}
    if sandbox.state.stack == "compose":
        docker("exec", replica.identity.partition("@")[0], "nginx", "-s", "reload")
    else:
        pid = int(replica.identity.split(":")[1])
        for process in processes.list_processes():
            if process.pid == pid:
                processes.send(process, signal.SIGHUP)
    await_condition(
        lambda: not before & {process.pid for process in _workers(sandbox)},
        "NGINX's workers were replaced",
        timeout_seconds=_RELOAD_SECONDS,
    )


def _workers(sandbox: Sandbox) -> list[processes.Process]:
    """The workers that accept connections; those that were told to go have another title."""
    replica = nginx(sandbox)
    if sandbox.state.stack == "compose":
        container = replica.identity.partition("@")[0]
        master = int(docker("inspect", "--format", "{{.State.Pid}}", container))
    else:
        master = int(replica.identity.split(":")[1])
    family = processes.descendants(master)
    return [process for process in family if process.command.strip() == "nginx: worker process"]
