"""Certificates, WebSockets, and containers that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from faults import fault
from harbor import Harbor


def _certificate(harbor: Harbor, name: str, days_left: float) -> Iterator[None]:
    harbor.serve_certificate(name, days_left)
    yield
    harbor.serve_certificate("harbor.test", 80)


@fault({"certificate_expiry": "tls.expired"})
def certificate_has_expired(harbor: Harbor) -> Iterator[None]:
    """Two hours ago."""
    yield from _certificate(harbor, "harbor.test", -0.1)


@fault({"certificate_expiry": "tls.expiring"})
def certificate_ends_soon(harbor: Harbor) -> Iterator[None]:
    """In five days."""
    yield from _certificate(harbor, "harbor.test", 5)


@fault({"certificate_expiry": "tls.hostname-mismatch"}, "quay.test")
def certificate_of_another_name(harbor: Harbor) -> Iterator[None]:
    """Issued for somebody else."""
    yield from _certificate(harbor, "quay.test", 80)


@fault({"websocket_disconnections": "ws.proxy-misconfigured"}, "Upgrade")
def location_without_upgrade(harbor: Harbor) -> Iterator[None]:
    """As a copied location has it."""
    line = "        proxy_set_header Upgrade $http_upgrade;\n"
    harbor.configure(line, "        # no upgrade\n")
    harbor.reload()
    yield
    harbor.configure("        # no upgrade\n", line)
    harbor.reload()


@fault({"websocket_disconnections": "ws.proxy-timeout"}, "10 s")
def proxy_cuts_quiet_streams(harbor: Harbor) -> Iterator[None]:
    """Ten seconds of silence, and uvicorn pings each twenty; the log does not tell how old a stream was."""
    harbor.configure("proxy_read_timeout 1h;", "proxy_read_timeout 10s;")
    with harbor.switch("quiet"):
        harbor.renew("gate")
        harbor.await_answers(101, "/feed/stream", number=8)
        yield
    harbor.configure("proxy_read_timeout 10s;", "proxy_read_timeout 1h;")
    harbor.reload()


@fault({"triage": "service.down"}, "desk-2")
def replica_was_stopped(harbor: Harbor) -> Iterator[None]:
    """By hand, so that nobody starts it again."""
    container = harbor.containers("desk")[1]
    container.stop(timeout=0)
    yield
    container.start()


@fault({"triage": "service.unhealthy"}, "desk-2")
def replica_says_that_it_is_ill(harbor: Harbor) -> Iterator[None]:
    """At its health path, which nobody told us."""
    with harbor.switch(harbor.second("ill")):
        yield


@fault({"triage": "service.restarting"}, "desk-2")
def replica_crashes_at_start(harbor: Harbor) -> Iterator[None]:
    """``restart: always`` starts it again and again."""
    container = harbor.containers("desk")[1]
    with harbor.switch(harbor.second("crash")):
        container.restart(timeout=0)
        harbor.await_restarts(container, 2)
        yield
    container.restart(timeout=0)
