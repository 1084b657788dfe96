"""Start and end of the platform under Docker Compose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flowrex_ops.compose.project import PROJECT
from flowrex_ops.errors import SandboxError
from flowrex_sandbox.health import await_backends, await_front_door
from flowrex_sandbox.monitoring.configuration import Places, write_monitoring
from flowrex_sandbox.ports import pick_free_ports, require_free
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import BESIDE, compose, docker, docker_works
from flowrex_sandbox.stacks.compose.images import IMAGES, build_missing, copy_build_folders
from flowrex_sandbox.state import (
    BROKER_ACCOUNT,
    State,
    default_name,
    read_state,
    write_private,
    write_state,
)
from flowrex_sandbox.waiting import await_condition, comes_true

_UP_SECONDS = 180.0
_HEALTH_SECONDS = 60.0
_FREE_SECONDS = 60.0
_SERVICE_OF_PORT = {
    "postgres": "postgres",
    "redis": "redis",
    "http": "nginx",
    "https": "nginx",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "outside": "broker-stub",
}
_PLACES = Places(
    folder="/etc/monitoring",
    ca_file="/etc/monitoring-ca.crt",
    backends={"dns_sd_configs": [{"names": ["backend"], "type": "A", "port": 8000, "refresh_interval": "2s"}]},
    prometheus="prometheus:9090",
    alertmanager="alertmanager:9093",
    blackbox="blackbox:9115",
    postgres="postgres:5432",
    redis="redis:6379",
    front_door="nginx:80",
    https="nginx:443",
)
"""By the services' names, as containers know each other."""

Progress = Callable[[str], None]


def start(home: Path, *, replicas: int, name: str | None, on_progress: Progress) -> Sandbox:
    """Start what does not run yet and wait until every service is healthy."""
    docker("version", "--format", "{{.Server.Version}}")  # says what is wrong before anything is written
    known = read_state(home)
    if known is None:
        # A sandbox whose folder was deleted while it ran left volumes behind, of other passwords, under the same name.
        _remove(name or default_name(home))
    state = _with_every_port(known or _new_state(home, replicas, name or default_name(home)))
    sandbox = Sandbox(state)
    tags = copy_build_folders(home)
    write_private(home / ".env", _environment_file(state, tags))
    build_missing(home, tags, on_progress)
    _require_free_ports(sandbox)
    sandbox.authority.prepare(afresh="nginx" not in _running_services(sandbox))
    write_monitoring(home / "monitoring", _PLACES)
    for folder in (sandbox.control, sandbox.webroot):
        folder.mkdir(exist_ok=True)
    on_progress("starting the containers")
    compose(home, "up", "-d", "--no-build", timeout_seconds=_UP_SECONDS)
    on_progress("waiting until every service is healthy")
    await_backends(sandbox, timeout_seconds=_HEALTH_SECONDS)
    await_front_door(sandbox, timeout_seconds=_HEALTH_SECONDS)
    _await_health(sandbox)
    sandbox.write_settings()
    return sandbox


def deploy(sandbox: Sandbox) -> None:
    """Put the backend's containers in place anew, for the release that the state names."""
    variables = _read_environment(sandbox.home)
    tags = {image: variables[f"{image.upper()}_TAG"] for image in IMAGES}
    write_private(sandbox.home / ".env", _environment_file(sandbox.state, tags))
    names = [replica.name for replica in sandbox.stack().get_replicas("backend")]
    if names != [f"backend-{number}" for number in range(1, sandbox.state.replicas + 1)]:
        # Compose numbers a container that it adds after the highest there is; from none it begins at 1.
        compose(sandbox.home, "rm", "-s", "-f", "backend", timeout_seconds=_UP_SECONDS)
    compose(sandbox.home, "up", "-d", "--no-build", "--no-deps", "backend", timeout_seconds=_UP_SECONDS)


def _read_environment(home: Path) -> dict[str, str]:
    """The variables that ``.env`` sets; none where it is not there."""
    lines = (home / ".env").read_text(encoding="utf-8").splitlines() if (home / ".env").exists() else []
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def stop(home: Path) -> None:
    """Remove the containers, networks and volumes of the project that ``.env`` names.

    By label, and without ``state.json``: neither an edited compose file nor a damaged state keeps anything alive.
    """
    _remove(_read_environment(home).get("COMPOSE_PROJECT_NAME") or default_name(home))


