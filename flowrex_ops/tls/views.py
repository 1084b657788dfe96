"""Served certificates, looked at in the ways that the checks and the tables need; no verdicts here.

Where a newer certificate that is valid lies on disk, a reload is the cure, and the dates (and the names, if it has them)
of the old one are attributed to that alone: one trouble, one finding.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.tls.certificates import Certificate, ascii_name

ISSUER_NOT_FOUND = frozenset({2, 20, 21})
"""OpenSSL's codes for an issuer that is neither served nor an anchor (openssl verification options)."""


@dataclass(frozen=True, slots=True)
class Served:
    """One endpoint's row, with missing values as None; ``chain`` is empty where the endpoint gave none."""

    endpoint: str
    server_name: str | None
    chain: tuple[Certificate, ...]
    disk: tuple[Certificate, ...]
    error: str | None
    code: str | None
    verify_code: int | None
    verify_text: str | None
    trust_code: int | None
    trust_text: str | None
    own_anchors: bool
    disk_path: str | None
    disk_error: str | None
    asked_at: datetime | None

    @property
    def name(self) -> str:
        """What people call it: the server's name, else where it listens."""
        return self.server_name or self.endpoint


def each_endpoint(certificates: pd.DataFrame) -> list[Served]:
    """The rows of ``TlsSource.get_certificates``, by endpoint."""
    rows = [
        Served(
            endpoint=str(row.endpoint),
            server_name=_text(row.server_name),
            chain=_chain(row.chain),
            disk=_chain(row.disk),
            error=_text(row.error),
            code=_text(row.code),
            verify_code=_number(row.verify_code),
            verify_text=_text(row.verify_text),
            trust_code=_number(row.trust_code),
            trust_text=_text(row.trust_text),
            own_anchors=getattr(row, "own_anchors", None) is True,
            disk_path=_text(row.disk_path),
            disk_error=_text(row.disk_error),
            asked_at=row.asked_at if isinstance(row.asked_at, datetime) else None,
        )
        for row in certificates.itertuples(index=False)
    ]
    return sorted(rows, key=lambda one: (one.endpoint, str(one)))


def lacks_issuer(one: Served) -> bool:
    """Whether clients miss the certificate that signed the server's own."""
    leaf = one.chain[0]
    return one.trust_code in ISSUER_NOT_FOUND and leaf.signed_by is None and not leaf.self_issued


def authority_unknown(one: Served) -> bool:
    """Whether it may as well be a private authority's, which clients know and this machine does not.

    Every public one says in a certificate where its own is (CA/Browser Forum, Baseline Requirements, 7.1.2.7.7). Where
    ``tls.ca_file`` tells of the private ones, or the file on disk has the signer, it is not sent.
    """
    if not one.chain or not lacks_issuer(one):
        return False
    leaf = one.chain[0]
    return not (one.own_anchors or leaf.ca_issuers or any(link.subject == leaf.issuer for link in one.disk))


def path_of(chain: tuple[Certificate, ...]) -> list[Certificate]:
    """The server's certificate and those above it by whom it was really signed, as far as they are served.

    Certificates that were sent but lead nowhere are not on it, nor is a root that was sent along: clients have their own.
    """
    path: list[Certificate] = []
    place: int | None = 0 if chain else None
    while place is not None and place < len(chain) and chain[place] not in path:
        path.append(chain[place])
        place = chain[place].signed_by
    return [one for number, one in enumerate(path) if number == 0 or not one.self_issued]


def pending(one: Served, now: datetime) -> Certificate | None:
    """The certificate on disk, where it was issued later than the served one and is valid: a reload would serve it."""
    if not one.chain or not one.disk or one.disk[0].fingerprint == one.chain[0].fingerprint:
        return None
    renewed, served = one.disk[0], one.chain[0]
    newer = renewed.not_before > served.not_before or renewed.not_after > served.not_after
    valid = all(link.not_before <= now < link.not_after for link in path_of(one.disk))
    return renewed if newer and valid else None


def ends_soon(link: Certificate, now: datetime, warn_days: float) -> bool:
    """Whether less than *warn_days* are left, or less than a third of a life that is short: one of six days is renewed after four."""
    return link.not_after - now < min(timedelta(days=warn_days), (link.not_after - link.not_before) / 3)


