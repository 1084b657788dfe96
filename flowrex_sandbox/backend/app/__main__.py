"""``python -m app``: serve one replica until SIGTERM."""

from __future__ import annotations

import logging
import os
import socket

import uvicorn
from starlette.applications import Starlette

from . import logs
from .main import create_app


class Server(uvicorn.Server):
    """Tells its WebSockets that it restarts before it ends; not every uvicorn does so by itself."""

    def __init__(self, app: Starlette, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the WebSockets with 1012, then finish the requests under way as uvicorn does."""
        await self._app.state.streams.close_all()
        await super().shutdown(sockets)


def main() -> None:
    """Serve, then leave at once: threads that still wait for PostgreSQL must not hold up a restart."""
    logs.configure()
    host = os.environ.get("FLOWREX_HOST", "127.0.0.1")
    port = int(os.environ.get("FLOWREX_PORT", "8000"))
    ping_seconds = float(os.environ.get("FLOWREX_WS_PING_SECONDS", "20"))
    app = create_app()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws_ping_interval=ping_seconds,
    )
    Server(app, config).run()
    logging.shutdown()
    os._exit(0)


main()
