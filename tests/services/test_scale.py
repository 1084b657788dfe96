"""More replicas and fewer, under load, within what PostgreSQL bears."""

from __future__ import annotations

import pytest
from load import Load
from running import investigate, mitigate

from flowrex_ops.model import MitigationState
from flowrex_ops.proxy.rotation import LIST
from flowrex_ops.services.capacity import ConnectionBudget
from flowrex_sandbox.sandbox import Sandbox

CAUSE = "memory.container-limit"


def names(sandbox: Sandbox) -> list[str]:
    return [replica.name for replica in sandbox.stack().get_replicas("backend")]


class TestScale:
    def test_up_and_down_without_a_lost_request(
        self, platform: Sandbox, record_property: pytest.RecordProperty
    ) -> None:
        """New replicas get requests once they are ready, surplus ones are drained; the others are not touched."""
        before = {replica.identity for replica in platform.replicas()}
        with Load(platform) as load:
            up = mitigate(platform, "scale-backend", cause=CAUSE, replicas=5)
            grown = names(platform)
            down = mitigate(platform, "scale-backend", cause=CAUSE, replicas=3)
        record_property("load", str(load))
        assert (up.state, down.state) == (MitigationState.VERIFIED, MitigationState.VERIFIED)
        assert "requests through the proxy reach each" in up.reason
        assert len(grown) == 5
        assert names(platform) == ["backend-1", "backend-2", "backend-3"]
        assert {replica.identity for replica in platform.replicas()} == before
        assert load.lost == 0, load
        assert set(load.close_codes) <= {1001, 1012}
        assert not (platform.control / LIST).exists()

    def test_plan_shows_the_sum_and_the_way_back(self, platform: Sandbox) -> None:
        """Target is the service with both numbers; nothing happens unapproved."""
        outcome = mitigate(platform, "scale-backend", cause=CAUSE, approved=False, replicas=0)
        assert outcome.plan is not None
        assert [target.identity for target in outcome.plan.targets] == [("backend", "3", "4")]
        assert "4 replicas x 5 connections + " in outcome.plan.cost
        assert outcome.plan.undo.startswith("scale-backend with replicas=3")
        assert len(names(platform)) == 3

    def test_refuses_what_postgres_cannot_bear(self, platform: Sandbox) -> None:
        """With the sum in the refusal, and how many would fit."""
        outcome = mitigate(platform, "scale-backend", cause=CAUSE, replicas=400)
        assert outcome.state is MitigationState.REFUSED
        assert "400 replicas x 5 connections + " in outcome.reason
        assert "superuser_reserved_connections" in outcome.reason
        assert "replicas fit" in outcome.reason

    @pytest.mark.thorough
    def test_interrupted_goes_back_to_the_number_before(self, platform: Sandbox) -> None:
        """Ctrl-C once the new ones are there: three replicas again, all in rotation."""
        investigation = investigate(platform, "scale-backend", cause=CAUSE)
        note = investigation.store.note

        def press(kind: str, facts: dict[str, object]) -> None:
            note(kind, facts)
            if "every replica into" in str(facts.get("action", "")) and kind == "mitigation-step":
                raise KeyboardInterrupt

        investigation.store.note = press  # type: ignore[method-assign, assignment]  # the test steps in there
        with pytest.raises(KeyboardInterrupt):
            investigation.mitigate("scale-backend", replicas=5)
        assert names(platform) == ["backend-1", "backend-2", "backend-3"]
        assert not (platform.control / LIST).exists()


class TestBudget:
    @pytest.mark.parametrize(
        ("replicas", "others", "fits", "most"), [(17, 12, True, 17), (18, 12, False, 17), (1, 200, False, 0)]
    )
    def test_counts_full_pools_and_everybody_else(self, replicas: int, others: int, fits: bool, most: int) -> None:
        budget = ConnectionBudget(replicas, 5, others, max_connections=100, superuser_reserved=3, reserved=0)
        assert (budget.fits, budget.most_replicas) == (fits, most)
