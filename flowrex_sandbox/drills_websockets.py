"""The drills of runbook ``websocket_disconnections``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowrex_sandbox import faults as f
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults import proxy_configuration as proxy
from flowrex_sandbox.faults import streams

RECENT: Mapping[str, float] = {"recent_minutes": 0.2}
"""Twelve seconds, so that nobody has to wait five minutes until a drill's closings are old."""


ONE_MOMENT: Mapping[str, float] = {"recent_minutes": 0.5}
"""For what happens once and is not felt again: it must still be recent when a busy machine comes to read the log."""


def _ws(
    scenario: str,
    title: str,
    faults: tuple[f.Fault, ...],
    *expected: str,
    parameters: Mapping[str, float] = RECENT,
    alerts: tuple[str, ...] = (),
) -> Drill:
    return Drill(
        scenario,
        title,
        faults,
        expected,
        runbook="websocket_disconnections",
        parameters=dict(parameters),
        alerts=alerts,
    )


WEBSOCKETS: tuple[Drill, ...] = (
    _ws("ws-healthy", "nothing is wrong: every stream stays open", ()),
    _ws(
        "ws-proxy-misconfigured",
        "the proxy passes no upgrades on, and speaks HTTP/1.0 to the backend",
        (proxy.UpgradesNotPassed(),),
        "ws.proxy-misconfigured",
    ),
    replace(
        _ws(
            "ws-corrected-not-reloaded",
            "the proxy passed no upgrades on; its file was corrected, and it was not reloaded",
            (proxy.CorrectedNotReloaded(),),
            "ws.proxy-misconfigured",
        ),
        alerts=("WebSocketConnectionsDropped",),
        approve=("reload-websocket-proxy",),
        cures=True,
    ),
    _ws(
        "ws-proxy-timeout",
        "the proxy cuts off what is quiet for two seconds",
        (proxy.ShortReadTimeout(),),
        "ws.proxy-timeout",
    ),
    _ws(
        "ws-backend-restart",
        "each replica is killed and started again",
        (streams.ReplicasKilled(),),
        "ws.backend-restart",
        parameters=ONE_MOMENT,
    ),
    _ws(
        "ws-backend-error",
        "the WebSocket handler raises",
        (streams.FailingHandler(),),
        "ws.backend-error",
        alerts=("WebSocketClosings",),
    ),
    replace(
        _ws(
            "ws-memory-leak", "the handler keeps every message for good", (streams.LeakingHandler(),), "ws.memory-leak"
        ),
        approve=("rolling-restart",),
        cures=True,
        alerts=("MemoryGrowing",),
    ),
    _ws(
        "ws-connection-limit",
        "the backend lets in one connection per replica",
        (streams.LowConnectionLimit(),),
        "ws.connection-limit",
        alerts=("WebSocketConnectionsDropped",),
    ),
    _ws(
        "ws-worker-connections",
        "NGINX has fewer worker connections than its clients take",
        (proxy.FewWorkerConnections(),),
        "ws.connection-limit",
    ),
    _ws(
        "ws-timeout-and-error",
        "two at once: a short read timeout, and a handler that raises",
        (proxy.ShortReadTimeout(), streams.FailingHandler()),
        "ws.backend-error",
        "ws.proxy-timeout",
    ),
    _ws(
        "ws-limit-and-restart",
        "two at once: replicas that were killed, and came back with a limit that is too low",
        (streams.ReplicasKilled(), streams.LowConnectionLimit()),
        "ws.connection-limit",
        "ws.backend-restart",
        parameters=ONE_MOMENT,
    ),
    _ws(
        "ws-old-rolling-restart",
        "red herring: a rolling restart that is over, all clients are back",
        (streams.PastRollingRestart(),),
    ),
    _ws("ws-tabs-closed", "red herring: users who close their tabs", (streams.TabsClosed(),)),
    _ws(
        "ws-short-timeout-elsewhere",
        "red herring: a short read timeout on a location that carries no WebSockets",
        (proxy.ShortTimeoutElsewhere(),),
    ),
)
