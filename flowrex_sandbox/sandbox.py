"""A running sandbox as the rest of the project holds it."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from flowrex_ops.compose import Stack
from flowrex_ops.compose.stack import ComposeStack
from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_ops.settings import DEFAULT_FILE
from flowrex_sandbox.certificates import SITES, Authority
from flowrex_sandbox.stacks.embedded import acme
from flowrex_sandbox.stacks.embedded.configuration import nginx_command
from flowrex_sandbox.stacks.embedded.parts import find_parts
from flowrex_sandbox.stacks.supervisor import SupervisorStack
from flowrex_sandbox.state import BROKER_ACCOUNT, State, read_state, write_private

BACKEND_PORT = 8000
STATUS_PAGES = ("twelvedata", "oanda", "aws", "cloudflare")
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The stand-in platform at one home."""

    state: State

    @property
    def name(self) -> str:
        """Its name; under Docker Compose also the project."""
        return self.state.name

    @property
    def home(self) -> Path:
        """The folder with everything that it wrote. Under Docker Compose ``docker-compose.prod.yml`` lies here."""
        return Path(self.state.home)

    @property
    def settings_file(self) -> Path:
        """The ``flowrex-ops.toml`` that leads every command to this sandbox."""
        return self.home / DEFAULT_FILE

    @property
    def url(self) -> str:
        """Where users reach the platform."""
        return f"http://127.0.0.1:{self.state.ports.get('http', self.state.ports.get('backend-1', 0))}"

    @property
    def authority(self) -> Authority:
        """Who issues its certificates."""
        return Authority(self.home / "tls")

    @property
    def control(self) -> Path:
        """The folder whose snippets NGINX includes; made when the sandbox starts."""
        return self.home / "control"

    @property
    def webroot(self) -> Path:
        """The folder from which NGINX serves the answers to ACME challenges."""
        return self.home / "webroot"

    @property
    def outside_url(self) -> str:
        """Where the stand-in for what is outside (the broker) answers."""
        return f"http://127.0.0.1:{self.state.ports['outside']}"

    @property
    def app_dsn(self) -> str:
        """PostgreSQL as the application, role ``flowrex``."""
        return self.state.dsn("flowrex")

    @property
    def admin_dsn(self) -> str:
        """PostgreSQL as superuser ``postgres``, who may use the reserved slots."""
        return self.state.dsn("postgres")

    @property
    def reporting_dsn(self) -> str:
        """PostgreSQL as role ``reporting``, an outside client."""
        return self.state.dsn("reporting")

    def stack(self) -> Stack:
        """The driver for this sandbox's stack."""
        if self.state.stack == "supervisor":
            return SupervisorStack(Path(self.state.run_dir) / "supervisor.sock", timeout_seconds=_TIMEOUT_SECONDS)
        return ComposeStack(self.name, docker_host="", timeout_seconds=_TIMEOUT_SECONDS)

    def replicas(self, service: str = "backend") -> Sequence[Replica]:
        """The service's replicas that run."""
        return [replica for replica in self.stack().get_replicas(service) if replica.running]

    def ask(self, replica: Replica, path: str, *, method: str = "GET", timeout_seconds: float = 5.0) -> int:
        """The status that a backend replica answers on *path*; 0 when it does not answer."""
        host, port = replica.ports.get(BACKEND_PORT, ("127.0.0.1", 0))
        return get_answer(f"http://{host}:{port}{path}", method=method, timeout_seconds=timeout_seconds)

    def backend_urls(self) -> tuple[str, ...]:
        """Where each replica of the backend that runs answers."""
        found = [replica.ports[BACKEND_PORT] for replica in self.replicas() if BACKEND_PORT in replica.ports]
        return tuple(f"http://{host}:{port}" for host, port in found)

    def read_replicas(self, path: str) -> Iterator[str]:
        """What every replica of the backend that answers says on *path*."""
        for url in self.backend_urls():
            with contextlib.suppress(OSError, http.client.HTTPException):
                with urllib.request.urlopen(url + path, timeout=5) as answer:  # noqa: S310  # our own http URL
                    text = answer.read().decode()
                yield text

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that the superuser gets for *statement*; its own session shows as ``flowrex-sandbox``."""
        with self._superuser() as admin:
            return admin.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        """Run *statement* as superuser, outside a transaction."""
        with self._superuser() as admin:
            admin.execute(statement.encode())

    def _superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.admin_dsn, autocommit=True, connect_timeout=5, application_name="flowrex-sandbox")

    def write_settings(self) -> None:
        """Write ``flowrex-ops.toml``; readable by its owner only, for it holds passwords."""
        write_private(self.settings_file, _settings_text(self))


def open_sandbox(home: Path) -> Sandbox:
    """The sandbox at *home*; SandboxError when there is none."""
    state = read_state(home.resolve())
    if state is None:
        raise SandboxError(f"there is no sandbox at '{home}'; start one with 'flowrex-ops sandbox up'")
    return Sandbox(state)


def get_answer(
    url: str, *, method: str = "GET", body: Mapping[str, Any] | None = None, timeout_seconds: float = 5.0
) -> int:
    """The status that *url* answers, given *body* as JSON; 0 when there is no answer in time."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, method=method)  # noqa: S310  # our own http URL
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310  # our own http URL
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def _settings_text(sandbox: Sandbox) -> str:
    state = sandbox.state
    stack: dict[str, Any] = {"kind": state.stack}
    if state.stack == "supervisor":
        stack["socket"] = f"{state.run_dir}/supervisor.sock"
    else:
        stack["project"] = state.name
    stack["may_be_absent"] = ["certbot", "acme", "acme-dns"]
    # The replicas are discovered: they come and go, and under Docker Compose their ports change.
    sections: dict[str, dict[str, Any]] = {
        "stack": stack,
        "postgres": {
            "dsn": sandbox.app_dsn,
            "admin_dsn": sandbox.admin_dsn,
            "reserve_dsn": sandbox.admin_dsn,
            "application_role": "flowrex",
        },
        "backup": {"folder": str(sandbox.home / "backups" / "postgres"), "probe_path": "/api/portfolio?account=1"},
        "redis": {"url": f"redis://127.0.0.1:{state.ports['redis']}/0"},
        "tls": _tls(sandbox),
        "proxy": _proxy(sandbox),
        "certbot": _certbot(sandbox),
        "front_door": {"url": sandbox.url},
        "broker": {"url": sandbox.outside_url, "token": state.broker_token, "account": BROKER_ACCOUNT},
    }
    sections["sentry"] = {"url": sandbox.outside_url, "token": state.sentry_token}
    sections["grafana"] = {"url": sandbox.outside_url, "token": state.grafana_token}
    chat = sandbox.outside_url.replace("http://", "json://") + "/chat"
    sections["notify"] = {"default": ["incident"]}
    sections["notify.urls"] = {name: f"{chat}/{name}" for name in ("incident", "on-call-engineer")}
    sections["status_pages"] = {page: f"{sandbox.outside_url}/status/{page}" for page in STATUS_PAGES}
    if "prometheus" in state.ports:
        sections["prometheus"] = {"url": f"http://127.0.0.1:{state.ports['prometheus']}"}
    head = f"# Written by 'flowrex-ops sandbox up' for sandbox '{state.name}'.\n"
    return head + to_toml({"platform": state.name, **sections})


