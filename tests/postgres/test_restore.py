"""A restore and the way back, on a real server with the application running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from restoring import clear, comment, databases, make_old_backup, read_generation
from running import mitigate

from flowrex_ops.model import MitigationState
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.both_stacks


@pytest.fixture
def platform(platform: Sandbox) -> Iterator[Sandbox]:
    yield platform
    clear(platform)


def test_restore_and_the_way_back(platform: Sandbox) -> None:
    """Users get the backup's data, the database from before is kept and comes back as it was."""
    file = make_old_backup(platform)
    platform.execute("COMMENT ON DATABASE flowrex IS 'the platform'; ALTER DATABASE flowrex SET work_mem TO '5MB'")
    running = {replica.name for replica in platform.replicas()}
    shown = mitigate(platform, "restore-database", approved=False)
    assert shown.state is MitigationState.PLANNED, shown.reason
    assert shown.plan is not None
    assert file.name in shown.plan.targets[0].label
    assert read_generation(platform) == "new"
    outcome = mitigate(platform, "restore-database")
    assert outcome.state is MitigationState.VERIFIED, outcome.reason
    assert read_generation(platform) == "old"
    assert {replica.name for replica in platform.replicas()} == running
    assert comment(platform) == "the platform"
    assert platform.query("SHOW work_mem") == [("5MB",)]
    assert (len(databases(platform, "before")), databases(platform, "restore")) == (1, [])
    outcome = mitigate(platform, "swap-back-database")
    assert outcome.state is MitigationState.VERIFIED, outcome.reason
    assert read_generation(platform) == "new"
    assert comment(platform) == "the platform"
    platform.execute("ALTER DATABASE flowrex RESET work_mem")
