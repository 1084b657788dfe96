"""Certificates that clients refuse, or soon will, served by NGINX for real."""

from __future__ import annotations

import socket
import ssl
import time
from abc import abstractmethod
from dataclasses import dataclass

from cryptography import x509

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.acme import start_acme
from flowrex_sandbox.certificates import SITES, Authority, fingerprint, make_authority
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.proxy import nginx, reload_nginx
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

SITE = "flowrex.test"
OTHER_SITE = "ws.flowrex.test"
_RELOAD_SECONDS = 10.0
_SAME_ANSWERS = 5
_BETWEEN_ANSWERS_SECONDS = 0.08
"""After a reload the old worker still answers now and then, for some 150 ms; so many answers in a row must agree."""


@dataclass(frozen=True, slots=True)
class _Certificate(Fault):
    """Puts a certificate in place for one site and lets NGINX reload; *renewable*: from an ACME server that runs."""

    site: str = SITE
    renewable: bool = False

    @abstractmethod
    def put(self, authority: Authority) -> None:
        """Put the certificate where NGINX takes it from."""

    def start(self, sandbox: Sandbox) -> None:
        if "https" not in sandbox.state.ports:
            raise SandboxError(f"fault '{self.name}' needs NGINX with TLS, which this sandbox has not; start a new one")
        if self.renewable:
            start_acme(sandbox)
        self.put(sandbox.authority)
        reload_nginx(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _serves(sandbox, self.site, sandbox.authority.lying(self.site))

    def stop(self, sandbox: Sandbox) -> None:
        restore_certificates(sandbox)


@dataclass(frozen=True, slots=True)
class ExpiredCertificate(_Certificate):
    """It ended two days ago."""

    name = "expired-certificate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, days_left=-2)


@dataclass(frozen=True, slots=True)
class ExpiringCertificate(_Certificate):
    """It ends in nine days; certbot should have renewed it three weeks ago."""

    name = "expiring-certificate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, days_left=9)


@dataclass(frozen=True, slots=True)
class FutureCertificate(_Certificate):
    """It begins in three days."""

    name = "future-certificate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, begins_in_days=3)


@dataclass(frozen=True, slots=True)
class WrongNameCertificate(_Certificate):
    """It is staging's."""

    name = "wrong-name-certificate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, names=("staging.flowrex.test",))


@dataclass(frozen=True, slots=True)
class MissingIntermediate(_Certificate):
    """``cert.pem`` where ``fullchain.pem`` belongs."""

    name = "missing-intermediate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, with_intermediate=False)


@dataclass(frozen=True, slots=True)
class SelfSignedCertificate(_Certificate):
    """Signed by its own key."""

    name = "self-signed-certificate"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, self_signed=True)


@dataclass(frozen=True, slots=True)
class UnknownAuthority(_Certificate):
    """Signed, with its intermediate, by an authority that no client has heard of."""

    name = "unknown-authority"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, issuer=make_authority("Elsewhere")[1])


@dataclass(frozen=True, slots=True)
class RenewedNotReloaded(_Certificate):
    """The old one, five days before its end, is served; a new one lies on disk."""

    name = "renewed-not-reloaded"

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, days_left=5)

    def start(self, sandbox: Sandbox) -> None:
        _Certificate.start(self, sandbox)
        old = sandbox.authority.lying(self.site)
        _await_served(sandbox, self.site, old)
        sandbox.authority.issue(self.site)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return get_served(sandbox, self.site) not in ("", sandbox.authority.lying(self.site))


@dataclass(frozen=True, slots=True)
class SoundCertificate(_Certificate):
    """Nothing is wrong with it: renewed just now, or a month ago and sixty days before its end."""

    name = "sound-certificate"
    days_left: float = 60

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, days_left=self.days_left)


def restore_certificates(sandbox: Sandbox) -> None:
    """A good certificate for every site, on disk and served; nothing happens where that is so already."""
    if "https" not in sandbox.state.ports or not nginx(sandbox).running:
        return
    authority = sandbox.authority
    ill = [site for site in SITES if not authority.is_good(site)]
    for site in ill:
        authority.issue_good(site)
    stale = [site for site in SITES if get_served(sandbox, site) != authority.lying(site)]
    if ill or stale:
        reload_nginx(sandbox)
    for site in SITES if ill or stale else ():
        _await_served(sandbox, site, authority.lying(site))


def clients_accept(sandbox: Sandbox) -> bool:
    """Whether a client that trusts the sandbox's roots alone connects to every site; True without TLS."""
    return "https" not in sandbox.state.ports or not any(refusal(sandbox, site) for site in SITES)


def refusal(sandbox: Sandbox, site: str, *, timeout_seconds: float = 3.0) -> str:
    """Why a client that trusts the sandbox's roots alone refuses *site*; nothing where it connects."""
    context = ssl.create_default_context(cafile=sandbox.authority.anchor)
    where = ("127.0.0.1", sandbox.state.ports["https"])
    try:
        with (
            socket.create_connection(where, timeout=timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=site),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError as error:
        return type(error).__name__


def get_served(sandbox: Sandbox, site: str, *, timeout_seconds: float = 2.0) -> str:
    """SHA-256 of the certificate that NGINX serves for *site*; empty where it serves none in time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", sandbox.state.ports["https"]), timeout=timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=site) as connection,
        ):
            return fingerprint(x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b""))
    except (OSError, ValueError):
        return ""


def _serves(sandbox: Sandbox, site: str, wanted: str) -> bool:
    for _ in range(_SAME_ANSWERS):
        if get_served(sandbox, site) != wanted:
            return False
        time.sleep(_BETWEEN_ANSWERS_SECONDS)
    return True


def _await_served(sandbox: Sandbox, site: str, wanted: str) -> None:
    await_condition(
        lambda: _serves(sandbox, site, wanted),
        f"NGINX served the certificate of {site} that lies on disk",
        timeout_seconds=_RELOAD_SECONDS,
        details=lambda: "read the log of nginx",
    )
