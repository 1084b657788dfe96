"""The drills: what they inject into a sandbox, and the one way back to health."""

from __future__ import annotations

from collections.abc import Callable

from flowrex_ops.causes import causes_by_runbook
from flowrex_ops.errors import UsageError, nearest
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults import find_drills, find_faults
from flowrex_sandbox.faults.answers import answers
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.http import await_calm
from flowrex_sandbox.faults.memory import has_stood_still
from flowrex_sandbox.faults.observe import is_quiet
from flowrex_sandbox.faults.proxy import empty_control, reload_nginx
from flowrex_sandbox.faults.trades import seconds_since_trouble
from flowrex_sandbox.faults.websocket import await_streams
from flowrex_sandbox.health import await_backends, unready_replicas
from flowrex_sandbox.monitoring.alerts import await_silence, has_alerts
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition, comes_true

DRILLS: tuple[Drill, ...] = tuple(
    sorted(find_drills(), key=lambda drill: list(causes_by_runbook()).index(drill.runbook))
)

_FORMER_NAMES = {
    "memory-hill": "memory-spike-over",
    "ws-tabs-closed": "ws-clients-leave",
    "triage-lock-gone": "triage-past-lock",
    "high-but-flat": "memory-high-steady",
}
_QUIET_SECONDS = 15.0
_SERVED = 60
"""So many requests of the last ten seconds a platform that has just been started must have answered, of some 120: a log without any rules nothing out."""
_BY_ITSELF_SECONDS = 6.0
_AFTER_RESTART_SECONDS = 40.0


def get_drill(scenario: str) -> Drill:
    """The drill of that name, or that had it; UsageError naming the nearest."""
    wanted = _FORMER_NAMES.get(scenario, scenario)
    for drill in DRILLS:
        if drill.scenario == wanted:
            return drill
    hint = nearest(scenario, (drill.scenario for drill in DRILLS), otherwise="see 'flowrex-ops drill list'")
    raise UsageError(f"there is no drill '{scenario}'; {hint}")


def inject(sandbox: Sandbox, drill: Drill, on_progress: Callable[[str], None]) -> None:
    """Set the drill's faults off in a healthy sandbox; returns once each is in place and old enough to be noticed."""
    if sandbox.state.stack not in drill.stacks:
        raise UsageError(
            f"drill '{drill.scenario}' is not for stack '{sandbox.state.stack}'; take --stack {drill.stacks[0]}"
        )
    on_progress("waiting for the platform to be healthy")
    _await(lambda: is_quiet(sandbox), "the platform was healthy before the drill", _QUIET_SECONDS)
    if drill.runbook in ("triage", "trade_failures") and sandbox.replicas("nginx"):
        _await(lambda: len(answers(sandbox)) >= _SERVED, "users were served for some seconds", _QUIET_SECONDS)
    recent_seconds = 60 * drill.parameters.get("recent_minutes", 0.0)
    # What failed, moved or fired in an earlier drill must no longer be seen in this one.
    if drill.runbook == "websocket_disconnections":
        await_streams(sandbox, recent_seconds)
    elif recent_seconds:
        calm = recent_seconds + _QUIET_SECONDS
        _await(lambda: seconds_since_trouble(sandbox) > recent_seconds, "trades were filled again", calm)
    if baseline_seconds := 60 * drill.parameters.get("baseline_minutes", 0.0):
        await_calm(sandbox, recent_seconds + baseline_seconds)
    if drill.runbook == "triage" and has_alerts(sandbox):
        await_silence(sandbox)
    if seconds := 60 * drill.parameters.get("trend_minutes", 0.0):
        _await(lambda: has_stood_still(sandbox, seconds), "memory stood still", seconds + 60)
    for fault in drill.faults:
        on_progress(f"injecting {fault.name}")
        fault.inject(sandbox, drill.parameters)


def reset(sandbox: Sandbox, on_progress: Callable[[str], None]) -> None:
    """Take every fault away, whichever there are, and return once the platform is healthy and quiet.

    A replica that does not recover by itself is restarted.
    """
    on_progress("taking every fault away")
    stale = empty_control(sandbox)
    services, others = _faults_to_reset()
    for fault in services:
        fault.stop(sandbox)
    if stale:
        reload_nginx(sandbox)
    for fault in others:
        fault.stop(sandbox)
    on_progress("waiting for the platform to recover")
    if not comes_true(lambda: not unready_replicas(sandbox), timeout_seconds=_BY_ITSELF_SECONDS):
        _restart_unready(sandbox, on_progress)
        await_backends(sandbox, timeout_seconds=_AFTER_RESTART_SECONDS)
    await_condition(
        lambda: is_quiet(sandbox),
        "the platform became quiet",
        timeout_seconds=_AFTER_RESTART_SECONDS,
        details=lambda: "see pg_stat_activity for what is left; 'flowrex-ops sandbox down' and 'up' give a new one",
    )


def _faults_to_reset() -> tuple[list[Fault], list[Fault]]:
    """One for each way to reset: those that bring a service back, and the others."""
    ways: dict[object, Fault] = {}
    for cls in find_faults():
        ways.setdefault((cls.stop, cls.service), cls())
    faults = ways.values()
    return [f for f in faults if f.rank < Fault.rank], [f for f in faults if f.rank >= Fault.rank]


def _await(condition: Callable[[], bool], what: str, timeout_seconds: float) -> None:
    await_condition(
        condition,
        what,
        timeout_seconds=timeout_seconds,
        poll_seconds=0.2,
        details=lambda: "run 'flowrex-ops drill reset' first",
    )


def _restart_unready(sandbox: Sandbox, on_progress: Callable[[str], None]) -> None:
    unready = set(unready_replicas(sandbox))
    stack = sandbox.stack()
    for replica in stack.get_replicas("backend"):
        if replica.name in unready:
            on_progress(f"restarting {replica.name}, which does not recover")
            stack.restart(replica, timeout_seconds=20)
