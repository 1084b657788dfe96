"""Maintenance mode on real NGINX: who gets the page, who does not, and that on and off can be said twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import investigate

from flowrex_ops.errors import ParameterError
from flowrex_ops.guard import Approval, guard
from flowrex_ops.model import MitigationState, Outcome
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.proxy.maintenance import HEADER, SERVER, MaintenanceOff, MaintenanceOn
from flowrex_ops.proxy.snippets import parse_header
from flowrex_ops.settings import load
from flowrex_sandbox.faults.proxy import clear_control
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.both_stacks


@pytest.fixture
def platform(any_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield any_sandbox
    clear_control(any_sandbox)


def common(sandbox: Sandbox) -> dict[str, Any]:
    proxy = ProxyControl(sandbox.stack(), load(sandbox.settings_file).proxy, command_seconds=5.0)
    return {"proxy": proxy, "url": sandbox.url, "health": "/health/ready", "request_seconds": 5.0}


def switch_on(sandbox: Sandbox, operator: str = "ada", **wishes: Any) -> Outcome:
    given = {"page": "", "message": "", "retry_after_seconds": 120, "allow": (), **wishes}
    return applied(MaintenanceOn(**common(sandbox), **given), operator)


def switch_off(sandbox: Sandbox) -> Outcome:
    return applied(MaintenanceOff(**common(sandbox)), "ada")


def applied(mitigation: Any, operator: str) -> Outcome:
    approval = Approval({mitigation.slug: None}, operator)
    return guard(mitigation, verdicts={}, approval=approval, timeline=lambda *_: None, max_targets=5)


def ask(
    sandbox: Sandbox, path: str = "/api/prices", method: str = "GET", client: str = "198.51.100.7"
) -> httpx.Response:
    return httpx.request(method, f"{sandbox.url}{path}", headers={"X-Forwarded-For": client}, timeout=5)


class TestOn:
    def test_users_get_the_page_and_when_to_come_back(self, platform: Sandbox) -> None:
        """Every path and every method; a 405 to a POST would be taken for a bug of the client."""
        outcome = switch_on(platform, message="Back at <14:00> UTC")
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        for method, path in (
            ("GET", "/"),
            ("GET", "/api/prices"),
            ("POST", "/api/trades"),
            ("DELETE", "/x"),
            ("GET", "/ws"),
        ):
            answer = ask(platform, path, method)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "120"), (method, path)
            assert "Back at &lt;14:00&gt; UTC" in answer.text
            assert answer.headers["Cache-Control"] == "no-store"

    def test_health_checks_and_acme_challenges_still_reach_the_platform(self, platform: Sandbox) -> None:
        """Else the orchestrator would restart what is merely being looked after, and no certificate could be renewed."""
        switch_on(platform)
        assert ask(platform, "/health/ready").status_code == 200
        assert HEADER not in ask(platform, "/.well-known/acme-challenge/token").headers

    def test_allowed_addresses_use_the_platform(self, platform: Sandbox) -> None:
        """So that somebody can see whether it works before everybody comes back."""
        switch_on(platform, allow=("203.0.113.0/24",))
        assert ask(platform, "/api/prices", client="203.0.113.9").status_code == 200
        assert ask(platform, "/api/prices").status_code == 503

    def test_a_page_of_ones_own(self, platform: Sandbox, tmp_path: Path) -> None:
        """The file is copied: who edits it later does not change what users see."""
        page = tmp_path / "page.html"
        page.write_text("<h1>Gleich zurück</h1>", encoding="utf-8")
        assert switch_on(platform, page=str(page)).state is MitigationState.VERIFIED
        page.write_text("", encoding="utf-8")
        assert ask(platform).text == "<h1>Gleich zurück</h1>"

    def test_no_other_file_of_this_machine_becomes_the_page(self, platform: Sandbox, tmp_path: Path) -> None:
        """Neither by its own name nor behind one that looks like a page's."""
        (tmp_path / "page.html").symlink_to("/etc/hostname")
        for page in ("/etc/hostname", str(tmp_path / "page.html")):
            outcome = switch_on(platform, page=page)
            assert (outcome.state, "is no HTML file" in outcome.reason) == (MitigationState.REFUSED, True)

    def test_page_that_cannot_be_read_changes_nothing(self, platform: Sandbox) -> None:
        """The parameter is named."""
        outcome = switch_on(platform, page="/nowhere.html")
        assert (outcome.state, ask(platform).status_code) == (MitigationState.REFUSED, 200)
        assert "correct the parameter page" in outcome.reason

    def test_twice_is_once_and_says_since_when_and_by_whom(self, platform: Sandbox) -> None:
        """The second changes nothing; another wish changes the page and keeps the beginning."""
        switch_on(platform)
        since = parse_header((platform.control / SERVER).read_text())
        again = switch_on(platform, "grace")
        assert again.state is MitigationState.VERIFIED
        assert since is not None
        assert f"it was on since {since.since}, by ada already" in again.reason
        switch_on(platform, "grace", retry_after_seconds=60)
        assert parse_header((platform.control / SERVER).read_text()) == since
        assert ask(platform).headers["Retry-After"] == "60"

    def test_configuration_broken_by_hand_beforehand(self, platform: Sandbox) -> None:
        """Nothing is reloaded, users notice nothing, and NGINX's complaint is quoted."""
        (platform.control / "server-by-hand.conf").write_text("return 503\n")
        outcome = switch_on(platform)
        assert outcome.state is MitigationState.FAILED
        assert "broken before anything was changed" in outcome.reason
        assert ask(platform).status_code == 200


class TestOff:
    def test_users_are_back_and_a_second_time_changes_nothing(self, platform: Sandbox) -> None:
        """Off says how long it was on; off twice is off."""
        switch_on(platform)
        outcome = switch_off(platform)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert "it was on since" in outcome.reason
        assert [ask(platform).status_code for _ in range(10)] == [200] * 10
        assert list(platform.control.iterdir()) == []
        assert "it was off already" in switch_off(platform).reason


@pytest.mark.parametrize("allow", ["10.0.0.0/33", "everybody", "1; } return 200 'x'; #"])
def test_allow_takes_addresses_and_networks_only(allow: str) -> None:
    """What goes into NGINX's configuration is never free text."""
    wishes: dict[str, Any] = {"page": "", "message": "", "retry_after_seconds": 60, "allow": (allow,)}
    with pytest.raises(ParameterError, match="write 203"):
        MaintenanceOn(proxy=None, url="", health="", request_seconds=1.0, **wishes)  # type: ignore[arg-type]  # never asked


def test_what_was_begun_before_a_change_is_asked_anew(
    platform: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last cell shows how it is after; a mitigation that was only planned changes nothing of that."""
    monkeypatch.chdir(tmp_path)
    investigation = investigate(platform, "maintenance-on")
    investigation.begin(investigation.backend.sample_pools, window_seconds=0.2)
    investigation.mitigate("maintenance-off")
    assert len(investigation.backend.begun) == 1
    investigation.mitigate("maintenance-on")
    assert not investigation.backend.begun
