"""A service is gone, crashes again and again, or has no room to write; and what others announce."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrex_ops.model import Replica
from flowrex_sandbox import processes
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.outside import set_fault
from flowrex_sandbox.faults.proxy import nginx
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.waiting import await_condition

_RESTART_SECONDS = 30.0
_TIMES = 2
_FILE = "/var/cache/flowrex/core.1"


@dataclass(frozen=True, slots=True)
class ReplicaCrashing(Fault):
    """A replica's process dies again and again, and is started again each time."""

    name = "replica-crashing"

    def start(self, sandbox: Sandbox) -> None:
        for _ in range(_TIMES):
            replica = _first(sandbox)
            _crash(sandbox, replica)
            await_condition(
                lambda before=replica: _is_another(before, _first(sandbox)),  # type: ignore[misc]
                f"{replica.name} was started again",
                timeout_seconds=_RESTART_SECONDS,
            )
            await_backends(sandbox, timeout_seconds=_RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _first(sandbox).restarts >= _TIMES

    def stop(self, sandbox: Sandbox) -> None:
        """A restart by hand begins a new count."""
        for replica in sandbox.stack().get_replicas("backend"):
            if replica.restarts and replica.running:
                sandbox.stack().restart(replica, timeout_seconds=_RESTART_SECONDS)
                await_backends(sandbox, timeout_seconds=_RESTART_SECONDS)


@dataclass(frozen=True, slots=True)
class DiskFilled(Fault):
    """NGINX's cache, a filesystem of its own, has no room left. Under supervisord there is none that is ours to fill."""

    name = "disk-filled"

    def start(self, sandbox: Sandbox) -> None:
        # dd ends with an error once there is no room left; that is what is wanted.
        script = f"dd if=/dev/zero of={_FILE} bs=1M 2>/dev/null; true"
        docker("exec", _container(sandbox), "sh", "-c", script)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return docker("exec", _container(sandbox), "sh", "-c", f"df --output=avail {_FILE} | tail -1").strip() == "0"

    def stop(self, sandbox: Sandbox) -> None:
        if sandbox.state.stack == "compose" and nginx(sandbox).running:
            docker("exec", _container(sandbox), "rm", "-f", _FILE)


@dataclass(frozen=True, slots=True)
class Announced(Fault):
    """Something that an outside service says of itself, or does not: Sentry, or a status page."""

    name = "announced"
    service: str = "status-pages"
    fault: Mapping[str, Any] = field(default_factory=dict)

    def start(self, sandbox: Sandbox) -> None:
        set_fault(sandbox, self.service, self.fault)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return bool(get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1))

    def stop(self, sandbox: Sandbox) -> None:
        if get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1):
            for service in ("status-pages", "sentry"):
                set_fault(sandbox, service, {})


def outage(page: str, impact: str = "critical") -> Announced:
    """A status page announces an incident of that impact."""
    return Announced("status-pages", {"fault": "outage", "page": page, "impact": impact})


def new_issues() -> Announced:
    """Sentry has an issue that was never seen before."""
    return Announced("sentry", {"fault": "issues"})


def _first(sandbox: Sandbox) -> Replica:
    return sandbox.stack().get_replicas("backend")[0]


def _is_another(before: Replica, now: Replica) -> bool:
    return now.running and now.identity != before.identity


def _crash(sandbox: Sandbox, replica: Replica) -> None:
    """From within, so that nobody has stopped it and it is started again."""
    if sandbox.state.stack == "compose":
        # All but the container's init, which then ends too; the shell may be gone before it can say so.
        docker("exec", replica.identity.partition("@")[0], "sh", "-c", "kill -KILL -1; true")
        return
    pid = int(replica.identity.split(":")[2])
    for process in processes.list_processes():
        if process.pid == pid:
            processes.send(process, signal.SIGKILL)


def _container(sandbox: Sandbox) -> str:
    return nginx(sandbox).identity.partition("@")[0]