def _remove(project: str) -> None:
    for label, found, remove in (
        (BESIDE, ("ps", "-aq"), ("rm", "-f", "-v")),
        (PROJECT, ("ps", "-aq"), ("rm", "-f", "-v")),
        (PROJECT, ("volume", "ls", "-q"), ("volume", "rm", "-f")),
    ):
        names = _find(project, label, *found)
        if names:
            docker(*remove, *names)
    for network in _find(project, PROJECT, "network", "ls", "-q"):
        _remove_network(network)


def _find(project: str, label: str, *command: str) -> list[str]:
    return docker(*command, "--filter", f"label={label}={project}").split()


def _remove_network(network: str) -> None:
    """Remove *network* once Docker has let go of it: a container that is removed may still hold its endpoint (moby/moby#33156).

    An endpoint that the Engine has lost is held until it starts again. Such a network is empty, and stays with a word about it.
    """

    def is_removed() -> bool:
        if docker_works("network", "rm", network):
            return True
        for container in attached():
            docker_works("network", "disconnect", "-f", network, container)
        return False

    def attached() -> list[str]:
        return docker("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", network).split()

    if not comes_true(is_removed, timeout_seconds=_FREE_SECONDS, poll_seconds=0.5):
        if left := attached():
            raise SandboxError(f"network {network} is still held by {', '.join(left)} after {_FREE_SECONDS:g} s")
        sys.stderr.write(
            f"network {network} is empty and stays until Docker Engine starts again, which has lost count of it\n"
        )


def _new_state(home: Path, replicas: int, name: str) -> State:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = State(
        stack="compose",
        name=name,
        home=str(home),
        replicas=replicas,
        ports=dict(zip(_SERVICE_OF_PORT, pick_free_ports(len(_SERVICE_OF_PORT)), strict=True)),
        run_dir=str(home),
        data_dir=str(home),
    )
    write_state(state)
    return state


def _environment_file(state: State, tags: dict[str, str]) -> str:
    values = {
        "COMPOSE_PROJECT_NAME": state.name,
        "VERSION": state.version,
        "DEFECTS": state.released_defects,
        "BACKEND_REPLICAS": state.replicas,
        "POSTGRES_PASSWORD": state.app_password,
        "SUPERUSER_PASSWORD": state.admin_password,
        "REPORTING_PASSWORD": state.reporting_password,
        "BROKER_TOKEN": state.broker_token,
        "BROKER_ACCOUNT": BROKER_ACCOUNT,
        "SENTRY_TOKEN": state.sentry_token,
        "GRAFANA_TOKEN": state.grafana_token,
        **{f"{purpose.upper()}_PORT": port for purpose, port in state.ports.items()},
        **{f"{image.upper()}_TAG": tag for image, tag in tags.items()},
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _require_free_ports(sandbox: Sandbox) -> None:
    running = _running_services(sandbox)
    needed = {
        purpose: port for purpose, port in sandbox.state.ports.items() if _SERVICE_OF_PORT[purpose] not in running
    }
    require_free(needed, sandbox.state.home)


def _running_services(sandbox: Sandbox) -> set[str]:
    return {replica.service for replica in sandbox.stack().get_replicas() if replica.running}


def _with_every_port(state: State) -> State:
    """*state*, with ports for what the platform did not have when it was made."""
    missing = [purpose for purpose in _SERVICE_OF_PORT if purpose not in state.ports]
    if not missing:
        return state
    grown = replace(state, ports={**state.ports, **dict(zip(missing, pick_free_ports(len(missing)), strict=True))})
    write_state(grown)
    return grown


def _await_health(sandbox: Sandbox) -> None:
    def ill() -> list[str]:
        replicas = sandbox.stack().get_replicas()
        return [r.name for r in replicas if not r.running or r.health not in ("healthy", "none")]

    try:
        await_condition(
            lambda: not ill(),
            "every service was healthy",
            timeout_seconds=_HEALTH_SECONDS,
            details=lambda: ", ".join(ill()),
        )
    except SandboxError as error:
        raise SandboxError(f"{error}; read its log with 'docker-compose -f docker-compose.prod.yml logs'") from None
