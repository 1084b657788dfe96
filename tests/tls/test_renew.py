"""Certificates renewed through certbot from a real ACME server, and NGINX reloaded; whatever fails, the old one is still served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from load import Load
from running import investigate, mitigate

from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.model import MitigationState
from flowrex_ops.settings import CertbotSettings
from flowrex_ops.tls.certbot import Certbot
from flowrex_sandbox.acme import start_acme, stop_acme
from flowrex_sandbox.faults.proxy import NginxStopped, empty_control, reload_nginx
from flowrex_sandbox.faults.tls import (
    OTHER_SITE,
    SITE,
    ExpiredCertificate,
    RenewedNotReloaded,
    get_served,
    refusal,
    restore_certificates,
)
from flowrex_sandbox.sandbox import Sandbox

RENEW, RELOAD = "renew-certificate", "reload-nginx"
EXPIRED, NOT_RELOADED = "tls.expired", "tls.not-reloaded"


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Its certificates are good again afterwards, and NGINX runs with its own configuration."""
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    empty_control(any_sandbox)
    NginxStopped().stop(any_sandbox)
    reload_nginx(any_sandbox)
    restore_certificates(any_sandbox)


def let_expire(sandbox: Sandbox) -> None:
    """And an ACME server runs that would give another one."""
    ExpiredCertificate(renewable=True).inject(sandbox, {})


def leave_unreloaded(sandbox: Sandbox) -> None:
    """The old one, near its end, is served; a new one lies on disk."""
    RenewedNotReloaded().inject(sandbox, {})


def break_by_hand(sandbox: Sandbox) -> None:
    """Somebody's half-finished edit; NGINX runs on with what it has read."""
    (sandbox.control / "server-by-hand.conf").write_text("return 503\n")


def refuse_challenges(sandbox: Sandbox) -> None:
    """A rule of the proxy's hides the webroot from the ACME server."""
    (sandbox.control / "server-by-hand.conf").write_text("location ~ ^/[.]well-known/ { return 403; }\n")
    reload_nginx(sandbox)


class TestRenew:
    def test_clients_accept_a_new_certificate_and_nobody_is_cut_off(self, platform: Sandbox) -> None:
        """Of that site alone; every request under way is answered, every WebSocket stays open."""
        let_expire(platform)
        other = get_served(platform, OTHER_SITE)
        assert refusal(platform, SITE) == "certificate has expired"
        with Load(platform) as load:
            outcome = mitigate(platform, RENEW, cause=EXPIRED)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert (
            "certbot renewed 'flowrex.test', NGINX was reloaded. verified as served: flowrex.test until"
            in outcome.reason
        )
        assert [refusal(platform, site) for site in (SITE, OTHER_SITE)] == ["", ""]
        assert get_served(platform, SITE) == platform.authority.lying(SITE)
        assert get_served(platform, OTHER_SITE) == other
        assert (load.lost, dict(load.close_codes)) == (0, {}), load

    def test_plan_names_certificate_endpoint_and_acme_server(self, platform: Sandbox) -> None:
        """And nothing is asked of anybody before it is approved."""
        let_expire(platform)
        before = get_served(platform, SITE), platform.authority.lying(SITE)
        outcome = mitigate(platform, RENEW, cause=EXPIRED, approved=False)
        assert outcome.state is MitigationState.PLANNED
        assert outcome.plan is not None
        [target] = outcome.plan.targets
        assert target.label.startswith("certificate 'flowrex.test': flowrex.test at 127.0.0.1:")
        assert "/dir" in outcome.plan.action
        assert (get_served(platform, SITE), platform.authority.lying(SITE)) == before

    @pytest.mark.parametrize(
        ("trouble", "said"),
        [
            (stop_acme, "the ACME server 'https://"),
            (refuse_challenges, "flowrex.test' (unauthorized): "),
            (break_by_hand, "the configuration was broken before anything was changed"),
        ],
        ids=["acme-down", "challenge-refused", "nginx-broken-by-hand"],
    )
    def test_failure_is_named_and_the_old_certificate_still_served(
        self, platform: Sandbox, trouble: Callable[[Sandbox], None], said: str
    ) -> None:
        """The record says what is served now, and until when."""
        let_expire(platform)
        before = get_served(platform, SITE)
        trouble(platform)
        outcome = mitigate(platform, RENEW, cause=EXPIRED)
        assert outcome.state is MitigationState.FAILED
        assert said in outcome.reason
        assert "flowrex.test serves the certificate until" in outcome.reason
        assert get_served(platform, SITE) == before == platform.authority.lying(SITE)

    @pytest.mark.parametrize(
        ("environment", "said"),
        [
            ({"PROGRAM": '["certbot-of-nowhere"]'}, "certbot-of-nowhere"),
            ({"SERVICE": "nowhere"}, "service 'nowhere' does not run"),
        ],
        ids=["missing", "service-down"],
    )
    def test_without_certbot_there_is_no_plan(
        self, platform: Sandbox, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], said: str
    ) -> None:
        """Refused before anybody approves what could not be done."""
        let_expire(platform)
        for name, value in environment.items():
            monkeypatch.setenv(f"FLOWREX_OPS_CERTBOT__{name}", value)
        outcome = mitigate(platform, RENEW, cause=EXPIRED)
        assert (outcome.state, outcome.plan) == (MitigationState.REFUSED, None)
        assert said in outcome.reason

    @pytest.mark.thorough
    def test_broken_meanwhile_leaves_the_new_one_for_a_reload(self, platform: Sandbox) -> None:
        """NGINX's configuration is broken while certbot works: renewed on disk, the old one served, and said so."""
        let_expire(platform)
        before = get_served(platform, SITE)
        investigation = investigate(platform, RENEW, RELOAD, cause=EXPIRED)
        note = investigation.store.note

        def meddle(kind: str, facts: Mapping[str, object]) -> None:
            note(kind, facts)
            if kind == "mitigation-step" and "NGINX serves" in str(facts["action"]):
                break_by_hand(platform)

        investigation.store.note = meddle  # type: ignore[method-assign, assignment]  # the test steps in there
        outcome = investigation.mitigate(RENEW)
        assert outcome.state is MitigationState.FAILED
        assert "'flowrex.test' was renewed, but NGINX does not serve it: NGINX refuses it" in outcome.reason
        assert "lies on disk, for reload-nginx" in outcome.reason
        assert get_served(platform, SITE) == before != platform.authority.lying(SITE)
        (platform.control / "server-by-hand.conf").unlink()
        assert mitigate(platform, RELOAD, cause=NOT_RELOADED).state is MitigationState.VERIFIED
        assert refusal(platform, SITE) == ""

    @pytest.mark.parametrize(
        ("step", "left"),
        [("certbot renews", ""), pytest.param("NGINX serves", "for reload-nginx", marks=pytest.mark.thorough)],
    )
    def test_ctrl_c_says_what_is_served(self, platform: Sandbox, step: str, left: str) -> None:
        """At either step the old certificate is still served, and the timeline tells whether the new one waits on disk."""
        let_expire(platform)
        before = get_served(platform, SITE)
        investigation = investigate(platform, RENEW, cause=EXPIRED)
        note, reported = investigation.store.note, []

        def press(kind: str, facts: Mapping[str, object]) -> None:
            note(kind, facts)
            if kind == "mitigation-result":
                reported.append(str(facts["reason"]))
            if kind == "mitigation-step" and step in str(facts["action"]):
                raise KeyboardInterrupt

        investigation.store.note = press  # type: ignore[method-assign, assignment]  # the test steps in there
        with pytest.raises(KeyboardInterrupt):
            investigation.mitigate(RENEW)
        assert "flowrex.test serves the certificate until" in reported[-1]
        assert left in reported[-1]
        assert get_served(platform, SITE) == before

    def test_what_waits_on_disk_is_not_renewed_once_more(self, platform: Sandbox) -> None:
        """A reload is all that it takes; limits of the ACME server are not spent."""
        start_acme(platform)
        leave_unreloaded(platform)
        outcome = mitigate(platform, RENEW, cause="tls.expiring")
        assert outcome.state is MitigationState.REFUSED
        assert "nothing to act on" in outcome.reason


