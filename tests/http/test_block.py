"""A client shut out at real NGINX: who is turned away, who is not, until when, and what is never blocked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import mitigate

from flowrex_ops.errors import ParameterError
from flowrex_ops.http.block_snippets import seconds_before
from flowrex_ops.model import MitigationState, Outcome
from flowrex_ops.proxy.snippets import parse_header
from flowrex_sandbox.faults.proxy import clear_control
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

FLOODER, CUSTOMER = "203.0.113.66", "198.51.100.7"


@pytest.fixture
def proxy(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    clear_control(any_sandbox)


def block(sandbox: Sandbox, *clients: str, approved: bool = True, minutes: float = 30.0) -> Outcome:
    found = mitigate(
        sandbox, "block-client", cause="http.traffic-flood", approved=approved, clients=clients, minutes=minutes
    )
    return found


def unblock(sandbox: Sandbox, *clients: str) -> Outcome:
    return mitigate(sandbox, "unblock-clients", clients=clients)


def ask(sandbox: Sandbox, client: str, path: str = "/api/prices") -> httpx.Response:
    return httpx.get(f"{sandbox.url}{path}", headers={"X-Forwarded-For": client}, timeout=5)


def snippets(sandbox: Sandbox) -> list[str]:
    return sorted(path.name for path in sandbox.control.glob("*-block-*"))


def flood(sandbox: Sandbox, client: str = FLOODER, others: int = 6) -> None:
    """Most requests from one client, among several; they are in the log once this returns."""
    for number in range(others):
        ask(sandbox, f"198.51.100.{number + 20}")
    for _ in range(300):
        ask(sandbox, client)


class TestBlock:
    def test_the_client_is_turned_away_and_nobody_else(self, proxy: Sandbox) -> None:
        """429 says who is at fault and when to come back; it is no server error that would page somebody."""
        outcome = block(proxy, FLOODER)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        answer = ask(proxy, FLOODER)
        assert answer.status_code == 429
        ends = parsedate_to_datetime(answer.headers["Retry-After"])
        assert 29 * 60 < (ends - datetime.now(UTC)).total_seconds() <= 30 * 60
        assert ask(proxy, CUSTOMER).status_code == 200
        assert "Retry-After" not in ask(proxy, CUSTOMER).headers

    @pytest.mark.thorough
    def test_without_names_whoever_floods(self, proxy: Sandbox) -> None:
        """Found in the proxy's log at the moment of planning, with what it sent."""
        flood(proxy)
        planned = mitigate(
            proxy, "block-client", cause="http.traffic-flood", approved=False, recent_minutes=0.5, flood_share=0.3
        )
        assert planned.plan is not None, planned.reason
        (target,) = planned.plan.targets
        assert target.identity == (f"{FLOODER}/32",)
        assert re.fullmatch(rf"{FLOODER}, \d+ of \d+ requests in 0.5 minutes", target.label)
        assert snippets(proxy) == []

    def test_nobody_floods(self, proxy: Sandbox) -> None:
        """Nothing is guessed."""
        outcome = mitigate(proxy, "block-client", cause="http.traffic-flood", flood_share=1.0)
        assert outcome.state is MitigationState.REFUSED
        assert "name them in clients" in outcome.reason

    def test_it_ends_by_itself(self, proxy: Sandbox) -> None:
        """NGINX does that, so that nobody must remember; the next block takes the old snippets away."""
        assert block(proxy, FLOODER, minutes=0.1).state is MitigationState.VERIFIED
        assert ask(proxy, FLOODER).status_code == 429
        await_condition(lambda: ask(proxy, FLOODER).status_code == 200, "the block ended", timeout_seconds=10)
        assert len(snippets(proxy)) == 2
        block(proxy, "203.0.113.67")
        assert snippets(proxy) == ["http-block-203_0_113_67_32.conf", "server-block-203_0_113_67_32.conf"]

    def test_twice_is_longer(self, proxy: Sandbox) -> None:
        block(proxy, FLOODER, minutes=5)
        again = block(proxy, FLOODER, minutes=60)
        assert "it was blocked until" in again.reason
        assert "by ada already" in again.reason
        (head,) = {parse_header((proxy.control / name).read_text()) for name in snippets(proxy)}
        assert head is not None
        assert head.about == f"{FLOODER}/32"

    def test_networks_and_ipv6(self, proxy: Sandbox) -> None:
        """An attacker has a /64 at least."""
        outcome = block(proxy, "203.0.113.0/25", "2001:db8:66::/64")
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        asked = ("203.0.113.1", "203.0.113.200", "2001:db8:66::1", "2001:db8:67::1")
        assert [ask(proxy, client).status_code for client in asked] == [429, 200, 429, 200]

    @pytest.mark.parametrize("client", ["10.1.2.3", "172.20.0.1", "192.168.1.0/24", "127.0.0.1", "::1"])
    def test_never_the_load_balancer(self, proxy: Sandbox, client: str) -> None:
        """Behind it is everybody."""
        outcome = block(proxy, client)
        assert outcome.state is MitigationState.REFUSED
        assert "proxy.never_block" in outcome.reason
        assert snippets(proxy) == []

    @pytest.mark.parametrize(
        ("clients", "minutes", "said"),
        [
            (("example.org",), 5, "'example.org' is no address"),
            (("203.0.0.0/16",), 5, "wider than /24"),
            ((FLOODER,), 0, "minutes: 0 is not between"),
            ((FLOODER,), 5000, "minutes: 5000 is not between"),
        ],
    )
    def test_bad_wishes(self, proxy: Sandbox, clients: tuple[str, ...], minutes: float, said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            block(proxy, *clients, minutes=minutes)

    def test_configuration_broken_by_hand_before(self, proxy: Sandbox) -> None:
        """Named, and nothing is changed."""
        broken = proxy.control / "http-mine.conf"
        broken.write_text("map $uri {\n")
        outcome = block(proxy, FLOODER)
        broken.unlink()
        assert outcome.state is MitigationState.FAILED
        assert "broken before anything was changed" in outcome.reason
        assert snippets(proxy) == []
        assert ask(proxy, FLOODER).status_code == 200


class TestUnblock:
    def test_one_of_two(self, proxy: Sandbox) -> None:
        block(proxy, FLOODER, "203.0.113.67")
        outcome = unblock(proxy, FLOODER)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert [ask(proxy, client).status_code for client in (FLOODER, "203.0.113.67")] == [200, 429]

    def test_all(self, proxy: Sandbox) -> None:
        block(proxy, FLOODER, "203.0.113.67")
        assert unblock(proxy).state is MitigationState.VERIFIED
        assert snippets(proxy) == []

    def test_nothing_is_blocked(self, proxy: Sandbox) -> None:
        assert unblock(proxy).state is MitigationState.REFUSED
        assert "203.0.113.66 is not blocked; blocked are: none" in unblock(proxy, FLOODER).reason


class TestEnd:
    @given(st.integers(10**9, 10**10 - 1), st.integers(10**9, 10**10 - 1))
    def test_seconds_before(self, end: int, now: int) -> None:
        """A comparison of numbers, as a pattern."""
        assert bool(re.fullmatch(seconds_before(end), str(now))) is (now < end)

    @given(st.integers(10**9 + 1, 10**10 - 2))
    def test_to_the_second(self, end: int) -> None:
        found = [bool(re.fullmatch(seconds_before(end), str(end + step))) for step in (-1, 0, 1)]
        assert found == [True, False, False]
