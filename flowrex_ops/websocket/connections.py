"""TCP connections that are open to each replica, by the kernel's own table: what is left to ask where no gauge counts WebSockets.

``/proc/net/tcp`` and ``tcp6`` (proc(5), and the kernel's Documentation/networking/proc_net_tcp): local and remote address in hexadecimal, then
the state, of which ``01`` is ESTABLISHED. A WebSocket and a request under way look alike in it; over a minute only WebSockets stay.
"""

from __future__ import annotations

import re

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.model import Replica

CONNECTION_COLUMNS = ["replica", "connections", "error"]
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_COUNT = re.compile(r"^/proc/net/tcp6?:(\d+)$", re.MULTILINE)


def count_connections(stack: Stack, service: str, port: int, *, timeout_seconds: float) -> pd.DataFrame:
    """One row a running replica of *service*, columns ``CONNECTION_COLUMNS``; *port* is the one that it listens on.

    SourceUnavailableError where no replica runs or none could be asked.
    """
    running = [replica for replica in stack.get_replicas(service) if replica.running]
    rows = [(replica.name, *_count(stack, replica, port, timeout_seconds)) for replica in running]
    if not rows:
        raise SourceUnavailableError(f"no replica of '{service}' runs; set backend.service")
    if all(error for *_, error in rows):
        raise SourceUnavailableError(f"no replica's connections could be read: {rows[0][-1]}")
    return pd.DataFrame(rows, columns=CONNECTION_COLUMNS)


def _count(stack: Stack, replica: Replica, port: int, timeout_seconds: float) -> tuple[int | None, str]:
    # Counted where they are: the table of a machine with many connections is long.
    command = (
        "grep",
        "-s",
        "-c",
        "-E",
        established_to({port, *(place[1] for place in [replica.reach(port)] if place)}),
    )
    try:
        done = stack.execute(replica, (*command, *_TABLES), timeout_seconds=timeout_seconds)
    except StackUnavailableError as error:
        return None, str(error)
    if counts := _COUNT.findall(done.stdout):
        return sum(map(int, counts)), ""
    return None, (done.stderr.strip().splitlines() or ["it has no /proc/net/tcp"])[0]


def established_to(ports: set[int]) -> str:
    """An expression for the lines of connections that are ESTABLISHED to one of the local *ports*."""
    local = "|".join(f"{port:04X}" for port in sorted(ports))
    return rf"^ *[0-9]+: [0-9A-F]+:({local}) [0-9A-F]+:[0-9A-F]+ 01 "
