"""Faults of WebSockets inside the backend: its handler, its memory, its limit, its restarts; and what the logs show of them."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from flowrex_ops.model import LogLine, Replica
from flowrex_sandbox import processes
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.sandbox import BACKEND_PORT, Sandbox
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.waiting import await_condition

CLIENTS = 10
"""How many streams the sandbox's clients keep open (``app.stream_clients``)."""

BROKE_OFF, INTERNAL_ERROR, TRY_AGAIN_LATER = (1005, 1006), (1011,), (1013,)
"""Close codes; newer releases of uvicorn say 1005 of a TCP connection that just ended, older ones 1006."""
_TROUBLE = re.compile(r"websocket closed .*code=(1005|1006|1011|1012|1013)|backend st(arted|opping)")
_PROXY_TROUBLE = re.compile(r"worker_connections are not enough|proxying upgraded connection")
_CLOSED = re.compile(r"websocket closed .*code=(\d+)")
_ENOUGH = 4
_LATELY_SECONDS = 8.0
_RESTART_SECONDS = 30.0
_LOG_BYTES = 16 * 1024 * 1024
_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class _StreamBug(Fault):
    """A bug in the WebSocket handler of every replica."""

    bug: ClassVar[str]
    codes: ClassVar[tuple[int, ...]] = ()

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, f"/_sandbox/streams?{self.bug}", method="POST")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, _LATELY_SECONDS, self.codes)) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, "/_sandbox/heal", method="POST")


@dataclass(frozen=True, slots=True)
class FailingHandler(_StreamBug):
    """The handler raises at the third message."""

    name = "failing-handler"
    bug = "failing=1"
    codes = INTERNAL_ERROR


@dataclass(frozen=True, slots=True)
class LeakingHandler(_StreamBug):
    """The handler keeps a piece of memory for each message; bounded, so that the container survives."""

    name = "leaking-handler"
    bug = f"leak_bytes={3 * _MEGABYTE // 2}"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return any(_leaked_bytes(replica) >= _ENOUGH * _MEGABYTE for replica in sandbox.replicas())


@dataclass(frozen=True, slots=True)
class LowConnectionLimit(_StreamBug):
    """A limit of one connection per replica, noticed as soon as the clients reconnect."""

    name = "low-connection-limit"
    bug = "limit=1"
    codes = TRY_AGAIN_LATER

    def start(self, sandbox: Sandbox) -> None:
        _StreamBug.start(self, sandbox)
        reconnect_clients(sandbox)


