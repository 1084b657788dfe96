"""Ports of this machine: free ones for a new sandbox, and whether remembered ones are still free."""

from __future__ import annotations

import os
import random
import socket

from flowrex_ops.errors import SandboxError

_RANGE = range(20_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections, so that none is taken meanwhile."""
PART = "FLOWREX_SANDBOX_PART"
"""Environment variable: which of ``_PARTS`` of the range is picked from. A replica that is stopped for a moment holds no port; who starts
sandboxes side by side gives each a part of its own."""
_PARTS = 8


def pick_free_ports(count: int) -> list[int]:
    """*count* different ports on which nothing listens on this machine's loopback."""
    free: list[int] = []
    part = os.environ.get(PART, "")
    ports = _RANGE[int(part) % _PARTS :: _PARTS] if part.isdecimal() else _RANGE
    for port in random.sample(ports, k=min(len(ports), 50 * count + 200)):
        if is_free(port):
            free.append(port)
        if len(free) == count:
            return free
    raise SandboxError(
        f"no {count} free ports between {_RANGE.start} and {_RANGE.stop}; stop something that listens there"
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on *port* of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(ports: dict[str, int], home: str) -> None:
    """SandboxError naming the first of *ports* (by what it is for) that something else listens on."""
    for purpose, port in ports.items():
        if not is_free(port):
            raise SandboxError(
                f"port {port} ({purpose}) of the sandbox at '{home}' is taken by another program;"
                " free it, or run 'flowrex-ops sandbox down' to have other ports chosen"
            )
