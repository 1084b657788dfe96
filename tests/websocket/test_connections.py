"""Connections by the kernel's table: made up, and on the real platform."""

from __future__ import annotations

import contextlib
import re
import socket

from flowrex_ops.settings import load
from flowrex_ops.websocket.connections import count_connections, established_to
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 1 1 0 100 0 0 10 0
   1: 050018AC:1F40 070018AC:9A4E 01 00000000:00000000 00:00000000 00000000 65534        0 2 1 0 20 4 30 10 -1
   2: 050018AC:1F40 070018AC:9A50 01 00000000:00000000 00:00000000 00000000 65534        0 3 1 0 20 4 30 10 -1
   3: 050018AC:1F40 080018AC:9A50 06 00000000:00000000 00:00000000 00000000 65534        0 4 1 0 20 4 30 10 -1
   4: 050018AC:E0A2 060018AC:1538 01 00000000:00000000 00:00000000 00000000 65534        0 5 1 0 20 4 30 10 -1
"""


def test_only_what_is_established_to_its_port() -> None:
    """Neither the listening socket, nor one that ends, nor the replica's own connections to PostgreSQL."""
    assert len([line for line in TABLE.splitlines() if re.search(established_to({8000}), line)]) == 2


def test_each_replica(any_sandbox: Sandbox) -> None:
    """Three more that nobody uses are three more."""
    settings = load(any_sandbox.settings_file)
    stack = any_sandbox.stack()
    replica = stack.get_replicas("backend")[0]
    place = replica.reach(settings.backend.port)
    assert place is not None

    def opened() -> int:
        frame = count_connections(stack, "backend", settings.backend.port, timeout_seconds=5).set_index("replica")
        assert len(frame) == 3
        return int(frame.loc[replica.name, "connections"])

    with contextlib.ExitStack() as held:
        for _ in range(40):
            held.enter_context(socket.create_connection(place, timeout=5))
        await_condition(lambda: opened() >= 40, "the connections were counted", timeout_seconds=20)
    await_condition(lambda: opened() < 40, "they were gone", timeout_seconds=20)
