"""A deployment: the backend's replicas replaced by those of another release, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.faults.answers import failures, seconds_since_failure
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.health import await_backends, await_front_door
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.state import VERSION, read_state, write_state

_READY_SECONDS = 60.0
_ENOUGH = 4


def deploy(sandbox: Sandbox, version: str, defects: str = "") -> None:
    """Replace the backend's replicas, as this platform's deployments do, and return once they serve."""
    state = read_state(sandbox.home)
    if state is None:
        raise SandboxError(f"there is no sandbox at '{sandbox.home}'; start one with 'flowrex-ops sandbox up'")
    state = replace(state, version=version, defects=defects)
    write_state(state)
    if state.stack == "compose":
        from flowrex_sandbox.stacks.compose import lifecycle as compose

        compose.deploy(Sandbox(state))
    else:
        from flowrex_sandbox.stacks.embedded import lifecycle as embedded

        embedded.deploy(Sandbox(state))
    await_backends(sandbox, timeout_seconds=_READY_SECONDS)
    await_front_door(sandbox, timeout_seconds=_READY_SECONDS)


def restore(sandbox: Sandbox) -> None:
    """The replicas that the sandbox began with, of the release that it began with; nothing where they are there."""
    replicas = sandbox.stack().get_replicas("backend")
    expected = [(f"backend-{number}", VERSION) for number in range(1, sandbox.state.replicas + 1)]
    if [(replica.name, replica.version) for replica in replicas] != expected:
        deploy(sandbox, VERSION)


@dataclass(frozen=True, slots=True)
class Release(Fault):
    """Another release was deployed; it may bring defects with it (names of ``backend/app/defects.py``)."""

    name = "release"
    version: str = "1.5.0"
    defects: str = ""

    def start(self, sandbox: Sandbox) -> None:
        deploy(sandbox, self.version, self.defects)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Deploy, and return once what the proxy could not reach meanwhile is no longer recent."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("recent_minutes", 0.0), timeout_seconds=60)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        quiet = seconds_since_failure(sandbox, made_by="proxy") > age_seconds
        return quiet and (not self.defects or len(failures(sandbox, made_by="backend")) >= _ENOUGH)

    def stop(self, sandbox: Sandbox) -> None:
        state = read_state(sandbox.home)
        if state and (state.version, state.defects) != (VERSION, ""):
            deploy(sandbox, VERSION)
