"""The ACME server as plain processes, where this machine has it: Pebble and the name server that it asks. Not started by 'up'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flowrex_sandbox.stacks.embedded.parts import Renewal
from flowrex_sandbox.state import State

PORT, MANAGEMENT, DNS, DNS_MANAGEMENT = PORTS = ("acme", "acme-management", "acme-dns", "acme-dns-management")
"""What each port is for; a sandbox of an earlier version, or of a machine without Pebble, has none of them."""

PROGRAMS = ("acme-dns", "acme")
"""In the order in which they are started."""


def commands(state: State, renewal: Renewal) -> list[tuple[str, tuple[object, ...], Mapping[str, str]]]:
    """Program, command line and environment. Every name leads to this machine, where NGINX answers for it."""
    dns, management = (f"127.0.0.1:{state.ports[purpose]}" for purpose in (DNS, DNS_MANAGEMENT))
    nothing = [word for name in ("http01", "https01", "tlsalpn01", "defaultIPv6") for word in (f"-{name}", "")]
    server = (renewal.challtestsrv, "-defaultIPv4", "127.0.0.1", "-dns01", dns, "-management", management, *nothing)
    pebble = (renewal.pebble, "-config", f"{state.home}/acme/pebble.json", "-dnsserver", dns, "-strict=false")
    return [
        ("acme-dns", server, {}),
        ("acme", pebble, {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}),
    ]


def certbot_command(state: State, renewal: Renewal) -> tuple[str, ...]:
    """Certbot in the sandbox's own folders, without a user of its own, trusting the ACME server's certificate."""
    tls = Path(state.home) / "tls"
    folders = ("--config-dir", str(tls), "--work-dir", str(tls / "work"), "--logs-dir", f"{state.home}/log")
    return ("env", f"REQUESTS_CA_BUNDLE={tls}/ca.crt", str(renewal.certbot), "-c", str(tls / "cli.ini"), *folders)


def directory_url(state: State) -> str:
    """Where certbot finds the ACME server."""
    return f"https://localhost:{state.ports[PORT]}/dir"
