"""Whether a sandbox is healthy, and waiting until it is."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Replica
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition

_MONITORING = ("prometheus", "alertmanager")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of ``sandbox status``."""

    service: str
    name: str
    state: str
    ready: str
    address: str


def get_status(sandbox: Sandbox) -> list[ServiceStatus]:
    """All replicas of all services; for the backend also what ``/health/ready`` says."""
    found = []
    for replica in sandbox.stack().get_replicas():
        address = ", ".join(f"{host}:{port}" for host, port in replica.ports.values())
        ready = replica.health
        if replica.service == "backend" and replica.running:
            ready = "ready" if _is_ready(sandbox, replica) else "not ready"
        found.append(ServiceStatus(replica.service, replica.name, replica.state, ready, address))
    return found


def unready_replicas(sandbox: Sandbox) -> list[str]:
    """Names of the backend's replicas that are missing or not ready."""
    try:
        replicas = sandbox.replicas()
    except StackUnavailableError:
        return ["all"]
    missing = sandbox.state.replicas - len(replicas)
    unready = [replica.name for replica in replicas if not _is_ready(sandbox, replica)]
    return unready + [f"{missing} not running"] * (missing > 0)


def _is_ready(sandbox: Sandbox, replica: Replica) -> bool:
    return sandbox.ask(replica, "/health/ready") == HTTPStatus.OK


def await_backends(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once every backend replica says it is ready."""
    await_condition(
        lambda: not unready_replicas(sandbox),
        "the backend became ready",
        timeout_seconds=timeout_seconds,
        details=lambda: f"{', '.join(unready_replicas(sandbox))}; read the backend's log",
    )


def await_front_door(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once the platform answers its users."""
    _await_answers([f"{sandbox.url}/health/ready"], "nginx", timeout_seconds=timeout_seconds)


def await_monitoring(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once Prometheus and Alertmanager are ready, and each target was looked at, where the sandbox has them."""
    urls = [f"http://127.0.0.1:{port}/-/ready" for name, port in sandbox.state.ports.items() if name in _MONITORING]
    _await_answers(urls, " and ".join(_MONITORING), timeout_seconds=timeout_seconds)
    if urls:
        await_condition(
            lambda: _has_scraped(sandbox), "prometheus looked at each target", timeout_seconds=timeout_seconds
        )


def _has_scraped(sandbox: Sandbox) -> bool:
    """Also found: it begins to look some seconds after it has started."""
    found = []
    for what in ("targets?state=active", "alertmanagers"):
        url = f"http://127.0.0.1:{sandbox.state.ports['prometheus']}/api/v1/{what}"
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=5) as answer:  # our own http URL
            found.append(json.loads(answer.read())["data"])
    looked = [target["health"] != "unknown" for one in found for target in one.get("activeTargets", ())]
    return bool(looked) and all(looked) and any(one.get("activeAlertmanagers") for one in found)


def await_outside(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once the stand-in for what is outside answers."""
    _await_answers([f"{sandbox.outside_url}/health"], "broker-stub", timeout_seconds=timeout_seconds)


def _await_answers(urls: Sequence[str], service: str, *, timeout_seconds: float) -> None:
    await_condition(
        lambda: all(get_answer(url) == HTTPStatus.OK for url in urls),
        f"{' and '.join(urls)} answered",
        timeout_seconds=timeout_seconds,
        details=lambda: f"read the log of {service}",
    )
