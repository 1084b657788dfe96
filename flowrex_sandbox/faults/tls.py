"""Certificates that clients refuse, or soon will, served by NGINX for real."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from cryptography import x509

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.acme import start_acme
from flowrex_sandbox.certificates import LIFE_DAYS, SITES, Authority, fingerprint, make_authority
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.proxy import NginxHanging, NginxStopped, nginx, reload_nginx
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

SITE = "flowrex.test"
OTHER_SITE = "ws.flowrex.test"
_RELOAD_SECONDS, _ANSWER_SECONDS = 10.0, 2.5
_SAME_ANSWERS = 5
_BETWEEN_ANSWERS_SECONDS = 0.08
"""After a reload the old worker still answers now and then, for some 150 ms; so many answers in a row must agree."""


class _Certificate(Fault):
    """Puts a certificate in place for one site and lets NGINX reload; *renewable*: from an ACME server that runs."""

    site: str = SITE
    renewable: bool = False

    issued: ClassVar[Mapping[str, Any]] = {}
    """How it is made (``Authority.issue``)."""

    def put(self, authority: Authority) -> None:
        """Put the certificate where NGINX takes it from."""
        authority.issue(self.site, **self.issued)

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


class ExpiredCertificate(_Certificate):
    """The certificate ended two days ago."""

    issued: ClassVar[Mapping[str, Any]] = {"days_left": -2}


class ExpiringCertificate(_Certificate):
    """The certificate ends in nine days."""

    issued: ClassVar[Mapping[str, Any]] = {"days_left": 9}


class FutureCertificate(_Certificate):
    """The certificate begins in three days."""

    issued: ClassVar[Mapping[str, Any]] = {"begins_in_days": 3}


class WrongNameCertificate(_Certificate):
    """Staging's certificate is served."""

    issued: ClassVar[Mapping[str, Any]] = {"names": ("staging.flowrex.test",)}


class MissingIntermediate(_Certificate):
    """The intermediate certificate is not served."""

    issued: ClassVar[Mapping[str, Any]] = {"with_intermediate": False}


class SelfSignedCertificate(_Certificate):
    """The certificate is signed by itself."""

    issued: ClassVar[Mapping[str, Any]] = {"self_signed": True}


class UnknownAuthority(_Certificate):
    """The certificate comes from an authority that nobody trusts."""

    def put(self, authority: Authority) -> None:
        authority.issue(self.site, issuer=make_authority("Elsewhere")[1])


class RenewedNotReloaded(_Certificate):
    """The certificate was renewed on disk, and NGINX still serves the old one."""

    issued: ClassVar[Mapping[str, Any]] = {"days_left": 5}

    def start(self, sandbox: Sandbox) -> None:
        super().start(sandbox)
        old = sandbox.authority.lying(self.site)
        _await_served(sandbox, self.site, old)
        sandbox.authority.issue(self.site)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return get_served(sandbox, self.site) not in ("", sandbox.authority.lying(self.site))


class ValidCertificate(_Certificate):
    """Nothing is wrong with it: renewed just now, or a month ago and sixty days before its end."""

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


def refusal(sandbox: Sandbox, site: str) -> str:
    """Why a client that trusts the sandbox's roots alone refuses *site*; nothing where it connects."""
    try:
        _fetch(sandbox, site, ssl.create_default_context(cafile=sandbox.authority.anchor))
        return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError as error:
        return type(error).__name__


def get_served(sandbox: Sandbox, site: str) -> str:
    """SHA-256 of the certificate that NGINX serves for *site*; empty where it serves none in time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return fingerprint(x509.load_der_x509_certificate(_fetch(sandbox, site, context)))
    except (OSError, ValueError):
        return ""


def _fetch(sandbox: Sandbox, site: str, context: ssl.SSLContext) -> bytes:
    where = ("127.0.0.1", sandbox.state.ports["https"])
    with (
        socket.create_connection(where, timeout=_ANSWER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=site) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


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


drill = drills_of("certificate_expiry")
DRILLS = (
    drill("certificates-healthy", title="nothing is wrong with any certificate"),
    drill(
        "certificate-expired",
        ExpiredCertificate(),
        expected="tls.expired",
        alerts="CertificateExpired CertificateRefused",
    ),
    drill("certificate-expiring", ExpiringCertificate(), expected="tls.expiring", alerts="CertificateExpiringSoon"),
    drill("certificate-not-yet-valid", FutureCertificate(), expected="tls.not-yet-valid"),
    drill("certificate-wrong-name", WrongNameCertificate(), expected="tls.hostname-mismatch"),
    drill("certificate-chain-incomplete", MissingIntermediate(), expected="tls.incomplete-chain"),
    drill("certificate-self-signed", SelfSignedCertificate(), expected="tls.untrusted"),
    drill("certificate-unknown-authority", UnknownAuthority(), expected="tls.untrusted"),
    drill(
        "certificate-not-reloaded",
        RenewedNotReloaded(),
        expected="tls.not-reloaded",
        approve="reload-nginx",
        alerts="CertificateExpiringSoon",
    ),
    drill(
        "certificate-renewal",
        ExpiredCertificate(renewable=True),
        title="the certificate ended two days ago, and certbot can renew it",
        expected="tls.expired",
        approve="renew-certificate",
        alerts="CertificateExpired",
    ),
    drill(
        "certificates-renewal-due",
        ExpiringCertificate(renewable=True),
        ExpiringCertificate(OTHER_SITE, renewable=True),
        title="two at once: both sites' certificates end in nine days, and certbot can renew them",
        expected="tls.expiring",
        approve="renew-certificate",
        alerts="CertificateExpiringSoon",
    ),
    drill(
        "certificates-renewal-and-reload",
        ExpiredCertificate(renewable=True),
        RenewedNotReloaded(OTHER_SITE),
        title="two at once: one site's certificate has expired, the other's was renewed and waits for a reload",
        expected="tls.expired tls.not-reloaded",
        approve="reload-nginx renew-certificate",
        alerts="CertificateExpired",
    ),
    drill("nginx-stopped", NginxStopped(), expected="tls.unreachable"),
    drill("nginx-hanging", NginxHanging(), expected="tls.unreachable"),
    drill(
        "certificates-expiring-and-wrong-name",
        ExpiringCertificate(),
        WrongNameCertificate(OTHER_SITE),
        title="two at once: one site's certificate ends soon, the other serves staging's",
        expected="tls.hostname-mismatch tls.expiring",
    ),
    drill(
        "certificates-renewed",
        ValidCertificate(),
        ValidCertificate(OTHER_SITE, days_left=LIFE_DAYS),
        title="red herring: one certificate with sixty days left, and one that was renewed just now",
    ),
)
