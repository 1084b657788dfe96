"""A real ACME server (Pebble, Let's Encrypt's own test server) and what certbot must know to renew from it.

Started when something first needs it. Pebble forgets everything when it stops and gets a new root with each start, so what
certbot remembers of it is wiped, and the new root becomes one that the sandbox's clients trust.
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_sandbox.certificates import LIFE_DAYS, SITES
from flowrex_sandbox.processes import container_of
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import compose, docker
from flowrex_sandbox.stacks.embedded import acme as embedded
from flowrex_sandbox.state import write_private
from flowrex_sandbox.waiting import await_condition

_START_SECONDS = 60.0
_ANSWER_SECONDS = 15.0
_DAY_SECONDS = 86400


def start_acme(sandbox: Sandbox) -> None:
    """Start it where it does not run, and let certbot renew every site's certificate from it. SandboxError where it cannot be."""
    if is_running(sandbox):
        return
    needed = {"https"} if sandbox.state.stack == "compose" else {"https", embedded.PORT}
    if not needed <= sandbox.state.ports.keys():
        raise SandboxError(
            "this sandbox has no ACME server; install NGINX, certbot and pebble (Debian's packages) and start a new sandbox"
        )
    _write_configuration(sandbox)
    if sandbox.state.stack == "compose":
        compose(sandbox.home, "up", "-d", "--no-build", "--no-deps", "acme", timeout_seconds=_START_SECONDS)
    for replica in _replicas(sandbox):
        sandbox.stack().start(replica, timeout_seconds=_START_SECONDS)
    await_condition(lambda: bool(_root(sandbox)), "the ACME server answered", timeout_seconds=_ANSWER_SECONDS)
    sandbox.authority.trust(_root(sandbox))
    _forget(sandbox)
    _write_lineages(sandbox)


def stop_acme(sandbox: Sandbox) -> None:
    """Stop it; nothing happens where it does not run."""
    for replica in reversed(_replicas(sandbox)):
        if replica.running:
            sandbox.stack().stop(replica, timeout_seconds=_START_SECONDS)


def is_running(sandbox: Sandbox) -> bool:
    """Whether all of it runs."""
    replicas = _replicas(sandbox)
    return bool(replicas) and all(replica.running for replica in replicas)


def _replicas(sandbox: Sandbox) -> list[Replica]:
    found = {replica.service: replica for replica in sandbox.stack().get_replicas()}
    return [found[name] for name in embedded.PROGRAMS if name in found]


def _write_configuration(sandbox: Sandbox) -> None:
    """``pebble.json`` and the server's own certificate, by the sandbox's authority."""
    composed = sandbox.state.stack == "compose"
    ports = sandbox.state.ports
    folder = sandbox.home / "acme"
    folder.mkdir(exist_ok=True)
    sandbox.authority.issue_for_server(("localhost", "acme"), folder)
    inside = Path("/etc/pebble") if composed else folder
    host = "0.0.0.0" if composed else "127.0.0.1"  # noqa: S104  # inside its own container
    pebble = {
        "listenAddress": f"{host}:{14000 if composed else ports[embedded.PORT]}",
        "managementListenAddress": f"{host}:{15000 if composed else ports[embedded.MANAGEMENT]}",
        "certificate": str(inside / "cert.pem"),
        "privateKey": str(inside / "key.pem"),
        "httpPort": 80 if composed else ports["http"],
        "tlsPort": 443 if composed else ports["https"],
        "ocspResponderURL": "",
        "certificateValidityPeriod": LIFE_DAYS * _DAY_SECONDS,
    }
    write_private(folder / "pebble.json", json.dumps({"pebble": pebble}, indent=2) + "\n")


def _forget(sandbox: Sandbox) -> None:
    """Accounts of a server that is no more; in certbot's container, for it may be another user's there."""
    if sandbox.state.stack == "compose":
        certbot = container_of(sandbox.replicas("certbot")[0])
        docker("exec", certbot, "rm", "-rf", "/etc/letsencrypt/accounts", "/etc/letsencrypt/renewal")
    else:
        for name in ("accounts", "renewal"):
            shutil.rmtree(sandbox.authority.folder / name, ignore_errors=True)


def _write_lineages(sandbox: Sandbox) -> None:
    """What certbot remembers of each certificate: where it lies and how it is renewed."""
    composed = sandbox.state.stack == "compose"
    folder = "/etc/letsencrypt" if composed else str(sandbox.authority.folder)
    webroot = "/var/www/certbot" if composed else str(sandbox.webroot)
    server = "https://acme:14000/dir" if composed else embedded.directory_url(sandbox.state)
    (sandbox.authority.folder / "renewal").mkdir(exist_ok=True)
    for site in SITES:
        names = ("cert", "privkey", "chain", "fullchain")
        lines = [f"archive_dir = {folder}/archive/{site}"]
        lines += [f"{name} = {folder}/live/{site}/{name}.pem" for name in names]
        lines += ["[renewalparams]", "authenticator = webroot", f"webroot_path = {webroot},", f"server = {server}"]
        lines += ["key_type = ecdsa"]
        write_private(sandbox.authority.folder / "renewal" / f"{site}.conf", "\n".join(lines) + "\n")


def _root(sandbox: Sandbox) -> str:
    """The root that this start of the server has made, in PEM; empty while it does not answer."""
    if sandbox.state.stack == "compose":
        certbot = container_of(sandbox.replicas("certbot")[0])
        try:
            return docker("exec", certbot, "curl", "-fsSk", "-m", "2", "https://acme:15000/roots/0")
        except SandboxError:
            return ""
    context = ssl.create_default_context(cafile=sandbox.authority.anchor)
    url = f"https://localhost:{sandbox.state.ports[embedded.MANAGEMENT]}/roots/0"
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # our own https URL
            return str(answer.read().decode())
    except OSError:
        return ""
