"""TCP connections that are open to each replica, by the kernel's own table: what is left to ask where no gauge counts WebSockets.

``/proc/net/tcp`` and ``tcp6`` (proc(5), and the kernel's Documentation/networking/proc_net_tcp): local and remote address in hexadecimal, then
the state, of which ``01`` is ESTABLISHED. A WebSocket and a request under way look alike in it; over a minute only WebSockets stay.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.stack import Stack

CONNECTION_COLUMNS = ["replica", "connections", "clients", "error"]
_ESTABLISHED = "01"
_TABLES = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
_FIELDS = 4


def count_connections(stack: Stack, service: str, port: int, *, timeout_seconds: float) -> pd.DataFrame:
    """One row a running replica of *service*, columns ``CONNECTION_COLUMNS``; *port* is the one that it listens on.

    ``clients`` is from how many addresses they come. SourceUnavailableError where no replica runs or none could be asked.
    """
    rows: list[tuple[str, int | None, int | None, str]] = []
    for replica in stack.get_replicas(service):
        if not replica.running:
            continue
        ports = {port, *(place[1] for place in [replica.reach(port)] if place)}
        try:
            done = stack.execute(replica, _TABLES, timeout_seconds=timeout_seconds)
        except StackUnavailableError as error:
            rows.append((replica.name, None, None, str(error)))
            continue
        if "local_address" in done.stdout:
            found = count_established(done.stdout, ports)
            rows.append((replica.name, found.total(), len(found), ""))
        else:
            said = done.stderr.strip().splitlines() or ["it has no /proc/net/tcp"]
            rows.append((replica.name, None, None, said[0]))
    if not rows:
        raise SourceUnavailableError(f"no replica of '{service}' runs; set backend.service")
    if all(error for *_, error in rows):
        raise SourceUnavailableError(f"no replica's connections could be read: {rows[0][-1]}")
    return pd.DataFrame(rows, columns=CONNECTION_COLUMNS)


def count_established(table: str, ports: set[int]) -> Counter[str]:
    """Connections that are ESTABLISHED to one of the local *ports*, by the (hexadecimal) address that they come from."""
    found: Counter[str] = Counter()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > _FIELDS and fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) in ports:
            found[fields[2].rpartition(":")[0]] += 1
    return found
