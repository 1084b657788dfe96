"""While a plan is made from readings that are over, nobody is reached."""

from __future__ import annotations

import socket
import subprocess
import sys

import httpx
import pytest

from flowrex_ops.archive.offline import offline
from flowrex_ops.errors import StackUnavailableError


def test_nobody_is_reached() -> None:
    """Whoever tries, by a library or a program; afterwards everything is as before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with offline():
            for reach in (
                lambda: socket.create_connection(server.getsockname()),
                lambda: httpx.get(url),
                lambda: subprocess.run([sys.executable, "--version"], check=True),
            ):
                with pytest.raises(StackUnavailableError, match="the platform would have to be asked"):
                    reach()
        socket.create_connection(server.getsockname()).close()