def to_toml(settings: Mapping[str, Any]) -> str:
    """*settings* as a TOML document: single values first, then a table for each mapping that is not empty."""
    lines = [f"{name} = {_toml(value)}" for name, value in settings.items() if not isinstance(value, Mapping)]
    for section, values in settings.items():
        if isinstance(values, Mapping) and values:
            lines += ["", f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _tls(sandbox: Sandbox) -> dict[str, Any]:
    """Every site at the proxy's port, with the certificate that it is meant to serve; nothing without a proxy."""
    if "https" not in sandbox.state.ports:
        return {}
    authority = sandbox.authority
    where = {"host": "127.0.0.1", "port": sandbox.state.ports["https"]}
    sites = [{**where, "server_name": site, "certificate": str(authority.fullchain(site))} for site in SITES]
    return {"ca_file": str(authority.anchor), "endpoints": sites}


def _proxy(sandbox: Sandbox) -> dict[str, Any]:
    """Where WebSockets are opened through the proxy, and how an NGINX that is no container tells its configuration."""
    state = sandbox.state
    if "http" not in state.ports:
        return {}
    found: dict[str, Any] = {
        "websocket_url": f"ws://127.0.0.1:{state.ports['http']}/ws",
        "control": str(sandbox.control),
    }
    if state.stack == "compose":
        return found | {"control_inside": "/etc/nginx/flowrex-ops"}
    nginx = find_parts().nginx
    return found | ({"program": list(nginx_command(state, nginx))} if nginx else {})


def _certbot(sandbox: Sandbox) -> dict[str, Any]:
    """How certificates are renewed: in certbot's container, or by this machine's certbot in folders of the sandbox's own."""
    state = sandbox.state
    if state.stack == "compose":
        return {"service": "certbot", "server": "https://acme:14000/dir", "webroot": "/var/www/certbot"}
    renewal = find_parts().renewal
    if renewal is None or acme.PORT not in state.ports:
        return {}
    return {
        "service": "",
        "program": list(acme.certbot_command(state, renewal)),
        "server": acme.directory_url(state),
        "webroot": str(sandbox.webroot),
    }


def _toml(value: object) -> str:
    """*value* in TOML, whose strings and numbers are JSON's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
