"""How long a connection may take to say what it wants.

uvicorn waits for a request's head without end, and counts the connection among those it can have: a few hundred that say
nothing would keep Alertmanager out. (The body's time limit is the door's.)
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol


def with_patience(seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 of uvicorn, which closes a connection whose next request has not begun to be handled after *seconds*."""

    class Patient(H11Protocol):
        _giving_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(cast("asyncio.Transport", transport))
            self._wait_for_head()

        def on_response_complete(self) -> None:
            self._wait_for_head()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._giving_up:
                self._giving_up.cancel()
            super().connection_lost(exc)

        def _wait_for_head(self) -> None:
            if self._giving_up:
                self._giving_up.cancel()
            self._giving_up = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            asked = self.cycle is not None and not self.cycle.response_complete
            if not asked and not self.transport.is_closing():
                self.transport.close()

    return Patient