def matches(server_name: str, names: Iterable[str]) -> bool:
    """Whether a certificate for *names* is good for *server_name*: ``*`` stands for exactly one label (RFC 9525, 6.3)."""
    wanted = _plain(server_name)
    parent = "" if _is_address(wanted) else wanted.partition(".")[2]
    return any(wanted == name or (parent and name == f"*.{parent}") for name in map(_plain, names))


def summarise(certificates: pd.DataFrame) -> pd.DataFrame:
    """One row an endpoint: its certificate, how long it is still valid, what clients say to it."""
    return pd.DataFrame([_summary(one) for one in each_endpoint(certificates)])


def list_chains(certificates: pd.DataFrame) -> pd.DataFrame:
    """Every certificate as served, the server's own first: who it is, who signed it, whether that one was sent along."""
    columns = ["endpoint", "place", "certificate", "issuer", "issuer_sent", "valid_until", "days_left", "sha256"]
    rows = [
        (
            one.endpoint,
            place,
            link.subject,
            "itself" if link.self_issued else link.issuer,
            "yes" if link.signed_by is not None or link.self_issued else "no",
            day(link.not_after),
            days_left(link, one.asked_at),
            link.fingerprint[:16],
        )
        for one in each_endpoint(certificates)
        for place, link in enumerate(one.chain)
    ]
    return pd.DataFrame(rows, columns=columns)


def compare_with_disk(certificates: pd.DataFrame) -> pd.DataFrame:
    """What is served beside what lies on disk: until when, and whether it is the same certificate."""
    columns = ["endpoint", "file", "same", "served_until", "on_disk_until", "served_sha256", "on_disk_sha256"]
    return pd.DataFrame(list(_disk_rows(each_endpoint(certificates))), columns=columns)


def list_revocation(certificates: pd.DataFrame) -> pd.DataFrame:
    """Where the served certificates say that their issuer, their OCSP responder and their revocation list are."""
    columns = ["endpoint", "certificate", "issuer_at", "ocsp", "crl"]
    rows = [
        (one.endpoint, link.subject, link.ca_issuers, link.ocsp, link.crl)
        for one in each_endpoint(certificates)
        for link in one.chain
        if link.ca_issuers or link.ocsp or link.crl
    ]
    return pd.DataFrame(rows, columns=columns)


def day(moment: datetime) -> str:
    """``2026-01-31 04:12``, UTC."""
    return f"{moment:%Y-%m-%d %H:%M}"


def days_left(certificate: Certificate, now: datetime | None) -> float:
    """Days of validity that are left at *now*, with one decimal, never too many; negative after the end."""
    if now is None:
        return math.nan
    return math.floor((certificate.not_after - now) / timedelta(days=1) * 10) / 10


def span(length: timedelta) -> str:
    """A length of time in the unit that people would use: ``12 days``, ``30 hours``, ``4 minutes``."""
    seconds = abs(length.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"


def _summary(one: Served) -> dict[str, object]:
    if not one.chain:
        return {"endpoint": one.endpoint, "clients_say": one.error}
    leaf = one.chain[0]
    good_name = one.server_name is None or matches(one.server_name, leaf.names)
    return {
        "endpoint": one.endpoint,
        "names": ", ".join(leaf.names),
        "issuer": leaf.issuer,
        "valid_from": day(leaf.not_before),
        "valid_until": day(leaf.not_after),
        "days_left": days_left(leaf, one.asked_at),
        "clients_say": one.verify_text if good_name else f"not for {one.server_name}; else {one.verify_text}",
    }


def _disk_rows(endpoints: Iterable[Served]) -> Iterator[tuple[object, ...]]:
    for one in endpoints:
        served = (day(one.chain[0].not_after), one.chain[0].fingerprint[:16]) if one.chain else ("", "")
        lying = (day(one.disk[0].not_after), one.disk[0].fingerprint[:16]) if one.disk else ("", "")
        same = "" if not (one.chain and one.disk) else "yes" if served[1] == lying[1] else "no"
        file = one.disk_error or one.disk_path or "not configured"
        yield one.endpoint, file, same, served[0], lying[0], served[1], lying[1]


def _plain(name: str) -> str:
    """*name* as it stands in a certificate: lower case, ASCII, an address in its shortest form."""
    lowered = name.strip().rstrip(".").lower()
    if _is_address(lowered):
        return str(ipaddress.ip_address(lowered))
    return ascii_name(lowered)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _chain(value: object) -> tuple[Certificate, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()