@dataclass(frozen=True, slots=True)
class ReplicasKilled(Fault):
    """One replica after the other is killed and started again: its connections are gone without a word."""

    name = "replicas-killed"

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            _kill(sandbox, replica)
            await_backends(sandbox, timeout_seconds=_RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(sandbox.replicas()) == sandbox.state.replicas

    def stop(self, sandbox: Sandbox) -> None:
        """Nothing: a killed replica that did not come back is started by ``heal`` itself."""


@dataclass(frozen=True, slots=True)
class PastRollingRestart(Fault):
    """A deployment some time ago: each replica was restarted, and all clients are back."""

    name = "past-rolling-restart"

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.stack().restart(replica, timeout_seconds=_RESTART_SECONDS)
            await_backends(sandbox, timeout_seconds=_RESTART_SECONDS)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Restart all, and return once that is no longer recent."""
        self.start(sandbox)
        await_streams(sandbox, 60 * thresholds.get("recent_minutes", 5.0))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_trouble(sandbox, age_seconds) > age_seconds

    def stop(self, sandbox: Sandbox) -> None:
        """Nothing: it is over."""


@dataclass(frozen=True, slots=True)
class TabsClosed(Fault):
    """Users who open a page and close it again, as they do all day."""

    name = "tabs-closed"
    tabs: int = 12

    def start(self, sandbox: Sandbox) -> None:
        from websockets.sync.client import connect

        url = f"ws://127.0.0.1:{sandbox.state.ports.get('http', sandbox.state.ports.get('backend-1'))}/ws"
        for number in range(self.tabs):
            tab = connect(url, proxy=None, open_timeout=5, close_timeout=1)
            tab.recv(timeout=5)
            tab.close(1001 if number % 2 else 1000)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, _LATELY_SECONDS, (1000, 1001))) >= self.tabs

    def stop(self, sandbox: Sandbox) -> None:
        """Nothing: they are gone."""


def reconnect_clients(sandbox: Sandbox) -> None:
    """Let the sandbox's WebSocket clients leave properly and come back."""
    for replica in sandbox.replicas("streams"):
        sandbox.stack().restart(replica, timeout_seconds=_RESTART_SECONDS)


def recent_lines(sandbox: Sandbox, service: str, seconds: float) -> list[LogLine]:
    """What a service logged in the last so many seconds."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    return list(sandbox.stack().read_logs(service, since=since, max_bytes=_LOG_BYTES))


def recent_closings(sandbox: Sandbox, seconds: float, codes: Collection[int]) -> list[LogLine]:
    """The closings with one of *codes* in the last so many seconds."""
    found = ((line, _CLOSED.search(line.text)) for line in recent_lines(sandbox, "backend", seconds))
    return [line for line, closed in found if closed and int(closed[1]) in codes]


def seconds_since_trouble(sandbox: Sandbox, within_seconds: float) -> float:
    """Since when no connection was dropped or refused; infinite where nothing happened within so many seconds."""
    found = [
        line.at
        for service, pattern in (("backend", _TROUBLE), ("nginx", _PROXY_TROUBLE))
        for line in recent_lines(sandbox, service, within_seconds + 1)
        if line.at and pattern.search(line.text)
    ]
    return (datetime.now(UTC) - max(found)).total_seconds() if found else float("inf")


def await_streams(sandbox: Sandbox, recent_seconds: float) -> None:
    """Return once every client watches and whatever dropped them before is no longer recent."""
    await_condition(
        lambda: (
            seconds_since_trouble(sandbox, recent_seconds) > recent_seconds
            and sum(_state(replica).get("open", 0) for replica in sandbox.replicas()) >= CLIENTS
        ),
        "every WebSocket client was connected, and had been",
        timeout_seconds=recent_seconds + _RESTART_SECONDS,
        poll_seconds=0.3,
        details=lambda: "run 'flowrex-ops drill heal' first",
    )


def _leaked_bytes(replica: Replica) -> int:
    return _state(replica).get("leaked_bytes", 0)


def _state(replica: Replica) -> dict[str, int]:
    """What a replica says of its streams; nothing where it does not answer."""
    host, port = replica.ports.get(BACKEND_PORT, ("127.0.0.1", 0))
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/_sandbox/streams", timeout=5) as answer:
            state: dict[str, int] = json.load(answer)
            return state
    except (OSError, ValueError):
        return {}


def _kill(sandbox: Sandbox, replica: Replica) -> None:
    """End the replica's process at once, and have it started again."""
    if sandbox.state.stack == "compose":
        docker("kill", "-s", "KILL", replica.identity.partition("@")[0])
    else:
        pid = int(replica.identity.split(":")[2])
        processes.kill([process for process in processes.list_processes() if process.pid == pid])
    stack = sandbox.stack()
    await_condition(
        lambda: _identity(sandbox, replica.name) != replica.identity,
        f"{replica.name} ended",
        timeout_seconds=_RESTART_SECONDS,
    )
    # supervisord starts it by itself, Docker does not start what was killed by hand; starting twice does no harm.
    stack.start(replica, timeout_seconds=_RESTART_SECONDS)


def _identity(sandbox: Sandbox, name: str) -> str:
    return next((replica.identity for replica in sandbox.replicas() if replica.name == name), "")
