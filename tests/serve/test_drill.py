"""From a fault to the record that names its cause, with nobody at the keyboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import missing_part
from serve_bench import Server, until

from flowrex_sandbox import drills
from flowrex_sandbox.monitoring.alerts import has_alerts, send_alerts_to
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.drill


@pytest.mark.timeout(600)
def test_a_fault_alerts_and_its_record_names_the_cause(
    supervisor_sandbox: Sandbox, prepare: Callable[..., Server]
) -> None:
    """Sessions wait behind one: Prometheus fires, Alertmanager tells, the runbook runs, its record says lock contention."""
    if not has_alerts(supervisor_sandbox):
        missing_part("Prometheus, Alertmanager or the blackbox exporter")
    server = prepare()
    server.start("--settings", str(supervisor_sandbox.settings_file), notebooks="")
    try:
        send_alerts_to(supervisor_sandbox, f"{server.url}/alertmanager")
        drills.inject(supervisor_sandbox, drills.get_drill("lock-chain"), print)
        found = until(
            lambda: [r for r in server.records() if r.metadata.diagnosis == "db.lock-contention"], seconds=240
        )
    finally:
        drills.reset(supervisor_sandbox, print)
        send_alerts_to(
            supervisor_sandbox, ""
        )  # others share it: an address where nobody listens would fail from now on
    assert found[0].metadata.runbook == "database_connections"
    assert found[0].metadata.trigger.startswith("alert ")
    assert all(mitigation.state in ("planned", "refused") for mitigation in found[0].metadata.mitigations)
