"""WebSockets that end: the backend's handler, its memory, its limit, its restarts, the proxy's limits; and what the logs show of them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import ClassVar

from flowrex_ops.model import LogLine
from flowrex_sandbox.clients import start_client
from flowrex_sandbox.clients.holder import HERD
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import ENOUGH, Fault, ReplicaBug, TroubleClient
from flowrex_sandbox.faults.proxy import (
    CorrectedNotReloaded,
    ProxyConfiguration,
    UpgradesNotPassed,
    current_configuration,
    reconnect_clients,
    shake_hands,
)
from flowrex_sandbox.faults.replicas import RESTART_SECONDS, kill_replica
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

CLIENTS = 10
"""How many streams the sandbox's clients keep open (``app.stream_clients``)."""

BROKE_OFF, INTERNAL_ERROR, TRY_AGAIN_LATER, LEFT = (1005, 1006), (1011,), (1013,), (1000, 1001)
"""Close codes; newer releases of uvicorn say 1005 of a TCP connection that just ended, older ones 1006."""
_TROUBLE = re.compile(r"websocket closed .*code=(1005|1006|1011|1012|1013)|backend st(arted|opping)")
_PROXY_TROUBLE = re.compile(r"worker_connections are not enough|proxying upgraded connection")
_CLOSED = re.compile(r"websocket closed .*code=(\d+)")
_LATELY_SECONDS = 8.0
_LOG_BYTES = 16 * 1024 * 1024
_MEGABYTE = 2**20


class _StreamBug(ReplicaBug):
    """A bug in the WebSocket handler of every replica."""

    setting: ClassVar[str]
    codes: ClassVar[tuple[int, ...]] = ()

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.ask(replica, f"/_sandbox/streams?{self.setting}", method="POST")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, self.codes)) >= ENOUGH


class FailingHandler(_StreamBug):
    """The WebSocket handler raises."""

    setting = "failing=1"
    codes = INTERNAL_ERROR


class LeakingHandler(_StreamBug):
    """The handler keeps every message for good."""

    setting = f"leak_bytes={3 * _MEGABYTE // 2}"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return any(state["leaked_bytes"] >= ENOUGH * _MEGABYTE for state in _states(sandbox))


class LowConnectionLimit(_StreamBug):
    """The backend lets in one connection per replica."""

    setting = "limit=1"
    codes = TRY_AGAIN_LATER

    def start(self, sandbox: Sandbox) -> None:
        super().start(sandbox)
        reconnect_clients(sandbox)


class ReplicasKilled(Fault):
    """Each replica is killed and started again.

    Its connections are gone without a word.
    """

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            kill_replica(sandbox, replica, from_within=False)
            # supervisord starts it by itself, Docker does not start what was killed by hand; starting twice does no harm.
            sandbox.stack().start(replica, timeout_seconds=RESTART_SECONDS)
            await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(sandbox.replicas()) == sandbox.state.replicas


class ClientsReturnAtOnce(TroubleClient):
    """All replicas are killed, and all clients come back in the same moment."""

    kind: str = "herd"

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, self.kind, urls=(sandbox.url.replace("http", "ws", 1) + "/ws?every=20",))
        self._await_open(sandbox, HERD)
        for replica in sandbox.replicas():
            kill_replica(sandbox, replica, from_within=False)
        for replica in sandbox.stack().get_replicas("backend"):
            sandbox.stack().start(replica, timeout_seconds=RESTART_SECONDS)
        await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return sum(state["open"] for state in _states(sandbox)) >= HERD

    def _await_open(self, sandbox: Sandbox, number: int) -> None:
        await_condition(
            lambda: sum(state["open"] for state in _states(sandbox)) >= number,
            f"{number} clients were connected",
            timeout_seconds=60,
        )


class ClientsReturnInTime(ClientsReturnAtOnce):
    """All replicas are killed, and each client waits by chance before it comes back."""

    kind: str = "herd-in-time"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return sum(state["open"] for state in _states(sandbox)) >= HERD / 2


class PastRollingRestart(Fault):
    """A rolling restart is over, all clients are back."""

    def start(self, sandbox: Sandbox) -> None:
        for replica in sandbox.replicas():
            sandbox.stack().restart(replica, timeout_seconds=RESTART_SECONDS)
            await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Restart all, and return once that is no longer recent."""
        self.start(sandbox)
        await_streams(sandbox, 60 * thresholds.get("recent_minutes", 5.0))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_trouble(sandbox, age_seconds) > age_seconds


class ClientsLeave(Fault):
    """Users close their tabs, as they do all day."""

    tabs: int = 12

    def start(self, sandbox: Sandbox) -> None:
        from websockets.sync.client import connect

        url = sandbox.url.replace("http", "ws", 1) + "/ws"
        for number in range(self.tabs):
            tab = connect(url, proxy=None, open_timeout=5, close_timeout=1)
            tab.recv(timeout=5)
            tab.close(LEFT[number % 2])

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, LEFT)) >= self.tabs


class ShortReadTimeout(ProxyConfiguration):
    """The proxy cuts off what is quiet for two seconds."""

    def rewrite(self, sound: str) -> str:
        return sound.replace("proxy_read_timeout 3600s;", "proxy_read_timeout 2s;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, BROKE_OFF)) >= ENOUGH


class FewWorkerConnections(ProxyConfiguration):
    """NGINX has fewer worker connections than its clients take."""

    connections: int = 16

    def rewrite(self, sound: str) -> str:
        return re.sub(r"worker_connections \d+;", f"worker_connections {self.connections};", sound)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        lines = _recent_lines(sandbox, "nginx", _LATELY_SECONDS)
        return sum("worker_connections are not enough" in line.text for line in lines) >= ENOUGH


class FewerWorkerConnections(FewWorkerConnections):
    """NGINX has fewer worker connections than before, and enough for all."""

    connections: int = 128

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return f"worker_connections {self.connections};" in current_configuration(sandbox)


class ShortTimeoutElsewhere(ProxyConfiguration):
    """A location that carries no WebSockets has a short read timeout."""

    def rewrite(self, sound: str) -> str:
        header = "proxy_set_header Host $host;"
        return sound.replace(header, f"{header} proxy_read_timeout 2s;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return shake_hands(sandbox) == HTTPStatus.SWITCHING_PROTOCOLS


def _recent_lines(sandbox: Sandbox, service: str, seconds: float) -> list[LogLine]:
    """What a service logged in the last so many seconds."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    return list(sandbox.stack().read_logs(service, since=since, max_bytes=_LOG_BYTES))


