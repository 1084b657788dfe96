"""The sandbox's own authority and what it issues: root, intermediate, and a certificate for each site, laid out as certbot does."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from flowrex_sandbox.state import write_private

SITES = {
    "flowrex.test": ("flowrex.test", "api.flowrex.test"),
    "ws.flowrex.test": ("ws.flowrex.test",),
}
"""The names of each site's certificate; NGINX has a server block for each."""

LIFE_DAYS = 90
_HOUR = timedelta(hours=1)
_CERTBOT_DEFAULTS = "agree-tos = true\nregister-unsafely-without-email = true\nnon-interactive = true\n"
_PEM_END = "-----END CERTIFICATE-----"
_ISSUER_AT = "http://pki.flowrex.test/intermediate.crt"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """Root and intermediate at *folder*, made at the first use; ``ca.crt`` is the root, the anchor for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.anchor = folder / "ca.crt"

    def fullchain(self, site: str) -> Path:
        """The file that NGINX serves for *site*."""
        return self.folder / "live" / site / "fullchain.pem"

    def prepare(self, *, afresh: bool) -> None:
        """A good certificate for every site: where there is none, or for all of them *afresh*."""
        self.folder.mkdir(exist_ok=True)
        write_private(self.folder / "cli.ini", _CERTBOT_DEFAULTS)
        for site in SITES:
            if afresh or not self.fullchain(site).exists():
                self.issue_good(site)

    def issue_good(self, site: str, *, days_left: float = LIFE_DAYS) -> None:
        """A certificate without fault, remembered as such."""
        self.issue(site, days_left=days_left)
        write_private(self._good(site), self.lying(site))

    def is_good(self, site: str) -> bool:
        """Whether the certificate on disk is the last one that was issued without fault."""
        return self._good(site).exists() and self._good(site).read_text(encoding="utf-8") == self.lying(site)

    def lying(self, site: str) -> str:
        """SHA-256 of the certificate on disk; empty where there is none."""
        file = self.fullchain(site)
        return fingerprint(x509.load_pem_x509_certificate(file.read_bytes())) if file.exists() else ""

    def issue(
        self,
        site: str,
        *,
        names: Sequence[str] = (),
        days_left: float = LIFE_DAYS,
        begins_in_days: float | None = None,
        issuer: Issuer | None = None,
        self_signed: bool = False,
        with_intermediate: bool = True,
    ) -> None:
        """Put a certificate for *site* in place, with a new key; NGINX does not know of it before it reloads.

        It has a life of ``LIFE_DAYS`` that ends in *days_left*, or that begins in *begins_in_days*.
        """
        begin = timedelta(days=days_left - LIFE_DAYS if begins_in_days is None else begins_in_days)
        key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer or self.intermediate()
        leaf = _sign(
            names[0] if names else site,
            key,
            Issuer(_placeholder(names[0] if names else site, key), key) if self_signed else signer,
            datetime.now(UTC) + begin,
            timedelta(days=LIFE_DAYS),
            names=names or SITES[site],
        )
        chain = [leaf, signer.certificate] if with_intermediate and not self_signed else [leaf]
        texts = {
            "privkey": _pem_of_key(key),
            "cert": _pem(leaf),
            "chain": _pem(signer.certificate),
            "fullchain": "".join(map(_pem, chain)),
        }
        self._put(site, texts)

    def trust(self, root: str) -> None:
        """Add *root*, in PEM, to what clients trust, instead of whatever was added before."""
        own, end, _ = self.anchor.read_text(encoding="utf-8").partition(_PEM_END)
        # In place, not by way of a new file: a container sees the one that was there when it started.
        self.anchor.write_text(f"{own}{end}\n{root}", encoding="utf-8")

    def issue_for_server(self, names: Sequence[str], folder: Path) -> None:
        """A certificate for a server of the sandbox's own (``cert.pem``, ``key.pem``) in *folder*."""
        key = ec.generate_private_key(ec.SECP256R1())
        below = self.intermediate()
        leaf = _sign(names[0], key, below, datetime.now(UTC), timedelta(days=LIFE_DAYS), names=names)
        write_private(folder / "key.pem", _pem_of_key(key))
        write_private(folder / "cert.pem", _pem(leaf) + _pem(below.certificate))

    def _put(self, site: str, texts: Mapping[str, str]) -> None:
        """As certbot lays out the first certificate of a lineage: the files in ``archive``, links to them in ``live``."""
        live = self.fullchain(site).parent
        archive = self.folder / "archive" / site
        for folder in (live, archive):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_private(archive / f"{name}1.pem", text)
            link = live / f"{name}.new"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{site}/{name}1.pem")
            link.replace(live / f"{name}.pem")
        for file in archive.iterdir():
            if file.stem not in {f"{name}1" for name in texts}:
                file.unlink()  # renewed since, by certbot

    def intermediate(self) -> Issuer:
        """The one that signs the sites' certificates."""
        file = self.folder / "private" / "intermediate.pem"
        if not file.exists():
            root, below = make_authority("Flowrex Sandbox")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_private(file, _pem_of_key(below.key) + _pem(below.certificate))
            self.anchor.write_text(_pem(root.certificate), encoding="utf-8")
        content = file.read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"'{file}' holds another kind of key")
        return Issuer(x509.load_pem_x509_certificate(content), key)

    def _good(self, site: str) -> Path:
        return self.folder / "private" / f"{site}.good"


def make_authority(name: str) -> tuple[Issuer, Issuer]:
    """A root and an intermediate that it signed, both valid for years."""
    begin, life = datetime.now(UTC) - timedelta(days=400), timedelta(days=4000)
    root_key, below_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    itself = Issuer(_placeholder(f"{name} Root", root_key), root_key)
    root = Issuer(_sign(f"{name} Root", root_key, itself, begin, life), root_key)
    below = _sign(f"{name} Intermediate", below_key, root, begin, life)
    return root, Issuer(below, below_key)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Issuer,
    begin: datetime,
    life: timedelta,
    *,
    names: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate for *names*, or without any an authority's."""
    authority = not names
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - (_HOUR if begin <= datetime.now(UTC) else timedelta(0)))
        .not_valid_after(begin + life)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .add_extension(_usage(authority=authority), critical=True)
    )
    if names:
        at = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(_ISSUER_AT)
        )
        builder = (
            builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityInformationAccess([at]), critical=False)
        )
    return builder.sign(issuer.key, hashes.SHA256())


def _placeholder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Something with the right name, to stand for the issuer of a certificate that signs itself."""
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(_name(subject), _name(subject), key.public_key(), 1, now, now + _HOUR)
    return builder.sign(key, hashes.SHA256())


def _name(subject: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
