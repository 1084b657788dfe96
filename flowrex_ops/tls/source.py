"""TLS endpoints, asked the way a client asks: the chain as served, whether clients trust it, and what lies on disk.

An endpoint is asked twice. Once without verification, since a chain that is refused cannot be looked at; once with it,
against the system's anchors and ``tls.ca_file``. A server that refuses us after it has shown its certificate (it wants one
of ours) has been looked at all the same. Where a date is what the second one fails on, a third handshake leaves
dates aside, so that an expired certificate does not hide (or pass for) a chain that nobody trusts.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import TlsEndpoint
from flowrex_ops.reading import COOL_DOWN_SECONDS, Source, call_within, reads
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.tls.certificates import Certificate, ascii_name, parse_chain, read_file

CERTIFICATE_COLUMNS = [
    "endpoint",
    "asked_at",
    "address",
    "server_name",
    "error",
    "code",
    "protocol",
    "chain",
    "verify_code",
    "verify_text",
    "trust_code",
    "trust_text",
    "own_anchors",
    "disk_path",
    "disk",
    "disk_error",
    "seconds",
]

TRUSTED = 0
DATE_CODES = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (openssl verification options)."""

UNREACHABLE, TIMEOUT, NOT_TLS, NO_SUCH_NAME = "unreachable", "timeout", "not-tls", "no-such-name"
REFUSED, UNKNOWN = "refused", "unknown"
NO_CERTIFICATE = frozenset({UNREACHABLE, TIMEOUT, NOT_TLS, NO_SUCH_NAME})
"""Evidence that clients get no certificate there. ``refused`` is an answer in TLS to how it was asked, which clients may do
better; ``unknown`` tells more of this machine than of the endpoint."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL, x509_vfy.h); the ssl module passes it on, though it has no name for it."""

_ALERTS = ("SSLV3_", "TLSV1_", "TLSV13_")
_OURS = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EMFILE, errno.EACCES, errno.EPERM})
_MOST_AT_ONCE = 64


class TlsSource(Source):
    """All endpoints at once; one that is dead is a row with its error, and one that hung is not asked again for a while."""

    name = "tls"

    def __init__(
        self,
        endpoints: Sequence[TlsEndpoint],
        *,
        limit_seconds: float,
        limit_rows: int = 1000,
        ca_file: Path | None = None,
        missing: str = "",
    ) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._endpoints = tuple(endpoints)[:limit_rows]
        self._ca_file = ca_file
        self._missing = missing
        self._silent: dict[TlsEndpoint, tuple[float, dict[str, Any]]] = {}

    @reads("certificates")
    def get_certificates(self) -> pd.DataFrame:
        """One row an endpoint, columns ``CERTIFICATE_COLUMNS``.

        ``chain`` and ``disk`` are tuples of ``Certificate`` (the server's own first), empty where ``error`` or
        ``disk_error`` says why. ``verify_code`` is OpenSSL's, 0 when clients accept; ``trust_code`` the same with dates
        left aside; both None where that could not be found out. ``own_anchors``: whether ``tls.ca_file`` names some. Names are compared by the check, not here.
        """
        if self.copy:
            return pd.DataFrame(self.copy(), columns=CERTIFICATE_COLUMNS, dtype=object)
        if not self._endpoints:
            raise SourceUnavailableError(
                self._missing or "no tls endpoint is configured or was discovered; set tls.endpoints"
            )
        rows = side_by_side(self._ask, self._endpoints, most=_MOST_AT_ONCE)
        return pd.DataFrame(rows, columns=CERTIFICATE_COLUMNS, dtype=object)  # None stays None

    def _ask(self, endpoint: TlsEndpoint) -> dict[str, Any]:
        started = time.monotonic()
        if endpoint in self._silent and started - self._silent[endpoint][0] < COOL_DOWN_SECONDS:
            return self._silent[endpoint][1]
        row: dict[str, Any] = dict.fromkeys(CERTIFICATE_COLUMNS)
        row |= {
            "endpoint": endpoint.label,
            "asked_at": self.now(),
            "server_name": endpoint.server_name,
            "own_anchors": self._ca_file is not None,
            "chain": (),
            "disk": (),
        }
        row |= _read_disk(endpoint.certificate)
        # A little under the reading's own limit: one silent endpoint must not cost the answers of the others. The
        # thread bounds what a socket's time limit does not: name resolution, and several addresses in turn.
        seconds = self.limit_seconds * 0.8
        try:
            row |= call_within(seconds, lambda: _examine(endpoint, self._ca_file, seconds * 0.95), endpoint.label)
        except SourceUnavailableError as error:
            row |= {"error": str(error), "code": error.code}
        except ValueError as error:
            row |= {"error": f"{endpoint.label} cannot be asked: {error}; correct tls.endpoints", "code": UNKNOWN}
        row["seconds"] = time.monotonic() - started
        if row["code"] == TIMEOUT:
            self._silent[endpoint] = (time.monotonic(), row)
        return row


