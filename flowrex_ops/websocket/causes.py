"""Why WebSockets end."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "websocket_disconnections"
_RELOAD = "docker-compose -f docker-compose.prod.yml exec nginx nginx -s reload"
_NGINX_DUMP = "docker-compose -f docker-compose.prod.yml exec nginx nginx -T"
_BACKEND_LOG = "docker-compose -f docker-compose.prod.yml logs --tail=500 backend"

CAUSES = (
    Cause(
        "ws.proxy-misconfigured",
        "The proxy does not pass WebSocket upgrades on",
        "The handshake fails through NGINX and works straight to a replica: no Upgrade header, or HTTP/1.0.",
        Severity.P1,
        310,
        (
            command(_NGINX_DUMP, "find the location; it needs proxy_http_version 1.1, Upgrade and Connection"),
            mitigation("reload-websocket-proxy", "once it was corrected on disk: tested, reloaded, seen by handshakes"),
        ),
    ),
    Cause(
        "ws.memory-leak",
        "The backend keeps memory of WebSockets for good",
        "Memory grows with messages, or with connections that are gone, until a replica is killed and drops all of its own.",
        Severity.P2,
        320,
        (
            mitigation("rolling-restart", "one replica after the other: gives the memory back, its clients reconnect"),
            NextStep(
                "person", "owner of the WebSocket handler", "find what is kept: buffers, subscriptions, histories"
            ),
        ),
    ),
    Cause(
        "ws.connection-limit",
        "No more WebSockets are let in",
        "NGINX has no worker connections left (each WebSocket takes two), or the backend refuses above its own limit.",
        Severity.P2,
        330,
        (
            command(_NGINX_DUMP, "events { worker_connections … }: raise it, and the open files that it needs"),
            command(_RELOAD, "then reload"),
            NextStep("person", "owner of the backend", "raise its limit, or add replicas"),
        ),
    ),
    Cause(
        "ws.backend-error",
        "The WebSocket handler fails",
        "An exception in the handler closes the connection with 1011; the log has its traceback.",
        Severity.P2,
        340,
        (
            command(_BACKEND_LOG, "read the traceback"),
            NextStep("person", "owner of the WebSocket handler", "roll back, if it came with the last release"),
        ),
    ),
    Cause(
        "ws.backend-restart",
        "Replicas restarted and took their connections with them",
        "Closings bunch at the moment of the restart, with 1012 or 1001, or without a word (1006).",
        Severity.P2,
        350,
        (
            command(_BACKEND_LOG, "see why it restarted, unless somebody deployed"),
            command("docker-compose -f docker-compose.prod.yml ps backend", "see whether it does so again and again"),
        ),
    ),
    Cause(
        "net.reconnect-storm",
        "All clients come back at once",
        "What ended their connections is over; that they come back in the same moment is what takes CPU, memory and the database's connections now.",
        Severity.P2,
        355,
        (
            NextStep(
                "person",
                "owner of the proxy",
                "limit_req with a burst on the WebSockets' location: NGINX lets in so many a second, and lets the others wait",
            ),
            NextStep(
                "person", "owner of the clients", "wait before coming back: longer each time, and each client by chance"
            ),
            runbook("database_connections", "do the pools bear what each client asks for as it comes back?"),
        ),
    ),
    Cause(
        "ws.proxy-timeout",
        "The proxy ends quiet connections",
        "Closings bunch at one age, which is NGINX's proxy_read_timeout: nothing was sent for so long.",
        Severity.P2,
        360,
        (
            command(_NGINX_DUMP, "proxy_read_timeout of the WebSocket's location: raise it, such as to 3600s"),
            command(_RELOAD, "after nginx -t; no connection is lost"),
            NextStep("person", "owner of the backend", "send pings more often than the shortest timeout on the way"),
        ),
    ),
    Cause(
        "ws.unexplained-disconnections",
        "WebSockets break off, and nothing explains it",
        "Connections break off or do not come about, and no hypothesis of this runbook knows why.",
        Severity.P2,
        370,
        (
            command(_BACKEND_LOG, "read it at the moment that is named; the proxy's log, too"),
            NextStep(
                "person", "owner of the network", "ask for what stands before NGINX: load balancer, firewall, VPN"
            ),
        ),
    ),
)