def recent_closings(sandbox: Sandbox, codes: Collection[int]) -> list[LogLine]:
    """The closings with one of *codes* in the last seconds."""
    found = ((line, _CLOSED.search(line.text)) for line in _recent_lines(sandbox, "backend", _LATELY_SECONDS))
    return [line for line, closed in found if closed and int(closed[1]) in codes]


def seconds_since_trouble(sandbox: Sandbox, within_seconds: float) -> float:
    """Since when no connection was dropped or refused; infinite where nothing happened within so many seconds."""
    found = [
        line.at
        for service, pattern in (("backend", _TROUBLE), ("nginx", _PROXY_TROUBLE))
        for line in _recent_lines(sandbox, service, within_seconds + 1)
        if line.at and pattern.search(line.text)
    ]
    return (datetime.now(UTC) - max(found)).total_seconds() if found else float("inf")


def await_streams(sandbox: Sandbox, recent_seconds: float) -> None:
    """Return once every client watches and whatever dropped them before is no longer recent."""
    await_condition(
        lambda: (
            seconds_since_trouble(sandbox, recent_seconds) > recent_seconds
            and sum(state["open"] for state in _states(sandbox)) >= CLIENTS
        ),
        "every WebSocket client was connected, and had been",
        timeout_seconds=recent_seconds + RESTART_SECONDS,
        poll_seconds=0.3,
        details=lambda: "run 'flowrex-ops drill reset' first",
    )


def _states(sandbox: Sandbox) -> list[dict[str, int]]:
    """What each replica that answers says of its streams."""
    return [json.loads(answer) for answer in sandbox.read_replicas("/_sandbox/streams")]


drill = drills_of("websocket_disconnections", recent_minutes=0.2)
"""Twelve seconds, so that nobody has to wait five minutes until a drill's closings are old."""

ONE_MOMENT = {"recent_minutes": 0.5}
"""For what happens once and is not felt again: it must still be recent when a busy machine comes to read the log."""

DRILLS = (
    drill("ws-healthy", title="nothing is wrong: every stream stays open"),
    drill("ws-proxy-misconfigured", UpgradesNotPassed(), expected="ws.proxy-misconfigured"),
    drill(
        "ws-corrected-not-reloaded",
        CorrectedNotReloaded(),
        expected="ws.proxy-misconfigured",
        approve="reload-websocket-proxy",
        alerts="WebSocketConnectionsDropped",
    ),
    drill("ws-proxy-timeout", ShortReadTimeout(), expected="ws.proxy-timeout"),
    drill("ws-backend-restart", ReplicasKilled(), expected="ws.backend-restart", parameters=ONE_MOMENT),
    drill("ws-backend-error", FailingHandler(), expected="ws.backend-error", alerts="WebSocketClosings"),
    drill(
        "ws-memory-leak",
        LeakingHandler(),
        expected="ws.memory-leak",
        approve="rolling-restart",
        alerts="MemoryGrowing",
    ),
    drill(
        "ws-connection-limit",
        LowConnectionLimit(),
        expected="ws.connection-limit",
        alerts="WebSocketConnectionsDropped",
    ),
    drill("ws-worker-connections", FewWorkerConnections(), expected="ws.connection-limit"),
    drill("ws-timeout-and-error", ShortReadTimeout(), FailingHandler(), expected="ws.backend-error ws.proxy-timeout"),
    drill(
        "ws-limit-and-restart",
        ReplicasKilled(),
        LowConnectionLimit(),
        title="two at once: replicas that were killed, and came back with a limit that is too low",
        expected="ws.connection-limit ws.backend-restart",
        parameters=ONE_MOMENT,
    ),
    drill(
        "ws-reconnect-storm",
        ClientsReturnAtOnce(),
        expected="ws.backend-restart net.reconnect-storm",
        parameters=ONE_MOMENT,
        alerts="WebSocketsReturning",
    ),
    drill(
        "ws-clients-return-in-time",
        ClientsReturnInTime(),
        title="red herring: all replicas were killed, and each client waits by chance before it comes back",
        expected="ws.backend-restart",
        parameters={"recent_minutes": 1.0},
    ),
    drill("ws-old-rolling-restart", PastRollingRestart()),
    drill("ws-clients-leave", ClientsLeave()),
    drill("ws-short-timeout-elsewhere", ShortTimeoutElsewhere()),
)
