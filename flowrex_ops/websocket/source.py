"""A real WebSocket handshake (RFC 6455, section 4), a ping and a short hold: through the proxy, and straight to each replica."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import authority
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import Settings
from flowrex_ops.side_by_side import side_by_side

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

HANDSHAKE_COLUMNS = [
    "place",
    "straight",
    "url",
    "status",
    "kind",
    "seconds",
    "ping_seconds",
    "messages",
    "close_code",
    "error",
]
PROXY = "through the proxy"
HOLD_SECONDS = 1.0

OK, REFUSED, DROPPED, CLOSED, TIMEOUT, UNREACHABLE, UNKNOWN = (
    "ok",
    "refused",
    "dropped",
    "closed",
    "timeout",
    "unreachable",
    "unknown",
)
"""What came of a handshake: 101; another status; the connection ended without an answer; closed while it was held; no answer in
time; no connection; and what tells more of this machine than of the platform."""

_OURS = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EMFILE, errno.EACCES, errno.EPERM})
_PORTS = {"ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Where to open a WebSocket; ``host`` and ``port`` say where to connect when they are not those of the URL."""

    name: str
    url: str
    straight: bool = True
    host: str = ""
    port: int = 0


class WebSocketSource(Source):
    """Every target at once, each in its own part of the reading's time limit."""

    name = "websocket"

    def __init__(
        self,
        find_targets: Callable[[], Sequence[ProbeTarget]],
        *,
        limit_seconds: float,
        count: Callable[[float], pd.DataFrame] | None = None,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._find_targets = find_targets
        self._count = count

    @reads("open connections")
    def count_connections(self) -> pd.DataFrame:
        """TCP connections open to each replica, ``connections.py``: WebSockets and requests under way alike."""
        if self._count is None:
            raise SourceUnavailableError("there is no stack to ask; set stack.kind")
        return self._count(self.limit_seconds * 0.7)

    @reads("WebSocket handshakes")
    def shake_hands(self, *, hold_seconds: float = HOLD_SECONDS) -> pd.DataFrame:
        """One row a target, columns ``HANDSHAKE_COLUMNS``; ``status`` is HTTP's, ``close_code`` RFC 6455's, both may be None."""
        targets = self._find_targets()
        if not targets:
            raise SourceUnavailableError(
                "no proxy and no replica is known to open a WebSocket at; set proxy.websocket_url and backend.urls"
            )
        hold = min(hold_seconds, self.limit_seconds * 0.3)
        rows = side_by_side(lambda target: self._ask(target, hold), targets)
        return pd.DataFrame(rows, columns=HANDSHAKE_COLUMNS)

    def _ask(self, target: ProbeTarget, hold_seconds: float) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        row: dict[str, Any] = dict.fromkeys(HANDSHAKE_COLUMNS)
        row |= {"place": target.name, "straight": target.straight, "url": target.url, "messages": 0, "error": ""}
        started = time.monotonic()
        try:
            with self._connect(target) as stream:
                row |= {"kind": OK, "status": 101, "seconds": time.monotonic() - started}
                self._hold(stream, hold_seconds, row)
        except InvalidStatus as refusal:
            status = refusal.response.status_code
            row |= {"kind": REFUSED, "status": status, "error": f"answered with HTTP {status} instead of 101"}
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            row |= {"kind": CLOSED, "close_code": code, "error": f"closed with {code} while it was held"}
        except TimeoutError:
            row |= {"kind": TIMEOUT, "error": "no answer in time"}
        except (InvalidHandshake, EOFError) as error:
            row |= {"kind": DROPPED, "error": f"the connection ended without an answer: {_innermost(error)}"}
        except (OSError, ValueError) as error:
            row |= _no_connection(error)
        if row["seconds"] is None:
            row["seconds"] = time.monotonic() - started
        return row

    def _connect(self, target: ProbeTarget) -> ClientConnection:
        """A connection to the target; certificates are ``certificate_expiry``'s business, so they are not judged here."""
        from websockets.sync.client import connect

        url = urlsplit(target.url)
        if url.scheme not in _PORTS or not url.hostname:
            raise ValueError(f"'{target.url}' is no ws:// or wss:// address")
        host, port = target.host or url.hostname, target.port or url.port or _PORTS[url.scheme]
        allowed = self.limit_seconds * 0.4
        plain = socket.create_connection((host, port), timeout=allowed)
        try:
            return connect(
                target.url,
                sock=plain,
                ssl=_unverified() if url.scheme == "wss" else None,
                compression=None,
                proxy=None,
                open_timeout=allowed,
                ping_interval=None,
                close_timeout=0.3,
                max_size=2**20,
            )
        except BaseException:
            plain.close()
            raise

    def _hold(self, stream: ClientConnection, hold_seconds: float, row: dict[str, Any]) -> None:
        """Ping, then take what comes for a while; ConnectionClosed where the other side ends it."""
        started = time.monotonic()
        answered = stream.ping()
        until = started + hold_seconds
        while (left := until - time.monotonic()) > 0:
            try:
                stream.recv(timeout=left)
                row["messages"] += 1
            except TimeoutError:
                break
        if answered.is_set():
            latency = getattr(stream, "latency", None)
            row["ping_seconds"] = float(latency) if latency is not None else None
        else:
            row |= {"kind": TIMEOUT, "error": f"the ping was not answered in {hold_seconds:g} s"}


def find_targets(
    settings: Settings, endpoints: Endpoints, replicas: Mapping[str, str], path: str = ""
) -> list[ProbeTarget]:
    """The proxy as clients reach it, where that is known, and each replica by its base URL."""
    path = path or settings.proxy.websocket_path
    found = _proxy(settings, endpoints, path)
    return [
        *found,
        *(ProbeTarget(name, "ws" + url.removeprefix("http").rstrip("/") + path) for name, url in replicas.items()),
    ]


def _proxy(settings: Settings, endpoints: Endpoints, path: str) -> list[ProbeTarget]:
    proxy = settings.proxy
    if proxy.websocket_url:
        return [ProbeTarget(PROXY, proxy.websocket_url, straight=False)]
    if endpoints.tls:
        first = endpoints.tls[0]
        url = f"wss://{first.server_name or first.host}{path}"
        return [ProbeTarget(PROXY, url, straight=False, host=first.host, port=first.port)]
    running = [r for r in endpoints.replicas if r.service == proxy.service and r.running]
    reached = [authority(*at) for r in running if (at := r.reach(proxy.port))]
    return [ProbeTarget(PROXY, f"ws://{at}{path}", straight=False) for at in reached[:1]]


def _no_connection(error: Exception) -> dict[str, Any]:
    """What says more of this machine (no network, no name server) than of the platform is ``unknown``."""
    if isinstance(error, ConnectionResetError | BrokenPipeError | ssl.SSLError):
        return {"kind": DROPPED, "error": f"the connection ended without an answer: {_innermost(error)}"}
    ours = isinstance(error, ValueError | socket.gaierror) or getattr(error, "errno", None) in _OURS
    return {"kind": UNKNOWN if ours else UNREACHABLE, "error": f"no connection: {_innermost(error)}"}


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0][:200]


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
