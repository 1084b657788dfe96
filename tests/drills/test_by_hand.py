"""The playbook's shell blocks, typed for real: what an approved mitigation is held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrex_sandbox.by_hand import block_of
from flowrex_sandbox.cli.scoring import play_by_hand
from flowrex_sandbox.drills import DRILLS, get_drill
from flowrex_sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.drill, pytest.mark.docker, pytest.mark.thorough]


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("scenario", "cured"),
    [
        ("long-running-query", True),
        ("redis-rejecting", True),
        ("certificate-not-reloaded", True),
        ("lock-chain", False),
    ],
)
@pytest.mark.timeout(300)
def test_the_block_cures_or_does_not(compose_sandbox: Sandbox, scenario: str, *, cured: bool) -> None:
    """Whoever holds a lock and idles is no active query, and restarting the backend does not end it."""
    drill = get_drill(scenario)
    block = block_of(drill, compose_sandbox)
    assert "docker-compose.prod.yml" in block
    seconds = play_by_hand(compose_sandbox, drill, block, on_progress=print)
    assert (seconds is not None) is cured


def test_only_where_the_playbook_has_one(compose_sandbox: Sandbox) -> None:
    """It only says to block a flood."""
    assert not block_of(get_drill("traffic-flood"), compose_sandbox)
    assert not block_of(get_drill("healthy"), compose_sandbox)


def test_only_for_docker_compose(supervisor_sandbox: Sandbox) -> None:
    """Its blocks are commands of it."""
    assert not any(block_of(drill, supervisor_sandbox) for drill in DRILLS)
