"""``/ws``: prices as they come, one log line when a connection opens and one when it closes, and who closed it."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed

from . import metrics, trading
from .feed import Feed
from .logs import log

GOING_AWAY, ABNORMAL, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER = 1001, 1006, 1011, 1012, 1013
NO_STATUS = 1005
MOST_CONNECTIONS = int(os.environ.get("FLOWREX_WS_MAX_CONNECTIONS", "200"))
SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 60.0
TICKS_BEFORE_ERROR = 2
MOST_LEAKED_BYTES = 120 * 1024 * 1024
"""A leak that a drill has started ends here, well below the container's limit."""


@dataclass
class Connection:
    """One client's stream, and what the log says of it when it ends."""

    id: str
    client: str
    opened: float = field(default_factory=time.monotonic)
    last_frame: float = field(default_factory=time.monotonic)
    sent: int = 0
    received: int = 0

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """A frame went one way or the other."""
        self.last_frame = time.monotonic()
        self.sent += sent
        self.received += received


class Streams:
    """All streams of this replica, and the bugs that a drill switches on in them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._numbers = itertools.count(1)
        self._open: set[WebSocket] = set()
        self._leaked: list[bytes] = []
        self.heal()

    def set_bugs(self, *, limit: int, failing: bool, leak_bytes: int) -> None:
        """Lower the limit of connections, fail inside the handler, keep *leak_bytes* of each message."""
        self._limit, self._failing, self._leak_bytes = limit, failing, leak_bytes

    def heal(self) -> None:
        """Switch all bugs off and give back what leaked."""
        self.set_bugs(limit=MOST_CONNECTIONS, failing=False, leak_bytes=0)
        self._leaked.clear()

    async def close_all(self) -> None:
        """Say goodbye to every client: this replica restarts, another one serves."""
        for socket in list(self._open):
            with suppress(RuntimeError, ConnectionClosed, WebSocketDisconnect):
                await socket.close(SERVICE_RESTART)

    def state(self) -> dict[str, int]:
        """How many streams are open, and how much has leaked."""
        return {"open": len(self._open), "leaked_bytes": sum(map(len, self._leaked))}

    async def serve(self, socket: WebSocket) -> None:
        """``/ws?every=1.0``: a tick each so many seconds, until somebody closes."""
        peer = socket.client.host if socket.client else "-"
        connection = Connection(f"{next(self._numbers):x}", socket.headers.get("x-forwarded-for", peer))
        await socket.accept()
        if len(self._open) >= self._limit:
            await socket.close(TRY_AGAIN_LATER)
            _log_closed(connection, TRY_AGAIN_LATER, "server", f"limit of {self._limit} connections")
            return
        self._open.add(socket)
        metrics.WEBSOCKETS.inc()
        log.info("websocket opened id=%s client=%s path=%s", connection.id, connection.client, socket.url.path)
        code, by, reason = ABNORMAL, "abnormal", ""
        try:
            code, by, reason = await self._stream(socket, connection)
        finally:
            self._open.discard(socket)
            metrics.WEBSOCKETS.dec()
            _log_closed(connection, code, by, reason)

    async def _stream(self, socket: WebSocket, connection: Connection) -> tuple[int, str, str]:
        """Send and listen until one of both ends; code, who closed, reason."""
        every = float(socket.query_params.get("every", "1"))
        seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, every))
        sender = asyncio.ensure_future(self._send_ticks(socket, connection, seconds))
        listener = asyncio.ensure_future(_listen(socket, connection))
        try:
            done, _ = await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
            if listener in done:
                return _closed_by_peer(listener.result())
            sender.result()  # raises what the handler raised
        except WebSocketDisconnect as gone:
            return _closed_by_peer(gone.code)
        except ConnectionClosed as gone:  # older servers let their library's own error through
            return _closed_by_peer(gone.rcvd.code if gone.rcvd else ABNORMAL)
        except Exception as error:  # noqa: BLE001  (the last resort of a handler: say so and close with 1011)
            if listener.done():
                return _closed_by_peer(listener.result())
            log.error("websocket handler failed id=%s", connection.id, exc_info=True)
            with suppress(RuntimeError):
                await socket.close(INTERNAL_ERROR)
            return INTERNAL_ERROR, "server", type(error).__name__
        finally:
            for task in (sender, listener):
                task.cancel()
        return ABNORMAL, "abnormal", ""

    async def _send_ticks(self, socket: WebSocket, connection: Connection, every: float) -> None:
        for number in itertools.count():
            symbol = trading.SYMBOLS[number % len(trading.SYMBOLS)]
            price = round(self._feed.prices[symbol], 5)
            await socket.send_json({"type": "tick", "symbol": symbol, "price": price, "at": time.time()})
            connection.moved(sent=1)
            metrics.WEBSOCKET_MESSAGES.inc()
            self._misbehave(number, symbol)
            await asyncio.sleep(every)

    def _misbehave(self, number: int, symbol: str) -> None:
        if self._failing and number >= TICKS_BEFORE_ERROR:
            raise KeyError(f"no precision for {symbol}")
        if self._leak_bytes and len(self._leaked) * self._leak_bytes < MOST_LEAKED_BYTES:
            self._leaked.append(b"x" * self._leak_bytes)  # a history of each client's messages that nobody trims


async def _listen(socket: WebSocket, connection: Connection) -> int:
    """The close code, once the peer has closed; what it says before is counted."""
    while True:
        message: dict[str, Any] = dict(await socket.receive())
        if message["type"] == "websocket.disconnect":
            return int(message.get("code") or NO_STATUS)
        connection.moved(received=1)


def _closed_by_peer(code: int) -> tuple[int, str, str]:
    """What the server that runs this application says of an end that the handler did not bring about."""
    if code == ABNORMAL:
        return code, "abnormal", ""
    return code, "server" if code == SERVICE_RESTART else "client", ""


def _log_closed(connection: Connection, code: int, by: str, reason: str) -> None:
    now = time.monotonic()
    metrics.WEBSOCKETS_CLOSED.labels(str(code), by).inc()
    log.info(
        "websocket closed id=%s code=%d by=%s age_s=%.3f idle_s=%.3f sent=%d received=%d client=%s reason=%s",
        connection.id,
        code,
        by,
        now - connection.opened,
        now - connection.last_frame,
        connection.sent,
        connection.received,
        connection.client,
        reason or "-",
    )


async def control(request: Request) -> Response:
    """``POST /_sandbox/streams?limit=2&failing=1&leak_bytes=1000``: switch bugs on in this replica; GET tells its state."""
    if request.method == "GET":
        return JSONResponse(request.app.state.streams.state())
    chosen = {name: int(value) for name, value in request.query_params.items()}
    request.app.state.streams.set_bugs(
        limit=chosen.get("limit", MOST_CONNECTIONS),
        failing=bool(chosen.get("failing", 0)),
        leak_bytes=chosen.get("leak_bytes", 0),
    )
    return JSONResponse({"status": "set"})
