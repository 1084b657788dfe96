"""Which replica this is, and of which release."""

from __future__ import annotations

import os
import re
import socket
import struct
from pathlib import Path

DOCKER_NAME_SERVER = ("127.0.0.11", 53)
_POINTER = 12
"""The DNS record type that leads from an address to its name."""


def _version() -> str:
    """The first word of the release file, which a deployment changes; else what the environment says.

    A release is three numbers; there is nothing that could be run as any other.
    """
    file = os.environ.get("FLOWREX_RELEASE_FILE")
    words = Path(file).read_text(encoding="utf-8").split() if file else []
    version = words[0] if words else os.environ.get("FLOWREX_VERSION", "dev")
    if not re.fullmatch(r"\d+\.\d+\.\d+|dev", version):
        raise SystemExit(f"there is no release '{version}'")
    return version


VERSION = _version()


def replica_number() -> str:
    """``FLOWREX_REPLICA``, or the number in the name that Docker Compose gave this container, or ``1``.

    A container is not told its own name, but Docker's name server knows whose address it is. It is asked directly:
    the system's resolver would answer from ``/etc/hosts``, with the container's id.
    """
    number = os.environ.get("FLOWREX_REPLICA")
    if number:
        return number
    try:
        answer = _ask_for_name(socket.gethostbyname(socket.gethostname()))
    except OSError:
        return "1"
    match = re.search(rb"[-_](\d+)[\x00-\x1f]", answer)
    return match.group(1).decode() if match else "1"


def _ask_for_name(address: str) -> bytes:
    """The name server's answer as it came: the container's name is a label in it, and a length byte follows a label."""
    labels = [*reversed(address.split(".")), "in-addr", "arpa"]
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    query = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", _POINTER, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.sendto(query, DOCKER_NAME_SERVER)
        return client.recv(512)
