"""A rolling restart under load: no request is lost, WebSockets are told, and what goes wrong is named and put right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from load import Load
from running import investigate, mitigate

from flowrex_ops.model import MitigationState
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import LIST, Rotation
from flowrex_sandbox.faults.http import deploy
from flowrex_sandbox.health import unready_replicas
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.state import VERSION
from flowrex_sandbox.waiting import await_condition


def identities(sandbox: Sandbox) -> dict[str, str]:
    return {replica.name: replica.identity for replica in sandbox.stack().get_replicas("backend")}


class TestUnderLoad:
    @pytest.mark.both_stacks
    def test_no_request_is_lost_and_websockets_are_closed_in_words(
        self, platform: Sandbox, record_property: pytest.RecordProperty
    ) -> None:
        """Every replica is another process afterwards; GET and POST alike were answered; 1012 or 1001, never 1006."""
        before = identities(platform)
        with Load(platform) as load:
            outcome = mitigate(platform, "rolling-restart")
        record_property("load", str(load))
        after = identities(platform)
        assert outcome.state is MitigationState.VERIFIED
        assert before.keys() == after.keys()
        assert not set(before.values()) & set(after.values())
        assert load.lost == 0, load
        assert load.sent > 200
        assert load.close_codes
        assert set(load.close_codes) <= {1001, 1012}
        assert not (platform.control / LIST).exists()


class TestWhenAReplicaDoesNotReturn:
    def test_stops_there_and_leaves_it_out_of_rotation(self, platform: Sandbox) -> None:
        """The broken one gets no users, those after it were not touched, and no request is lost meanwhile."""
        before = identities(platform)
        with spoilt(platform, "backend-2"), Load(platform) as load:
            outcome = mitigate(platform, "rolling-restart", ready_seconds=5.0)
            after = identities(platform)
        assert outcome.state is MitigationState.FAILED
        assert "backend-2 is not ready" in outcome.reason
        assert "backend-2 is left out of rotation" in outcome.reason
        assert "out: backend-2" in (platform.control / LIST).read_text()
        assert after["backend-3"] == before["backend-3"]
        assert load.lost == 0, load


class TestInterrupted:
    @pytest.mark.parametrize(
        "step",
        [
            "out of the proxy's rotation",
            pytest.param("drain, stop and start", marks=pytest.mark.thorough),
            pytest.param("back into the proxy's", marks=pytest.mark.thorough),
        ],
    )
    def test_ctrl_c_leaves_no_ready_replica_out_of_rotation(self, platform: Sandbox, step: str) -> None:
        """Interrupted at any step of the second replica: all run, all are ready, and NGINX has its own list again."""
        investigation = investigate(platform, "rolling-restart")
        note = investigation.store.note

        def press(kind: str, facts: Mapping[str, Any]) -> None:
            note(kind, facts)
            if facts.get("action", "").startswith("backend-2") and step in facts["action"]:
                raise KeyboardInterrupt

        investigation.store.note = press  # type: ignore[method-assign]  # the test steps in there
        with pytest.raises(KeyboardInterrupt):
            investigation.mitigate("rolling-restart")
        assert not (platform.control / LIST).exists()
        assert unready_replicas(platform) == []

    def test_a_killed_run_is_recognised_and_ended_by_the_next(self, platform: Sandbox) -> None:
        """The plan names what a run without an end has left, and this one puts it right."""
        code = "import sys; from running import mitigate; from flowrex_sandbox.sandbox import open_sandbox; from pathlib import Path;"
        code += "mitigate(open_sandbox(Path(sys.argv[1])), 'rolling-restart', websocket_seconds=30)"
        folder = str(Path(__file__).parents[1] / "support")
        environment = {**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
        with Load(platform, rate=5):
            run = subprocess.Popen([sys.executable, "-c", code, str(platform.home)], env=environment)
            try:
                await_condition((platform.control / LIST).exists, "a replica left the rotation", timeout_seconds=30)
            finally:
                run.kill()
                run.wait()
        plan = mitigate(platform, "rolling-restart", approved=False).plan
        assert plan is not None
        assert "left the rotation at 'out: backend-1', which this one ends" in plan.cost
        assert mitigate(platform, "rolling-restart").state is MitigationState.VERIFIED
        assert not (platform.control / LIST).exists()

    def test_what_is_left_is_ended_though_its_cause_is_gone(self, platform: Sandbox) -> None:
        """Killed when the last replica that leaked had a new pool, and no users yet: no replica leaks, and one serves nobody."""
        investigation = investigate(platform)
        fleet = ReplicaSet.of(investigation)
        assert mitigate(platform, "restart-backend", idle_after_seconds=60).state is MitigationState.REFUSED
        Rotation.of(investigation, fleet, "restart-backend").take_out(["backend-3"])
        outcome = mitigate(platform, "restart-backend", idle_after_seconds=60)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert outcome.plan is not None
        assert [target.identity[0] for target in outcome.plan.targets] == ["backend-3"]
        assert not (platform.control / LIST).exists()


class TestWithoutRotation:
    @pytest.mark.thorough
    def test_says_what_users_lose(self, platform: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """No control folder: the plan says that requests fail, and the restart goes on one by one."""
        monkeypatch.setenv("FLOWREX_OPS_PROXY__CONTROL", str(platform.home / "none"))
        outcome = mitigate(platform, "rolling-restart", approved=False)
        assert outcome.plan is not None
        assert "no control folder" in outcome.plan.cost
        assert mitigate(platform, "rolling-restart").state is MitigationState.VERIFIED


@contextmanager
def spoilt(sandbox: Sandbox, name: str) -> Iterator[None]:
    """A replica crashes from its next start on, which its process does not know yet."""
    replica = next(one for one in sandbox.replicas() if one.name == name)
    if sandbox.state.stack == "supervisor":
        file = sandbox.home / "releases" / name
        text = file.read_text()
        file.unlink()
        yield
        file.write_text(text)
    else:
        code = "import app.identity as i; open(i.__file__, 'w').write('raise SystemExit(1)')"
        container = replica.identity.partition("@")[0]
        docker("exec", "-u", "0", container, "python", "-c", code)
        yield
        docker("rm", "-f", container)
    deploy(sandbox, VERSION)