def _examine(endpoint: TlsEndpoint, ca_file: Path | None, limit_seconds: float) -> dict[str, Any]:
    """What the handshakes tell. Raises SourceUnavailableError with one of this module's codes."""
    deadline = time.monotonic() + limit_seconds
    with _handshake(endpoint, _any_context(), deadline) as shown:
        facts: dict[str, Any] = {
            "address": shown.address,
            "protocol": shown.connection.version(),
            "chain": _served_chain(shown.connection, endpoint),
        }
    code, text = _verify(endpoint, ca_file, deadline, dates=True)
    trust = (code, text) if code not in DATE_CODES else _verify(endpoint, ca_file, deadline, dates=False)
    return {**facts, "verify_code": code, "verify_text": text, "trust_code": trust[0], "trust_text": trust[1]}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A connection whose server has shown its certificate; ``refusal`` is what it said to ours, which we do not have."""

    connection: ssl.SSLSocket
    address: str
    refusal: str = ""


@contextmanager
def _handshake(endpoint: TlsEndpoint, context: ssl.SSLContext, deadline: float) -> Iterator[_Shown]:
    """A connection after its handshake, which ends at *deadline*; verification errors pass through.

    Up to TLS 1.2 a server that wants a client certificate ends the handshake with an alert, after it has sent its own and we
    have verified that; in TLS 1.3 the alert comes after the handshake, and nobody waits for it here.
    """
    where = endpoint.label
    try:
        left = max(0.05, deadline - time.monotonic())
        with socket.create_connection((ascii_name(endpoint.host), endpoint.port), timeout=left) as plain:
            plain.settimeout(max(0.05, deadline - time.monotonic()))
            address = plain.getpeername()[0]
            name = ascii_name(endpoint.server_name) if endpoint.server_name else None
            with context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False) as connection:
                try:
                    connection.do_handshake()
                    refusal = ""
                except ssl.SSLCertVerificationError:
                    raise
                except ssl.SSLError as error:
                    refusal = _after_its_certificate(connection, error)
                yield _Shown(connection, address, refusal)
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError:
        text = f"{where} gave no certificate in time; check that nginx runs and answers"
        raise SourceUnavailableError(text, code=TIMEOUT) from None
    except ssl.SSLError as error:
        raise _no_handshake(endpoint, error.reason or str(error)) from None
    except OSError as error:
        raise SourceUnavailableError(_why(where, error), code=_code(error)) from None


# A server that refuses us after it has shown its certificate has been looked at: our verification was over before its
# alert.
def _after_its_certificate(connection: ssl.SSLSocket, error: ssl.SSLError) -> str:
    """The alert with which a server ended a handshake in which it had shown its certificate; *error* is raised otherwise."""
    reason = error.reason or ""
    if not reason.startswith(_ALERTS) or not _sent_chain(connection):
        raise error
    return reason.lower().replace("_", " ")


def _no_handshake(endpoint: TlsEndpoint, reason: str) -> SourceUnavailableError:
    """Why there was none. An alert is a server that speaks TLS (RFC 8446, 6): OpenSSL's reasons for it begin with a version."""
    where, said = endpoint.label, reason.lower().replace("_", " ")
    if not reason.startswith(_ALERTS):
        text = f"{where} answers, but not with a TLS handshake: {said}; check what listens there"
        return SourceUnavailableError(text, code=NOT_TLS)
    if reason.endswith("UNRECOGNIZED_NAME") and endpoint.server_name:
        text = f"{where} refuses clients that ask for '{endpoint.server_name}': {said}; check server_name in nginx"
        return SourceUnavailableError(text, code=UNREACHABLE)
    how = "it may want a client certificate" if endpoint.server_name else "set server_name in tls.endpoints"
    return SourceUnavailableError(f"{where} speaks TLS and refused this handshake: {said}; {how}", code=REFUSED)


def _any_context() -> ssl.SSLContext:
    """Accepts every certificate and every old protocol: what is wrong must be seen, not refused. Sends nothing secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _served_chain(connection: ssl.SSLSocket, endpoint: TlsEndpoint) -> tuple[Certificate, ...]:
    """All certificates that the server sent."""
    try:
        return parse_chain(_sent_chain(connection) or [connection.getpeercert(binary_form=True) or b""])
    except ValueError as error:
        text = f"{endpoint.label} served a certificate that cannot be read: {error}; look with 'openssl s_client'"
        raise SourceUnavailableError(text, code=UNKNOWN) from None


# Before Python 3.13, where it became SSLSocket.get_unverified_chain(), the chain as served is on `_sslobj`:
# unannounced but there since 3.10. Without either, the server's own certificate alone is read.
def _sent_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """In DER, also of a handshake that was broken off.

    ``SSLSocket.get_unverified_chain`` is Python 3.13's; 3.10 to 3.12 have it one level down, unannounced but unchanged.
    """
    public = getattr(connection, "get_unverified_chain", None)
    inner = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    if public is not None:
        return [bytes(der) for der in public() or ()]
    if inner is not None:
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in inner() or ()]
    return []


def _verify(
    endpoint: TlsEndpoint, ca_file: Path | None, deadline: float, *, dates: bool
) -> tuple[int | None, str | None]:
    """OpenSSL's verification code and its text, 0 for a chain that clients accept; None and why where that is unknown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are a cause of their own
    context.load_default_certs()
    if not dates:
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    try:
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
        with _handshake(endpoint, context, deadline) as shown:
            wants = f"; then it refused us ({shown.refusal}), it may want a client certificate" if shown.refusal else ""
            return TRUSTED, f"ok{wants}"
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message
    except SourceUnavailableError as error:
        return None, f"the second handshake failed: {error}"
    except OSError as error:
        return None, f"tls.ca_file '{ca_file}' cannot be used: {error.strerror or error}"


def _read_disk(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return {"disk_path": str(path), "disk": read_file(path)}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return {"disk_path": str(path), "disk_error": f"'{path}' cannot be read: {reason}"}
    except ValueError:
        return {"disk_path": str(path), "disk_error": f"'{path}' holds no certificate that can be read"}


def _why(where: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"{where} cannot be resolved: {error.strerror or error}; check the name and this machine's resolver"
    return f"{where} gave no certificate: {(error.strerror or str(error)).lower()}; check that nginx runs"


def _code(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return NO_SUCH_NAME if error.errno == socket.EAI_NONAME else UNKNOWN
    return UNKNOWN if error.errno in _OURS else UNREACHABLE
