"""``python -m outside``: serve until SIGTERM."""

from __future__ import annotations

import os

import uvicorn

from .main import create_app


def main() -> None:
    """Serve, then leave at once: an answer that is being held back must not hold up a restart."""
    host = os.environ.get("FLOWREX_HOST", "127.0.0.1")
    port = int(os.environ.get("FLOWREX_PORT", "8000"))
    uvicorn.run(create_app(), host=host, port=port, log_level="warning", access_log=False)
    os._exit(0)


main()
