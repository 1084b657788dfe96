"""NGINX with another configuration, tested and reloaded the way an engineer does it, and the sound one back."""

from __future__ import annotations

import re
import subprocess
import time
from abc import abstractmethod
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.proxy import has_nginx, nginx, reload_nginx
from flowrex_sandbox.faults.streams import BROKE_OFF, recent_closings, recent_lines, reconnect_clients
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.stacks.embedded.configuration import nginx_command
from flowrex_sandbox.stacks.embedded.parts import find_parts

ENOUGH = 4
"""So many connections must have felt a fault before the runbook is asked."""

_INSIDE = "/etc/nginx/nginx.conf"
_SAME_ANSWERS = 5
_BETWEEN_ANSWERS_SECONDS = 0.05
_LATELY_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class ProxyConfiguration(Fault):
    """NGINX runs with a changed configuration; its clients have reconnected, so that no old worker serves them."""

    @abstractmethod
    def rewrite(self, sound: str) -> str:
        """The changed configuration."""

    def start(self, sandbox: Sandbox) -> None:
        apply(sandbox, self.rewrite(sound_configuration(sandbox)))

    def stop(self, sandbox: Sandbox) -> None:
        if has_nginx(sandbox) and current_configuration(sandbox) != (sound := sound_configuration(sandbox)):
            apply(sandbox, sound)


@dataclass(frozen=True, slots=True)
class UpgradesNotPassed(ProxyConfiguration):
    """The WebSocket locations lack their headers, and HTTP/1.1."""

    name = "upgrades-not-passed"

    def rewrite(self, sound: str) -> str:
        without = re.sub(r"^\s*proxy_set_header (Upgrade|Connection) .*;\n", "", sound, flags=re.MULTILINE)
        return without.replace("proxy_http_version 1.1;", "proxy_http_version 1.0;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return all(shake_hands(sandbox) not in (0, HTTPStatus.SWITCHING_PROTOCOLS) for _ in range(_SAME_ANSWERS))


@dataclass(frozen=True, slots=True)
class CorrectedNotReloaded(UpgradesNotPassed):
    """The same, and somebody has corrected the file since; NGINX was not reloaded."""

    name = "corrected-not-reloaded"

    def start(self, sandbox: Sandbox) -> None:
        UpgradesNotPassed.start(self, sandbox)
        _put(sandbox, sound_configuration(sandbox))

    def stop(self, sandbox: Sandbox) -> None:
        """What lies on disk is sound already, so that it cannot tell whether this fault is there."""
        UpgradesNotPassed.stop(self, sandbox)
        if has_nginx(sandbox) and shake_hands(sandbox) not in (0, HTTPStatus.SWITCHING_PROTOCOLS):
            reload_nginx(sandbox)
            reconnect_clients(sandbox)


@dataclass(frozen=True, slots=True)
class ShortReadTimeout(ProxyConfiguration):
    """Whatever is quiet for longer is cut off by NGINX."""

    name = "short-read-timeout"
    seconds: int = 2

    def rewrite(self, sound: str) -> str:
        return sound.replace("proxy_read_timeout 3600s;", f"proxy_read_timeout {self.seconds}s;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(recent_closings(sandbox, _LATELY_SECONDS, BROKE_OFF)) >= ENOUGH


@dataclass(frozen=True, slots=True)
class FewWorkerConnections(ProxyConfiguration):
    """NGINX may hold fewer connections than its clients take."""

    name = "few-worker-connections"
    connections: int = 16

    def rewrite(self, sound: str) -> str:
        return re.sub(r"worker_connections \d+;", f"worker_connections {self.connections};", sound)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        lines = recent_lines(sandbox, "nginx", _LATELY_SECONDS)
        return sum("worker_connections are not enough" in line.text for line in lines) >= ENOUGH


@dataclass(frozen=True, slots=True)
class ShortTimeoutElsewhere(ProxyConfiguration):
    """A read timeout of two seconds, where no WebSocket goes."""

    name = "short-timeout-elsewhere"

    def rewrite(self, sound: str) -> str:
        header = "proxy_set_header Host $host;"
        return sound.replace(header, f"{header} proxy_read_timeout 2s;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return shake_hands(sandbox) == HTTPStatus.SWITCHING_PROTOCOLS


def shake_hands(sandbox: Sandbox) -> int:
    """The status that a WebSocket handshake through the proxy gets; 0 where there is no answer."""
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    time.sleep(_BETWEEN_ANSWERS_SECONDS)
    try:
        url = f"ws://127.0.0.1:{sandbox.state.ports['http']}/ws"
        connect(url, proxy=None, open_timeout=2, close_timeout=1, ping_interval=None).close()
    except InvalidStatus as refusal:
        return refusal.response.status_code
    except (OSError, EOFError, WebSocketException):
        return 0
    return HTTPStatus.SWITCHING_PROTOCOLS


def sound_configuration(sandbox: Sandbox) -> str:
    """The configuration that the sandbox was started with."""
    if sandbox.state.stack == "compose":
        return (sandbox.home / "infra" / "nginx.conf").read_text(encoding="utf-8")
    kept = _kept(sandbox)
    return (kept if kept.exists() else _file(sandbox)).read_text(encoding="utf-8")


def current_configuration(sandbox: Sandbox) -> str:
    """The configuration that lies where NGINX takes it from."""
    if sandbox.state.stack == "compose":
        return docker("exec", _container(sandbox), "cat", _INSIDE)
    return _file(sandbox).read_text(encoding="utf-8")


def apply(sandbox: Sandbox, text: str) -> None:
    """Put *text* in place, test it, reload, and let the clients reconnect; SandboxError where NGINX refuses it."""
    before = current_configuration(sandbox)
    _put(sandbox, text)
    try:
        _test(sandbox)
    except SandboxError:
        _put(sandbox, before)
        raise
    reload_nginx(sandbox)
    reconnect_clients(sandbox)


def _put(sandbox: Sandbox, text: str) -> None:
    if sandbox.state.stack == "compose":
        copy = sandbox.home / "nginx-to-copy.conf"
        copy.write_text(text, encoding="utf-8")
        docker("cp", str(copy), f"{_container(sandbox)}:{_INSIDE}")
        return
    kept = _kept(sandbox)
    if not kept.exists():
        kept.write_text(_file(sandbox).read_text(encoding="utf-8"), encoding="utf-8")
    _file(sandbox).write_text(text, encoding="utf-8")


def _test(sandbox: Sandbox) -> None:
    if sandbox.state.stack == "compose":
        docker("exec", _container(sandbox), "nginx", "-t")
        return
    binary = find_parts().nginx
    command = [*nginx_command(sandbox.state, binary), "-t"] if binary else ["nginx", "-t"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"NGINX refuses the configuration: {done.stderr.strip()[-300:]}; nothing was changed")


def _container(sandbox: Sandbox) -> str:
    return nginx(sandbox).identity.partition("@")[0]


def _file(sandbox: Sandbox) -> Path:
    return sandbox.home / "nginx" / "nginx.conf"


def _kept(sandbox: Sandbox) -> Path:
    return sandbox.home / "nginx" / "nginx.conf.sound"
