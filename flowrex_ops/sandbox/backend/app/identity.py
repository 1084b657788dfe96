"""Which replica this is."""

from __future__ import annotations

import os
import re
import socket


def replica_number() -> str:
    """``FLOWREX_REPLICA``, or the number in the name that Docker Compose gave this container, or ``1``.

    A container is not told its own name, but Docker's name server knows whose address it is.
    """
    number = os.environ.get("FLOWREX_REPLICA")
    if number:
        return number
    try:
        name = socket.gethostbyaddr(socket.gethostbyname(socket.gethostname()))[0]
    except OSError:
        return "1"
    match = re.search(r"[-_](\d+)(?:\.|$)", name)
    return match.group(1) if match else "1"
