"""A sandbox started, looked at and ended, whichever stack it runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.health import ServiceStatus, get_status
from flowrex_sandbox.processes import find_marked, kill
from flowrex_sandbox.sandbox import Sandbox, open_sandbox
from flowrex_sandbox.stacks.compose.engine import COMPOSE_FILE
from flowrex_sandbox.state import STATE_FILE, locked, read_state

__all__ = ["DEFAULT_HOMES", "Sandbox", "ServiceStatus", "down", "open_sandbox", "status", "up"]

DEFAULT_HOMES = {"supervisor": Path(".sandbox/supervisor"), "compose": Path(".sandbox/compose")}


def up(
    stack: str,
    home: Path,
    *,
    replicas: int = 3,
    project: str | None = None,
    on_progress: Callable[[str], None],
) -> Sandbox:
    """Start the platform at *home*, or what is missing of it, and wait until it is healthy.

    *stack* is ``supervisor`` or ``compose``; *project* names it (by default after its home). A sandbox that exists
    keeps its name, ports and number of replicas.
    """
    home = home.expanduser().resolve()
    with locked(home):
        known = read_state(home)
        if known is None and home.exists() and any(home.iterdir()):
            # 'down' removes the home with all that is in it.
            raise SandboxError(f"'{home}' is not empty and holds no sandbox; choose another --home")
        if known and known.stack != stack:
            raise SandboxError(
                f"the sandbox at '{home}' is of stack '{known.stack}', not '{stack}'; choose another --home"
            )
        if stack == "supervisor":
            from flowrex_sandbox.stacks.embedded import lifecycle as embedded

            return embedded.start(home, replicas=replicas, name=project, on_progress=on_progress)
        if stack == "compose":
            from flowrex_sandbox.stacks.compose import lifecycle as compose

            return compose.start(home, replicas=replicas, name=project, on_progress=on_progress)
        raise SandboxError(f"there is no stack '{stack}'; take 'supervisor' or 'compose'")


def down(home: Path) -> bool:
    """End the sandbox at *home* and remove all that it left, its home too; whether there was one."""
    home = home.expanduser().resolve()
    with locked(home):
        if not (home / STATE_FILE).exists():
            return False
        if (home / COMPOSE_FILE).exists():
            from flowrex_sandbox.stacks.compose import lifecycle as compose

            compose.stop(home)
        else:
            from flowrex_sandbox.stacks.embedded import lifecycle as embedded

            embedded.stop(home)
        kill(find_marked(home))
        shutil.rmtree(home)
    return True


def status(home: Path) -> list[ServiceStatus]:
    """What runs of the sandbox at *home*; empty when there is none."""
    state = read_state(home.expanduser().resolve())
    return get_status(Sandbox(state)) if state else []
