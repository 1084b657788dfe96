"""A rolling restart under load: no request is lost, WebSockets are told, and what goes wrong is named and put right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrex_ops.mitigations.rotation import LIST
from flowrex_ops.model import MitigationState
from flowrex_ops.sandbox import Sandbox
from flowrex_ops.sandbox.faults import heal

from .load import Load
from .running import mitigate


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    heal(any_sandbox, print)


def identities(sandbox: Sandbox) -> dict[str, str]:
    return {replica.name: replica.identity for replica in sandbox.stack().get_replicas("backend")}


class TestUnderLoad:
    def test_no_request_is_lost_and_websockets_are_closed_in_words(
        self, platform: Sandbox, record_property: pytest.RecordProperty
    ) -> None:
        """Every replica is another process afterwards; GET and POST alike were answered; 1012 or 1001, never 1006."""
        before = identities(platform)
        with Load(platform) as load:
            outcome = mitigate(platform, "rolling-restart")
        record_property("load", str(load))
        print(outcome.reason, load)
        after = identities(platform)
        assert outcome.state is MitigationState.VERIFIED
        assert before.keys() == after.keys()
        assert not set(before.values()) & set(after.values())
        assert (load.lost, load.failures) == (0, [])
        assert load.sent > 200
        assert load.close_codes
        assert set(load.close_codes) <= {1001, 1012}
        assert not (platform.control / LIST).exists()
