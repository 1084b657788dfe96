"""Back to the version before, replica by replica; undone where that one does not get well; by the platform's own script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from load import Load
from running import mitigate

from flowrex_ops.model import MitigationState
from flowrex_ops.proxy.rotation import LIST
from flowrex_sandbox.faults.http import deploy
from flowrex_sandbox.sandbox import Sandbox, get_answer


def versions(sandbox: Sandbox) -> list[str]:
    return [replica.version for replica in sandbox.replicas()]


@pytest.fixture
def released(platform: Sandbox) -> Sandbox:
    """1.5.0 has replaced 1.4.2, both seen by the proxy."""
    get_answer(f"{platform.url}/api/prices")
    deploy(platform, "1.5.0")
    get_answer(f"{platform.url}/api/prices")
    return platform


class TestRollback:
    @pytest.mark.both_stacks
    def test_to_the_version_before_loses_no_request(
        self, released: Sandbox, record_property: pytest.RecordProperty
    ) -> None:
        """It finds 1.4.2 by itself; every replica says so; a later deployment by compose stays there."""
        with Load(released) as load:
            outcome = mitigate(released, "rollback-backend")
        record_property("load", str(load))
        assert outcome.state is MitigationState.VERIFIED
        assert versions(released) == ["1.4.2"] * 3
        assert load.lost == 0, load
        assert set(load.close_codes) <= {1001, 1012}
        assert not (released.control / LIST).exists()
        if released.state.stack == "compose":
            assert "\nVERSION=1.4.2\n" in (released.home / ".env").read_text()

    @pytest.mark.thorough
    def test_is_undone_where_the_replica_does_not_get_well(self, released: Sandbox) -> None:
        """A version that cannot start: the replica is put back on the one from before, users notice nothing."""
        with Load(released) as load:
            outcome = mitigate(released, "rollback-backend", version="nightly", ready_seconds=4.0)
        assert outcome.state is MitigationState.FAILED
        assert "Undone: every replica is on 1.5.0 again" in outcome.reason
        assert versions(released) == ["1.5.0"] * 3
        assert load.lost == 0, load
        assert not (released.control / LIST).exists()

    def test_refuses_where_no_version_before_was_seen(self, platform: Sandbox) -> None:
        """And where every replica is there already."""
        outcome = mitigate(platform, "rollback-backend", version="1.4.2")
        assert outcome.state is MitigationState.REFUSED
        assert "runs 1.4.2 already" in outcome.reason

    def test_as_a_mitigation_needs_its_cause(self, platform: Sandbox) -> None:
        assert "its cause is not confirmed" in mitigate(platform, "rollback-bad-deploy").reason


class TestMigrations:
    def test_are_unknown_without_a_table_and_a_warning_where_newer(self, released: Sandbox) -> None:
        """The plan says so before anybody approves."""
        without = mitigate(released, "rollback-backend", approved=False).plan
        assert without is not None
        assert "no table of migrations was found" in without.cost
        released.execute("CREATE TABLE schema_migrations (version text, applied_at timestamptz DEFAULT now())")
        try:
            released.execute(
                "INSERT INTO schema_migrations VALUES ('20261101_orders', '2026-11-01'), ('20261124_fees', now())"
            )
            released.execute("GRANT SELECT ON schema_migrations TO flowrex")
            plan = mitigate(released, "rollback-backend", approved=False).plan
        finally:
            released.execute("DROP TABLE schema_migrations")
        assert plan is not None
        assert "WARNING: 1 database migrations were applied since (20261124_fees)" in plan.cost


class TestScript:
    @pytest.mark.thorough
    def test_of_the_platform_is_used_where_settings_name_it(
        self, released: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It gets the version, and its work is verified by the same readings."""
        script = tmp_path / "scripts" / "rollback.sh"
        script.parent.mkdir()
        code = "import sys; from pathlib import Path; from flowrex_sandbox.sandbox import open_sandbox;"
        code += "from flowrex_sandbox.faults.http import deploy; deploy(open_sandbox(Path(sys.argv[1])), sys.argv[2])"
        root = Path(__file__).parents[2]
        script.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -c "{code}" {released.home} "$1"\n')
        script.chmod(0o755)
        monkeypatch.setenv("FLOWREX_OPS_ROLLBACK__SCRIPT", str(script))
        outcome = mitigate(released, "rollback-backend")
        assert outcome.plan is not None
        assert f"run '{script} 1.4.2'" in outcome.plan.action
        assert outcome.state is MitigationState.VERIFIED
        assert versions(released) == ["1.4.2"] * 3
