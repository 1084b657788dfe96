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
_ISSUER = x509.AccessDescription(
    AuthorityInformationAccessOID.CA_ISSUERS,
    x509.UniformResourceIdentifier("http://pki.flowrex.test/intermediate.crt"),
)
_OTHER_USES = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
_UNUSED = dict.fromkeys((*_OTHER_USES, "encipher_only", "decipher_only"), False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, with which it may sign others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key alone, not encrypted."""
        kind = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


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
        issuer: Certificate | None = None,
        self_signed: bool = False,
        with_intermediate: bool = True,
    ) -> None:
        """Put a certificate for *site* in place, with a new key; NGINX does not know of it before it reloads.

        It has a life of ``LIFE_DAYS`` that ends in *days_left*, or that begins in *begins_in_days*.
        """
        begin = timedelta(days=days_left - LIFE_DAYS if begins_in_days is None else begins_in_days)
        signer = issuer or self.intermediate()
        leaf = issue(names or SITES[site], by=None if self_signed else signer, begin=datetime.now(UTC) + begin)
        below = signer.pem if with_intermediate and not self_signed else ""
        texts = {"privkey": leaf.key_pem, "cert": leaf.pem, "chain": signer.pem, "fullchain": leaf.pem + below}
        self._put(site, texts)

    def trust(self, root: str) -> None:
        """Add *root*, in PEM, to what clients trust, instead of whatever was added before."""
        own, end, _ = self.anchor.read_text(encoding="utf-8").partition(_PEM_END)
        # In place, not by way of a new file: a container sees the one that was there when it started.
        self.anchor.write_text(f"{own}{end}\n{root}", encoding="utf-8")

    def issue_for_server(self, names: Sequence[str], folder: Path) -> None:
        """A certificate for a server of the sandbox's own (``cert.pem``, ``key.pem``) in *folder*."""
        below = self.intermediate()
        leaf = issue(names, by=below)
        write_private(folder / "key.pem", leaf.key_pem)
        write_private(folder / "cert.pem", leaf.pem + below.pem)

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

    def intermediate(self) -> Certificate:
        """The one that signs the sites' certificates."""
        file = self.folder / "private" / "intermediate.pem"
        if not file.exists():
            root, below = make_authority("Flowrex Sandbox")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_private(file, below.key_pem + below.pem)
            self.anchor.write_text(root.pem, encoding="utf-8")
        content = file.read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"'{file}' holds another kind of key")
        return Certificate(x509.load_pem_x509_certificate(content), key)

    def _good(self, site: str) -> Path:
        return self.folder / "private" / f"{site}.good"


def make_authority(name: str) -> tuple[Certificate, Certificate]:
    """A root and an intermediate that it signed, both valid for years."""
    begin, life = datetime.now(UTC) - timedelta(days=400), timedelta(days=4000)
    root = issue([f"{name} Root"], authority=True, begin=begin, life=life)
    return root, issue([f"{name} Intermediate"], authority=True, by=root, begin=begin, life=life)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def issue(
    names: Sequence[str],
    *,
    by: Certificate | None = None,
    authority: bool = False,
    begin: datetime | None = None,
    life: timedelta = timedelta(days=LIFE_DAYS),
) -> Certificate:
    """A certificate, with a new key, for a server of these names or for an *authority*; by itself where nobody else signs."""
    now = datetime.now(UTC)
    begin = begin or now
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    signer = by.key if by else key
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=authority, path_length=None), True),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **_UNUSED), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    if not authority:
        extensions += [
            (x509.SubjectAlternativeName(map(_general, names)), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.AuthorityInformationAccess([_ISSUER]), False),
        ]
    builder = x509.CertificateBuilder(
        issuer_name=by.certificate.subject if by else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin - (_HOUR if begin <= now else timedelta(0)),
        not_valid_after=begin + life,
        extensions=[x509.Extension(extension.oid, critical, extension) for extension, critical in extensions],
    )
    return Certificate(builder.sign(signer, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
