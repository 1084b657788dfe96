"""``python -m app``: serve one replica until SIGTERM."""

from __future__ import annotations

import logging
import os

import uvicorn

from . import logs
from .main import create_app


def main() -> None:
    """Serve, then leave at once: threads that still wait for PostgreSQL must not hold up a restart."""
    logs.configure()
    host = os.environ.get("FLOWREX_HOST", "127.0.0.1")
    port = int(os.environ.get("FLOWREX_PORT", "8000"))
    ping_seconds = float(os.environ.get("FLOWREX_WS_PING_SECONDS", "20"))
    uvicorn.run(
        create_app(),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws_ping_interval=ping_seconds,
    )
    logging.shutdown()
    os._exit(0)


main()
