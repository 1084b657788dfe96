"""Each fault behind failed requests is real: users see it at the proxy, and healing takes it away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from flowrex_sandbox import drills
from flowrex_sandbox.drills import get_drill
from flowrex_sandbox.faults.answers import Answer, answers, failures
from flowrex_sandbox.faults.observe import is_quiet
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.state import VERSION, read_state

pytestmark = [pytest.mark.drill, pytest.mark.thorough]  # the drills show the same from the other side
Inject = Callable[[str], Sandbox]


@pytest.fixture
def inject(any_sandbox: Sandbox) -> Iterator[Inject]:
    """A function that injects a scenario; the platform is healthy, and seen to be, afterwards."""

    def start(scenario: str) -> Sandbox:
        drills.inject(any_sandbox, get_drill(scenario), print)
        return any_sandbox

    yield start
    drills.reset(any_sandbox, print)
    assert is_quiet(any_sandbox)
    assert [get_answer(f"{any_sandbox.url}{path}") for path in ("/health/ready", "/api/prices", "/api/session")] == [
        200
    ] * 3


def statuses(found: list[Answer]) -> set[tuple[str, int]]:
    return {(answer.made_by, answer.status) for answer in found}


def test_bad_deploy(inject: Inject) -> None:
    """Every replica runs the new release, and one route of it fails whoever asks."""
    running = inject("bad-deploy")
    assert {replica.version for replica in running.replicas()} == {"1.5.0"}
    assert get_answer(f"{running.url}/api/portfolio") == 500
    assert get_answer(f"{running.url}/api/prices") == 200


def test_a_release_is_taken_back(any_sandbox: Sandbox, inject: Inject) -> None:
    """Healing deploys the release that the platform had."""
    inject("bad-deploy")
    drills.reset(any_sandbox, print)
    state = read_state(any_sandbox.home)
    assert state is not None
    assert (state.version, state.defects) == (VERSION, "")
    assert {replica.version for replica in any_sandbox.replicas()} == {VERSION}


def test_single_replica(inject: Inject) -> None:
    """The first replica fails what it is asked, and is ready by its own account."""
    running = inject("single-replica")
    first, second, _ = running.replicas()
    assert (running.ask(first, "/api/prices"), running.ask(second, "/api/prices")) == (500, 200)
    assert running.ask(first, "/health/ready") == 200


def test_redis_failing(inject: Inject) -> None:
    """Sessions fail, everything else is served."""
    running = inject("redis-failing")
    assert get_answer(f"{running.url}/api/session") == 500
    assert {answer.path for answer in failures(running)} == {"/api/session"}


@pytest.mark.parametrize(("scenario", "status"), [("backend-stopped", 502), ("backend-hanging", 504)])
def test_proxy_answers_by_itself(inject: Inject, scenario: str, status: int) -> None:
    """No replica has a part in it."""
    assert ("proxy", status) in statuses(failures(inject(scenario)))


def test_traffic_flood(inject: Inject) -> None:
    """Three addresses send most of what the proxy sees, and requests find no connection."""
    running = inject("traffic-flood")
    seen = Counter(answer.client for answer in answers(running, seconds=4))
    assert {client for client, _ in seen.most_common(3)} == {"203.0.113.66", "203.0.113.67", "203.0.113.68"}
    assert ("backend", 503) in statuses(failures(running))


def test_client_mistake(inject: Inject) -> None:
    """400 for one client, and no failure for anybody."""
    running = inject("client-mistake")
    assert {answer.client for answer in answers(running) if answer.status == 400} == {"203.0.113.90"}
    assert failures(running) == []


def test_old_error_burst(inject: Inject) -> None:
    """It stands in the log, and is over."""
    running = inject("old-error-burst-http")
    assert failures(running, seconds=60)
    assert failures(running, seconds=10) == []


def test_users_have_addresses(any_sandbox: Sandbox) -> None:
    """As a load balancer would tell them; no few of them send most."""
    seen = Counter(answer.client for answer in answers(any_sandbox, seconds=10) if answer.path.startswith("/api"))
    assert len(seen) > 10
