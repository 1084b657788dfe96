"""Whether something says that it is healthy, asked over HTTP at whatever it has for that."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flowrex_ops.model import TlsEndpoint, authority
from flowrex_ops.web import request_by

if TYPE_CHECKING:
    import httpx

HEALTH_PATHS = ("/health/ready", "/ready", "/readyz", "/health", "/healthz", "/health/live", "/api/health", "/ping")
"""The usual ones, what tells most first; the first that exists is taken where no setting names one."""

_NO_SUCH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
_GUARDED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_REDIRECTS = 5
_FAIR_SHARE = 0.5
"""Of the time limit must be left for a path whose silence counts, where a replica has answered on others before."""
_WANTS_OURS = re.compile(
    r"(?i)alert[_ ](certificate[_ ]required|handshake[_ ]failure|bad[_ ]certificate|access[_ ]denied)"
)
"""Alerts of a server that wants a client certificate (RFC 8446, 6.2), in OpenSSL's words."""


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """``status`` is missing where nothing answered, and ``error`` says why; ``refused``: nobody listens there.

    It is None where silence tells nothing: a server that wants a client certificate, or one that had no time left to answer
    after the paths that it does not have.
    """

    path: str
    status: int | None
    error: str | None = None
    refused: bool | None = False


def ask_health(
    base_url: str, path: str, *, timeout_seconds: float, tls: Sequence[TlsEndpoint] = (), root: bool = False
) -> HealthAnswer:
    """The answer at *path*, else at the first of ``HEALTH_PATHS`` that exists, within one time limit for all.

    A 404 is not an answer about health; one that wants a login is taken only where there is no better. Redirects are
    followed within the platform: on the same host, and to HTTPS at *tls*, where the proxy's is known. *root* asks for
    ``/`` too, after all others.
    """
    import httpx

    until = time.monotonic() + timeout_seconds
    guarded: HealthAnswer | None = None
    # A connection each: ``request_by`` ends those that it saw opened.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(verify=False, limits=limits) as client:  # noqa: S501  # names and certificates are certificate_expiry's business
        for one in (path,) if path else (*HEALTH_PATHS, *(("/",) if root else ())):
            left = until - time.monotonic()
            try:
                status = _get(client, base_url.rstrip("/") + one, tls, until)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if _WANTS_OURS.search(str(error)):
                    return HealthAnswer(one, None, f"it may want a client certificate: {error}", refused=None)
                if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and base_url.startswith("http://"):
                    secure = base_url.replace("http://", "https://", 1)
                    found = ask_health(secure, path, timeout_seconds=max(0.05, left), tls=tls, root=root)
                    if found.status is not None:  # who speaks TLS alone hangs up on plain HTTP
                        return found
                text = f"no answer: {error or type(error).__name__}"
                if isinstance(error, httpx.TimeoutException) and left < _FAIR_SHARE * timeout_seconds:
                    text = f"no health path in {timeout_seconds:.1f} s, the last one asked was '{one}'; set the path"
                    return HealthAnswer(one, None, text, refused=None)
                return HealthAnswer(one, None, text, isinstance(error, httpx.ConnectError))
            if status in _GUARDED:
                guarded = guarded or HealthAnswer(one, status)
            elif status not in _NO_SUCH:
                return HealthAnswer(one, status)
    return guarded or HealthAnswer(path, HTTPStatus.NOT_FOUND)


def _get(client: httpx.Client, url: str, tls: Sequence[TlsEndpoint], until: float) -> int:
    """The status at the end of the redirects; that of the redirect itself where it leads out, or nobody answers there."""
    import httpx

    status, asked = 0, httpx.URL(url)
    host = asked.host
    for number in range(_REDIRECTS + 1):
        try:
            response = _ask(client, asked, tls if number else (), max(0.05, until - time.monotonic()))
        except httpx.HTTPError:
            if number:
                return status
            raise
        status = response.status_code
        following = response.next_request
        if following is None or following.url.host not in {host, *(one.server_name for one in tls)}:
            return status
        asked = following.url
    return status


def _ask(client: httpx.Client, url: httpx.URL, tls: Sequence[TlsEndpoint], seconds: float) -> httpx.Response:
    """HTTPS is asked where the platform's own proxy has it, which outside its network is seldom port 443."""
    known = [one for one in tls if one.server_name == url.host] or list(tls)
    if url.scheme != "https" or not known:
        return request_by(client, "GET", url, seconds=seconds)
    place = url.copy_with(netloc=authority(known[0].host, known[0].port).encode())
    named: dict[str, Any] = {"headers": {"host": url.netloc.decode()}, "extensions": {"sni_hostname": url.host}}
    return request_by(client, "GET", place, seconds=seconds, **named)
