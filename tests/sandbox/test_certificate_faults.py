"""Certificate faults are real: a strict client of Python's own refuses for the reason that was injected, and not after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.acme import stop_acme
from flowrex_sandbox.certificates import SITES
from flowrex_sandbox.faults import proxy, tls
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.tls import OTHER_SITE, get_served, refusal, restore_certificates
from flowrex_sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.drill, pytest.mark.thorough]  # the drills show the same from the other side


@pytest.fixture
def platform(any_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A platform whose certificates are good again afterwards, and seen to be."""
    yield any_sandbox
    for fault in (proxy.NginxHanging(), proxy.NginxStopped()):
        fault.stop(any_sandbox)
    restore_certificates(any_sandbox)
    assert [refusal(any_sandbox, site) for site in SITES] == ["", ""]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (tls.ExpiredCertificate(), "expired"),
        (tls.FutureCertificate(), "not yet valid"),
        (tls.WrongNameCertificate(), "Hostname mismatch"),
        (tls.MissingIntermediate(), "unable to get local issuer"),
        (tls.SelfSignedCertificate(), "self-signed"),
        (tls.UnknownAuthority(), "unable to get local issuer"),
        (proxy.NginxStopped(), "ConnectionRefused"),
        (proxy.NginxHanging(), "TimeoutError"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_clients_refuse(platform: Sandbox, fault: Fault, words: str) -> None:
    """The first site is refused for this reason."""
    fault.inject(platform, {})
    found = refusal(platform, "flowrex.test").replace("self signed", "self-signed")
    if platform.state.stack == "compose" and isinstance(fault, proxy.NginxStopped):
        assert found  # docker's proxy may accept and hang up
    else:
        assert words in found


@pytest.mark.parametrize(
    "fault", [tls.ExpiringCertificate(), tls.RenewedNotReloaded(), tls.ValidCertificate()], ids=lambda fault: fault.name
)
def test_clients_do_not_refuse_yet(platform: Sandbox, fault: Fault) -> None:
    """What is only about to go wrong hurts nobody."""
    fault.inject(platform, {})
    assert refusal(platform, "flowrex.test") == ""


def test_the_other_site_is_left_alone(platform: Sandbox) -> None:
    before = get_served(platform, OTHER_SITE)
    tls.ExpiredCertificate().inject(platform, {})
    assert get_served(platform, OTHER_SITE) == before


def test_restoring_what_is_sound_changes_nothing(platform: Sandbox) -> None:
    """Healing a database drill issues no certificate and reloads nothing."""
    before = [get_served(platform, site) for site in SITES]
    restore_certificates(platform)
    assert [get_served(platform, site) for site in SITES] == before


def test_sandbox_without_tls(platform: Sandbox) -> None:
    """A sandbox that was made before there was TLS, or without NGINX, says so."""
    from dataclasses import replace

    ports = {purpose: port for purpose, port in platform.state.ports.items() if purpose != "https"}
    old = Sandbox(replace(platform.state, ports=ports))
    restore_certificates(old)
    with pytest.raises(SandboxError, match="needs NGINX with TLS"):
        tls.ExpiredCertificate().start(old)


def test_sandbox_without_an_acme_server(supervisor_sandbox: Sandbox) -> None:
    """A machine without certbot and Pebble is told what to install; drills of diagnosis still work there."""
    from dataclasses import replace

    stop_acme(supervisor_sandbox)
    ports = {
        purpose: port for purpose, port in supervisor_sandbox.state.ports.items() if not purpose.startswith("acme")
    }
    without = Sandbox(replace(supervisor_sandbox.state, ports=ports))
    with pytest.raises(SandboxError, match="has no ACME server; install NGINX, certbot and pebble"):
        tls.ExpiredCertificate(renewable=True).start(without)
