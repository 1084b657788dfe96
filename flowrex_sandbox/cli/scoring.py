"""One drill from fault to score: inject, run the runbook, hold its answers against the expected ones, reset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import VerdictKind
from flowrex_ops.record.events import OnEvent, ignore
from flowrex_ops.record.runbook import run_runbook

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult
    from flowrex_sandbox.drill import Drill
    from flowrex_sandbox.sandbox import Sandbox

RECOVERY_SECONDS = 30.0
QUIET_SECONDS = 2.0
"""So long no request must have failed; it is taken off the time to recovery again."""

OPERATOR = "drill"

UNWATCHED = ("host.conntrack-full", "net.packet-loss", "net.saturated", "service.disk-filling")
"""What node_exporter tells of a machine. The sandbox has none: that would tell of the machine that it runs on, which is no part of it."""

_BROKER_SILENT = ("trades.broker-", "trades.rejected-by-broker", "trades.database")
"""Where these are expected the broker may tell no list of fills (down, 401, 429), or have none to tell."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the runbook said of a drill. ``recovery_seconds`` counts from the start of the run to a quiet platform.

    ``alerts`` says which alerts did not fire that should have; empty when all did.
    """

    drill: Drill
    result: RunResult
    recovery_seconds: float | None = None
    approved: bool = False
    alerts: str = ""
    unasked: tuple[str, ...] = ()
    """Causes that this machine cannot tell: it lacks what would."""

    @property
    def found(self) -> list[str]:
        """The confirmed causes, the diagnosis first."""
        return [finding.cause for finding in self.result.findings]

    @property
    def false_findings(self) -> list[str]:
        """Confirmed, though not injected."""
        return [cause for cause in self.found if cause in self.drill.forbidden]

    @property
    def failures(self) -> list[str]:
        """Why the drill did not pass; empty when it did."""
        expected = list(self.drill.expected)
        said = [f"did not confirm {cause}" for cause in expected if cause not in self.found]
        said += [f"confirmed {cause}, which was not injected" for cause in self.false_findings]
        if self.result.diagnosis != (expected[0] if expected else None):
            said.append(f"diagnosis {self.result.diagnosis}, expected {expected[0] if expected else 'none'}")
        if self.result.status.value in ("failed", "interrupted"):
            said.append(f"the run {self.result.status.value}: {self.result.reason}")
        if self.drill.leads_to and self.result.next_runbooks[:1] != (self.drill.leads_to,):
            led = ", ".join(self.result.next_runbooks) or "nowhere"
            said.append(f"leads to {led}, expected {self.drill.leads_to} first")
        # What nothing explains leaves the other hypotheses open, as what nobody can be asked about does: it is down.
        left_open = (".unreachable", ".unexplained-", "service.down")
        reachable = not any(words in cause for cause in expected for words in left_open)
        if reachable and (unknown := self._inconclusive()):
            said.append(f"inconclusive though every source answers: {', '.join(unknown)}")
        if self.approved and self.drill.cures and self.recovery_seconds is None:
            said.append(f"not healthy {RECOVERY_SECONDS:g} s after the approved mitigations")
        said += [self.alerts] if self.alerts else []
        said += [f"{slug} was {state}, not {self._wanted(slug)}" for slug, state in self._unverified().items()]
        return said

    def _unverified(self) -> dict[str, str]:
        states = {mitigation.slug: mitigation.state.value for mitigation in self.result.mitigations}
        wanted = self.drill.approve if self.approved else ()
        return {slug: states.get(slug, "not tried") for slug in wanted if states.get(slug) != self._wanted(slug)}

    def _wanted(self, slug: str) -> str:
        return "applied-unverified" if slug in self.drill.leaves else "verified"

    def _inconclusive(self) -> list[str]:
        unclear = [verdict.cause for verdict in self.result.verdicts if verdict.kind is VerdictKind.INCONCLUSIVE]
        # What is down, or hangs, tells neither time nor its open files, has no name under Docker, and may leave the log without a request;
        # a broker that is, or that no order reaches, has no list to compare.
        silent = [("service.", "host.clock-drift"), ("service.", "net.dns-failing")]
        silent += [("http.upstream-unreachable", "backend.fd-exhausted")]
        silent += [(what, "trades.unreconciled") for what in _BROKER_SILENT]
        open_ = [of for what, of in silent if any(cause.startswith(what) for cause in self.drill.expected)]
        return [cause for cause in unclear if cause not in [*self.unasked, *open_]]

    def to_dict(self) -> dict[str, Any]:
        """``drill run-all --json``: the drill, and what was said of it."""
        return {
            **self.drill.to_dict(),
            "diagnosis": self.result.diagnosis,
            "findings": self.found,
            "false_findings": self.false_findings,
            "passed": not self.failures,
            "failures": self.failures,
            "seconds": self.result.seconds,
            "recovery_seconds": self.recovery_seconds,
            "record": str(self.result.record),
        }


def play(
    sandbox: Sandbox,
    drill: Drill,
    *,
    approve: Sequence[str] = (),
    on_progress: Callable[[str], None],
    on_event: OnEvent = ignore,
    reset: bool = True,
) -> Score:
    """Inject *drill* into a running sandbox, run its runbook, and reset; the sandbox stays up.

    With mitigations to *approve* the drill's alerts must fire before the runbook runs, which ends what they tell of;
    without, they have until after it.
    """
    from flowrex_sandbox import drills
    from flowrex_sandbox.monitoring.alerts import has_alerts

    try:
        drills.inject(sandbox, drill, on_progress)
        alerts_before = _await_alerts(sandbox, drill, on_progress) if approve else ""
        on_progress(f"running {drill.runbook}")
        started = time.monotonic()
        result = run_runbook(drill.runbook, _parameters(sandbox, drill, approve), on_event=on_event)
        alerts = alerts_before if approve else _await_alerts(sandbox, drill, on_progress)
        recovery = _await_recovery(sandbox, drill, started) if approve else None
        unasked = UNWATCHED if has_alerts(sandbox) else (*UNWATCHED, "monitoring.blind")
        return Score(drill, result, recovery, approved=bool(approve), alerts=alerts, unasked=unasked)
    finally:
        if reset:
            drills.reset(sandbox, on_progress)


def _parameters(sandbox: Sandbox, drill: Drill, approve: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {**drill.parameters, "settings": str(sandbox.settings_file)}
    return given | ({"approve": list(approve), "operator": OPERATOR} if approve else {})


def _await_alerts(sandbox: Sandbox, drill: Drill, on_progress: Callable[[str], None]) -> str:
    """Why not all of the drill's alerts fired; nothing on a machine without Prometheus."""
    from flowrex_sandbox.monitoring.alerts import await_alerts, has_alerts

    if not drill.alerts or not has_alerts(sandbox):
        return ""
    on_progress(f"waiting for {', '.join(drill.alerts)}")
    try:
        await_alerts(sandbox, drill.alerts)
    except SandboxError as error:
        return str(error)
    return ""


def _await_recovery(sandbox: Sandbox, drill: Drill, started: float) -> float | None:
    """Seconds from *started* until nothing is stuck, certificates are accepted, Redis has room, and no request failed any more."""
    from flowrex_sandbox.faults.answers import seconds_since_failure
    from flowrex_sandbox.faults.observe import is_quiet
    from flowrex_sandbox.faults.redis import has_room
    from flowrex_sandbox.faults.tls import clients_accept
    from flowrex_sandbox.waiting import comes_true

    quiet = QUIET_SECONDS if drill.runbook == "error_rate" else 0.0

    def recovered() -> bool:
        well = is_quiet(sandbox) and clients_accept(sandbox) and has_room(sandbox)
        return well and (not quiet or seconds_since_failure(sandbox) > quiet)

    if not comes_true(recovered, timeout_seconds=RECOVERY_SECONDS):
        return None
    return round(max(0.0, time.monotonic() - started - quiet), 1)
