"""Whether a sandbox is healthy, and waiting until it is."""

from __future__ import annotations

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
    await_condition(
        lambda: get_answer(f"{sandbox.url}/health/ready") == HTTPStatus.OK,
        f"'{sandbox.url}' answered",
        timeout_seconds=timeout_seconds,
        details=lambda: "read the log of nginx",
    )


def await_monitoring(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once Prometheus and Alertmanager are ready, where the sandbox has them."""
    urls = [f"http://127.0.0.1:{port}/-/ready" for name, port in sandbox.state.ports.items() if name in _MONITORING]
    await_condition(
        lambda: all(get_answer(url) == HTTPStatus.OK for url in urls),
        "Prometheus and Alertmanager were ready",
        timeout_seconds=timeout_seconds,
        details=lambda: "read their logs",
    )


def await_outside(sandbox: Sandbox, *, timeout_seconds: float) -> None:
    """Return once the stand-in for what is outside answers."""
    await_condition(
        lambda: get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1) == HTTPStatus.OK,
        f"'{sandbox.outside_url}' answered",
        timeout_seconds=timeout_seconds,
        details=lambda: "read the log of outside",
    )
