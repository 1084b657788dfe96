"""X.509 certificates as plain values: what a handshake served and what a file holds, parsed without judging."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import idna
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

T = TypeVar("T")

MOST_BYTES = 1_000_000
"""A certificate file is a few kilobytes; a larger one is something else."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. ``names`` are those that it is valid for (DNS names and addresses of its SAN); times in UTC.

    ``signed_by`` is the place in the same chain of the certificate that has really signed it; None where it is not there.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    fingerprint: str
    self_issued: bool
    signed_by: int | None = None
    ca_issuers: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    crl: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.subject


def ascii_name(name: str) -> str:
    """*name* as it stands in certificates and handshakes: ``xn--bcher-kva.example`` for ``bücher.example`` (IDNA 2008, as browsers do)."""
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True, transitional=False).decode()
    except idna.IDNAError:
        return name


def parse_chain(encoded: Sequence[bytes]) -> tuple[Certificate, ...]:
    """The certificates of a handshake in DER, as served, the server's own first. Raises ValueError on a malformed one."""
    return _linked([x509.load_der_x509_certificate(der) for der in encoded])


def read_file(path: Path) -> tuple[Certificate, ...]:
    """The certificates of a PEM file (``fullchain.pem``), its first one first; keys in it are passed over.

    Raises OSError where the file cannot be read, ValueError where it holds no certificate.
    """
    with path.open("rb") as stream:
        return _linked(x509.load_pem_x509_certificates(stream.read(MOST_BYTES)))


def _linked(found: Sequence[x509.Certificate]) -> tuple[Certificate, ...]:
    return tuple(_parse(one, _find_signer(one, found)) for one in found)


def _find_signer(certificate: x509.Certificate, found: Sequence[x509.Certificate]) -> int | None:
    places = (place for place, other in enumerate(found) if other != certificate and _signed_by(certificate, other))
    return next(places, None)


def _parse(certificate: x509.Certificate, signed_by: int | None) -> Certificate:
    return Certificate(
        subject=_readable(certificate.subject),
        issuer=_readable(certificate.issuer),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        self_issued=certificate.subject == certificate.issuer,
        signed_by=signed_by,
        ca_issuers=_access(certificate, AuthorityInformationAccessOID.CA_ISSUERS),
        ocsp=_access(certificate, AuthorityInformationAccessOID.OCSP),
        crl=_optional(lambda: _revocation_lists(certificate)),
    )


def _readable(name: x509.Name) -> str:
    """The common name, which is what people call a certificate by; else the whole name."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "(no name)"


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    except UnsupportedAlgorithm:
        return certificate.issuer == issuer.subject
    return True


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """What the SAN lists. A common name does not count: no client of today looks at it (RFC 9525, 6.3)."""

    def read() -> tuple[str, ...]:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
        return (*map(_dns_name, found.get_values_for_type(x509.DNSName)), *addresses)

    return _optional(read)


def _dns_name(name: str) -> str:
    """An address among the DNS names is good for nothing: clients compare addresses with iPAddress entries (RFC 9525, 6.5)."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name
    return f"DNS:{name}"


def _access(certificate: x509.Certificate, method: x509.ObjectIdentifier) -> tuple[str, ...]:
    def read() -> tuple[str, ...]:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        return tuple(str(entry.access_location.value) for entry in found if entry.access_method == method)

    return _optional(read)


def _revocation_lists(certificate: x509.Certificate) -> tuple[str, ...]:
    found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return tuple(str(name.value) for point in found for name in point.full_name or ())


def _optional(read: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """What an extension says; nothing where it is absent or malformed."""
    try:
        return read()
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return ()
