"""A configuration of NGINX that was corrected and never reloaded: WebSockets get through once it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Self

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.waiting import wait_until
from flowrex_ops.websocket.source import WebSocketSource

_CONFIRM_SECONDS = 5.0
_HOLD_SECONDS = 0.1


class ReloadWebSocketProxy(Mitigation):
    """NGINX reads what lies on disk; whether that lets WebSockets through is shown by handshakes."""

    slug = "reload-websocket-proxy"
    causes = ("ws.proxy-misconfigured",)
    resource = "nginx"
    action = "let NGINX test its configuration and reload it, then open WebSockets through it"
    cost = "nobody is cut off: the old workers finish what they have, open WebSockets stay with them"
    undo = (
        "cannot be undone: a reload puts into effect whatever was changed in NGINX's configuration since the last one"
    )

    def __init__(self, proxy: ProxyControl, websocket: WebSocketSource) -> None:
        self._proxy = proxy
        self._websocket = websocket

    @classmethod
    def build(cls, context: Context) -> Self:
        return cls(ProxyControl.of(context), context.websocket)

    def find_targets(self) -> Sequence[Target]:
        """The proxy with the configuration on disk, where handshakes through it fail now."""
        failed = self._failed()
        if failed.empty:
            return []
        replica = self._proxy.replica()
        edition = hashlib.sha256(self._proxy.dump().encode()).hexdigest()[:12]
        said = "; ".join(f"{row.url}: {row.error}" for row in failed.itertuples())
        return [Target((replica.name, replica.identity, edition), f"{replica.name} ({said})")]

    def apply(self, target: Target) -> str:
        self._proxy.reload(lambda: self._failed().empty)
        return f"{target.identity[0]} was reloaded"

    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # all that was planned
        if not wait_until(lambda: self._failed().empty, seconds=_CONFIRM_SECONDS):
            said = "; ".join(self._failed()["error"])
            raise VerificationError(f"a handshake through the proxy still fails: {said}; read its configuration")
        return "verified: handshakes through the proxy are answered with 101"

    def clean_up(self) -> str:
        """A reload is not taken back; NGINX runs with what lies on disk, or refused it and runs with what it had."""
        failed = self._failed()
        return f"handshakes through the proxy {'fail as before' if len(failed) else 'succeed'}; its configuration is as it lies on disk"

    def _failed(self) -> pd.DataFrame:
        """The handshakes through the proxy that were not answered with 101."""
        reading = self._websocket.shake_hands(hold_seconds=_HOLD_SECONDS)
        if not reading.available:
            raise SourceUnavailableError(f"no WebSocket could be opened to see: {reading.error}")
        rows = reading.require()
        through = rows[~rows["straight"].astype(bool)]
        if through.empty:
            raise SourceUnavailableError(
                "no way through the proxy is known to open a WebSocket; set proxy.websocket_url"
            )
        return through[through["status"].ne(HTTPStatus.SWITCHING_PROTOCOLS)]
