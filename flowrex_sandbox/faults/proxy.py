"""NGINX itself: gone, or there and silent, with another configuration; and how it is told to reload."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from abc import abstractmethod
from http import HTTPStatus
from pathlib import Path

import psutil

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_sandbox.faults.base import STOP_SECONDS, Fault, Halted, Stopped
from flowrex_sandbox.faults.replicas import RESTART_SECONDS, run_inside
from flowrex_sandbox.health import await_front_door
from flowrex_sandbox.processes import command_of, container_of, family, pid_of, send
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.stacks.compose.engine import docker
from flowrex_sandbox.stacks.embedded.configuration import nginx_command
from flowrex_sandbox.stacks.embedded.parts import find_parts
from flowrex_sandbox.waiting import await_condition

_INSIDE = "/etc/nginx/nginx.conf"
_SILENCE_SECONDS = 1.0
_RELOAD_SECONDS = 10.0
_SAME_ANSWERS = 5
_BETWEEN_ANSWERS_SECONDS = 0.05


class NginxStopped(Stopped):
    """NGINX is stopped."""

    service = "nginx"

    def await_answer(self, sandbox: Sandbox) -> None:
        await_front_door(sandbox, timeout_seconds=STOP_SECONDS)


class NginxHanging(Halted):
    """NGINX accepts connections and never answers."""

    service = "nginx"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return get_answer(f"{sandbox.url}/health/ready", timeout_seconds=_SILENCE_SECONDS) != HTTPStatus.OK


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


class UpgradesNotPassed(ProxyConfiguration):
    """The proxy passes no upgrades on, and speaks HTTP/1.0 to the backend."""

    def rewrite(self, sound: str) -> str:
        without = re.sub(r"^\s*proxy_set_header (Upgrade|Connection) .*;\n", "", sound, flags=re.MULTILINE)
        return without.replace("proxy_http_version 1.1;", "proxy_http_version 1.0;")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return all(refuses_upgrades(sandbox) for _ in range(_SAME_ANSWERS))


class CorrectedNotReloaded(UpgradesNotPassed):
    """The proxy passed no upgrades on; its file was corrected, and it was not reloaded."""

    def start(self, sandbox: Sandbox) -> None:
        super().start(sandbox)
        put_configuration(sandbox, sound_configuration(sandbox))

    def stop(self, sandbox: Sandbox) -> None:
        """What lies on disk is sound already, so that it cannot tell whether this fault is there."""
        super().stop(sandbox)
        if has_nginx(sandbox) and refuses_upgrades(sandbox):
            reload_nginx(sandbox)
            reconnect_clients(sandbox)


def has_nginx(sandbox: Sandbox) -> bool:
    """Whether NGINX is part of this sandbox; on a machine without it users go straight to the backend."""
    return "http" in sandbox.state.ports


def nginx(sandbox: Sandbox) -> Replica:
    """The proxy."""
    found = sandbox.stack().get_replicas("nginx")
    if not found:
        raise SandboxError("this sandbox has no NGINX; install it and start a new sandbox")
    return found[0]


def clear_control(sandbox: Sandbox) -> None:
    """Take away what a procedure has put into NGINX's configuration, such as a maintenance page."""
    if empty_control(sandbox) and nginx(sandbox).running:
        reload_nginx(sandbox)


def empty_control(sandbox: Sandbox) -> bool:
    """Take the files alone away; whether there were any. With a broken one NGINX would neither reload nor start."""
    left = list(sandbox.control.glob("*.conf")) if has_nginx(sandbox) else []
    for file in left:
        file.unlink()
    return bool(left)


def reload_nginx(sandbox: Sandbox) -> None:
    """Let NGINX read its configuration and certificates again, the way the playbook does; returns once the new one serves.

    The workers from before are asked to go and accept connections until they notice; a test that asked earlier could get
    the answer of either.
    """
    replica = nginx(sandbox)
    before = set(_workers(sandbox))
    if sandbox.state.stack == "compose":
        run_inside(replica, "nginx", "-s", "reload")
    else:
        for process in family(pid_of(replica))[:1]:
            send(process, signal.SIGHUP)
    await_condition(
        lambda: before.isdisjoint(_workers(sandbox)), "NGINX's workers were replaced", timeout_seconds=_RELOAD_SECONDS
    )


def _workers(sandbox: Sandbox) -> list[psutil.Process]:
    """The workers that accept connections; those that were told to go have another title."""
    replica = nginx(sandbox)
    if sandbox.state.stack == "compose":
        master = int(docker("inspect", "--format", "{{.State.Pid}}", container_of(replica)))
    else:
        master = pid_of(replica)
    return [process for process in family(master) if command_of(process) == "nginx: worker process"]


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


def refuses_upgrades(sandbox: Sandbox) -> bool:
    """Whether the proxy answers a handshake, and not with a WebSocket."""
    return shake_hands(sandbox) not in (0, HTTPStatus.SWITCHING_PROTOCOLS)


def reconnect_clients(sandbox: Sandbox) -> None:
    """Let the sandbox's WebSocket clients leave properly and come back."""
    for replica in sandbox.replicas("websocket-clients"):
        sandbox.stack().restart(replica, timeout_seconds=RESTART_SECONDS)


def sound_configuration(sandbox: Sandbox) -> str:
    """The configuration that the sandbox was started with."""
    if sandbox.state.stack == "compose":
        return (sandbox.home / "infra" / "nginx.conf").read_text(encoding="utf-8")
    kept = _kept(sandbox)
    return (kept if kept.exists() else _file(sandbox)).read_text(encoding="utf-8")


def current_configuration(sandbox: Sandbox) -> str:
    """The configuration that lies where NGINX takes it from."""
    if sandbox.state.stack == "compose":
        return run_inside(nginx(sandbox), "cat", _INSIDE)
    return _file(sandbox).read_text(encoding="utf-8")


def apply(sandbox: Sandbox, text: str) -> None:
    """Put *text* in place, test it, reload, and let the clients reconnect; SandboxError where NGINX refuses it."""
    before = current_configuration(sandbox)
    put_configuration(sandbox, text)
    try:
        _test(sandbox)
    except SandboxError:
        put_configuration(sandbox, before)
        raise
    reload_nginx(sandbox)
    reconnect_clients(sandbox)


def put_configuration(sandbox: Sandbox, text: str) -> None:
    """Write it where NGINX takes it from, which does not read it before it reloads."""
    if sandbox.state.stack == "compose":
        copy = sandbox.home / "nginx-to-copy.conf"
        copy.write_text(text, encoding="utf-8")
        docker("cp", str(copy), f"{container_of(nginx(sandbox))}:{_INSIDE}")
        return
    kept = _kept(sandbox)
    if not kept.exists():
        kept.write_text(_file(sandbox).read_text(encoding="utf-8"), encoding="utf-8")
    _file(sandbox).write_text(text, encoding="utf-8")


def _test(sandbox: Sandbox) -> None:
    if sandbox.state.stack == "compose":
        run_inside(nginx(sandbox), "nginx", "-t")
        return
    binary = find_parts().nginx
    command = [*nginx_command(sandbox.state, binary), "-t"] if binary else ["nginx", "-t"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"NGINX refuses the configuration: {done.stderr.strip()[-300:]}; nothing was changed")


def _file(sandbox: Sandbox) -> Path:
    return sandbox.home / "nginx" / "nginx.conf"


def _kept(sandbox: Sandbox) -> Path:
    return sandbox.home / "nginx" / "nginx.conf.sound"
