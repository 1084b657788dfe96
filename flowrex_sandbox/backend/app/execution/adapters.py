"""The broker behind one adapter: OANDA's v20 REST protocol, by the standard library alone.

Configured by environment: ``BROKER_URL``, ``BROKER_TOKEN``, ``BROKER_ACCOUNT``, ``BROKER_TIMEOUT_SECONDS``.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 2.0
"""How long the broker may take to answer. Beyond it nobody knows whether the order was filled."""

_REFUSED = {401: "credentials", 403: "credentials", 429: "rate-limit"}
_LONGEST_TEXT = 160


class BrokerError(Exception):
    """An order that the broker did not fill; ``reason`` is the label under which it is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = f"broker-{reason}"


class OandaAdapter:
    """One account at one broker; a connection per request."""

    def __init__(self, url: str, token: str, account: str, *, timeout_seconds: float) -> None:
        self._url = urlsplit(url)
        self._token = token
        self._account = account
        self._timeout_seconds = timeout_seconds

    async def check_connection(self) -> dict[str, Any]:
        """``{connected, broker, latency_ms, error}``: whether the broker answers and takes our credentials."""
        started = time.monotonic()
        error = None
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._get_summary)
        except BrokerError as failure:
            error = str(failure)
        return {
            "connected": error is None,
            "broker": self._url.netloc,
            "latency_ms": round((time.monotonic() - started) * 1000),
            "error": error,
        }

    def place_order(self, symbol: str, side: str, quantity: float, client_order: str) -> str:
        """Fill a market order, under an id of ours, or kill it; the broker's transaction id. ``BrokerError`` when it was not filled."""
        units = quantity if side == "buy" else -quantity
        order = {
            "type": "MARKET",
            "instrument": f"{symbol[:3]}_{symbol[3:]}",
            "units": f"{units:g}",
            "timeInForce": "FOK",
            "positionFill": "DEFAULT",
            "clientExtensions": {"id": client_order},
        }
        answer = self._ask("POST", f"/v3/accounts/{self._account}/orders", {"order": order})
        filled = answer.get("orderFillTransaction")
        if isinstance(filled, dict):
            return str(filled.get("id", ""))
        cancelled = answer.get("orderCancelTransaction")
        if isinstance(cancelled, dict):
            raise BrokerError("rejected", f"rejected by broker: {cancelled.get('reason', 'no reason given')}")
        raise BrokerError("malformed", "broker answer is malformed: neither a fill nor a cancellation")

    def _get_summary(self) -> None:
        if not isinstance(self._ask("GET", f"/v3/accounts/{self._account}/summary").get("account"), dict):
            raise BrokerError("malformed", "broker answer is malformed: a summary without an account")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=self._timeout_seconds)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            self._connect(connection)
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except TimeoutError:
            raise BrokerError("timeout", f"broker timeout: no answer in {self._timeout_seconds:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise BrokerError("unreachable", f"broker unreachable: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return _understood(answer.status, text)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """A broker that cannot even be connected to is not slow: no order has reached it."""
        try:
            connection.connect()
        except TimeoutError:
            text = f"broker unreachable: no connection in {self._timeout_seconds:g} s"
            raise BrokerError("unreachable", text) from None


def _understood(status: int, text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    said = str(answer.get("errorMessage", "")) if isinstance(answer, dict) else ""
    if status in _REFUSED:
        word = "credentials refused" if _REFUSED[status] == "credentials" else "rate limit"
        raise BrokerError(_REFUSED[status], f"broker {word}: HTTP {status} {said[:_LONGEST_TEXT]}".strip())
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise BrokerError("unreachable", f"broker unavailable: HTTP {status} {said[:_LONGEST_TEXT]}".strip())
    if not isinstance(answer, dict):
        raise BrokerError("malformed", f"broker answer is malformed: HTTP {status}, no JSON object")
    if status >= http.client.BAD_REQUEST:
        code = answer.get("errorCode") or f"HTTP {status}"
        raise BrokerError("rejected", f"rejected by broker: {code} {said[:_LONGEST_TEXT]}".strip())
    return answer


def get_adapter() -> OandaAdapter:
    """The adapter that the environment configures."""
    return OandaAdapter(
        os.environ["BROKER_URL"],
        os.environ.get("BROKER_TOKEN", ""),
        os.environ.get("BROKER_ACCOUNT", ""),
        timeout_seconds=float(os.environ.get("BROKER_TIMEOUT_SECONDS", TIMEOUT_SECONDS)),
    )