class TestReload:
    def test_serves_what_lies_on_disk(self, platform: Sandbox) -> None:
        leave_unreloaded(platform)
        outcome = mitigate(platform, RELOAD, cause=NOT_RELOADED)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert all(get_served(platform, SITE) == platform.authority.lying(SITE) for _ in range(20))
        assert mitigate(platform, RELOAD, cause=NOT_RELOADED).state is MitigationState.REFUSED

    def test_configuration_broken_by_hand(self, platform: Sandbox) -> None:
        """Nothing is reloaded, NGINX's complaint is quoted, the old certificate is still served."""
        leave_unreloaded(platform)
        before = get_served(platform, SITE)
        break_by_hand(platform)
        outcome = mitigate(platform, RELOAD, cause=NOT_RELOADED)
        assert outcome.state is MitigationState.FAILED
        assert "broken before anything was changed: NGINX refuses it: " in outcome.reason
        assert "lies on disk, for reload-nginx" in outcome.reason
        assert get_served(platform, SITE) == before


def certbot_that(script: str, **settings: object) -> Certbot:
    """A program in certbot's place, which says and ends as certbot does."""
    given = {"service": "", "program": ("sh", "-c", script), "seconds": 5.0, **settings}
    return Certbot(None, CertbotSettings.model_validate(given))  # type: ignore[arg-type]  # no service, so no stack


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Certificate not yet due for renewal'", "finds 'a.test' not due"),
        ("echo 'No renewals were attempted.'", "finds 'a.test' not due"),
        (
            "echo 'No certificate found with name a.test (expected /x.conf).' >&2; exit 1",
            "knows no certificate 'a.test'",
        ),
        (
            "echo 'Failed to renew certificate a.test with error: urn:ietf:params:acme:error:rateLimited :: too many' >&2; exit 1",
            "rate limit is reached: urn:ietf",
        ),
        (
            "echo 'with error: Requesting acme/dir: Name or service not known' >&2; exit 1",
            "cannot be reached: Requesting",
        ),
        ("echo 'Another instance of Certbot is already running.' >&2; exit 1", "another certbot is at work"),
        ("exit 1", "no reason given"),
    ],
)
def test_what_certbot_says_becomes_one_line(script: str, said: str) -> None:
    with pytest.raises(VerificationError, match=said) as reported:
        certbot_that(script).renew("a.test")
    assert "\n" not in str(reported.value)


def test_certbot_that_does_not_end() -> None:
    """It is ended, and its limit named."""
    with pytest.raises(SourceUnavailableError, match=r"did not end in 0\.3 s"):
        certbot_that("exec sleep 60", seconds=0.3).renew("a.test")


def test_certbot_that_is_broken_is_refused() -> None:
    with pytest.raises(
        MitigationRefusedError, match=r"cannot be run: no module named certbot; .*correct certbot\.program"
    ):
        certbot_that("echo 'no module named certbot' >&2; exit 1").require()
