"""The files that the embedded platform runs by: supervisord's, NGINX's, and the stack's inventory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flowrex_sandbox.certificates import SITES, Authority
from flowrex_sandbox.processes import MARK
from flowrex_sandbox.stacks.embedded import acme
from flowrex_sandbox.stacks.embedded.account import Account
from flowrex_sandbox.stacks.embedded.monitoring import MONITORING, commands, write_files
from flowrex_sandbox.stacks.embedded.parts import Parts
from flowrex_sandbox.state import BROKER_ACCOUNT, State, write_private

BACKEND_MEMORY_BYTES = 256 * 2**20
"""What a replica may use, as under Docker Compose. Nothing enforces it here; in production a memmon would."""

SPARE_REPLICAS = 3
"""So many can be added to those that are started; supervisord cannot add a program to a group that runs."""

BACKEND = Path(__file__).parents[2] / "backend"
_TEMPLATES = Path(__file__).with_name("templates")


def write_configuration(state: State, parts: Parts, account: Account) -> Path:
    """Write all files; the path of supervisord's."""
    home = Path(state.home)
    (home / "log").mkdir(exist_ok=True)
    write_private(home / "redis.conf", _redis(state))
    if parts.nginx:
        _write_nginx(state)
    if parts.monitoring:
        write_files(state, replica_names(state), proxied=bool(parts.nginx))
    return write_programs(state, parts, account)


def write_programs(state: State, parts: Parts, account: Account) -> Path:
    """Write what depends on the backend's release, supervisord's file and the inventory; the path of the former."""
    (Path(state.home) / "releases").mkdir(exist_ok=True)
    for name in (*replica_names(state), *spare_names(state)):
        write_private(release_file(state, name), f"{state.version}\n")
    file = Path(state.home) / "supervisord.conf"
    write_private(file, _supervisord(state, parts, account))
    _write_inventory(state, parts)
    return file


def programs(state: State, parts: Parts) -> list[str]:
    """Names of the programs as supervisord has them, in the order in which they are started."""
    backends = [f"backend:{name}" for name in replica_names(state)]
    nginx = ["nginx"] if parts.nginx else []
    monitoring = MONITORING if parts.monitoring else ()
    return ["postgres", "redis", "broker-stub", *backends, *nginx, *monitoring, "traffic", "websocket-clients"]


def nginx_command(state: State, nginx: Path) -> tuple[str, ...]:
    """NGINX with the sandbox's own configuration and no file outside its home."""
    return (str(nginx), "-p", f"{state.home}/nginx/", "-c", "nginx.conf", "-e", "stderr")


def replica_names(state: State) -> list[str]:
    """Names of the backend's replicas: ``backend-1`` and so on."""
    return [f"backend-{number}" for number in range(1, state.replicas + 1)]


def spare_names(state: State) -> list[str]:
    """Names of the programs that are there to scale up to; a sandbox of an earlier version has none."""
    names = (f"backend-{number}" for number in range(state.replicas + 1, state.replicas + SPARE_REPLICAS + 1))
    return [name for name in names if name in state.ports]


def release_file(state: State, replica: str) -> Path:
    """The file that names the release which the replica runs from its next start on."""
    return Path(state.home) / "releases" / replica


def _supervisord(state: State, parts: Parts, account: Account) -> str:
    home = Path(state.home)
    user = "user=root" if os.geteuid() == 0 else ""
    run = _escaped(state.run_dir)
    text = _filled("supervisord.conf", name=state.name, home=_escaped(str(home)), run=run, user=user)
    postgres = (*account.prefix, parts.postgres_bin / "postgres", "-D", state.data_dir)
    text += _program(state, "postgres", postgres, stopsignal="INT")
    text += _program(state, "redis", (parts.redis_server, home / "redis.conf"))
    text += _program(state, "broker-stub", (sys.executable, "-m", "outside"), _outside_environment(state))
    backends = (*replica_names(state), *spare_names(state))
    for number, name in enumerate(backends, start=1):
        environment = _backend_environment(state, number)
        text += _program(state, name, (sys.executable, "-m", "app"), environment, stopwaitsecs=5)
    text += f"\n[group:backend]\nprograms={','.join(backends)}\n"
    if parts.nginx:
        text += _program(state, "nginx", nginx_command(state, parts.nginx), stopsignal="QUIT")
    if parts.monitoring:
        text += "".join(_program(state, name, command) for name, command in commands(state, parts.monitoring))
    if parts.renewal and acme.PORT in state.ports:
        for name, line, variables in acme.commands(state, parts.renewal):
            text += _program(state, name, line, variables)
    target = state.ports["http"] if parts.nginx else state.ports["backend-1"]
    for program, module in (("traffic", "app.traffic"), ("websocket-clients", "app.stream_clients")):
        command = (sys.executable, "-m", module, f"http://127.0.0.1:{target}")
        text += _program(state, program, command, {"PYTHONPATH": _python_path()})
    return text


def _program(
    state: State,
    program: str,
    command: tuple[object, ...],
    environment: Mapping[str, str] | None = None,
    *,
    stopsignal: str = "TERM",
    stopwaitsecs: int = 2,
) -> str:
    values = {**_common_environment(state), **(environment or {})}
    return _filled(
        "program.conf",
        program=program,
        command=" ".join(_quoted(str(word)) for word in command),
        environment=",".join(f"{name}={_quoted(value)}" for name, value in values.items()),
        stopsignal=stopsignal,
        stopwaitsecs=stopwaitsecs,
        home=_escaped(state.home),
    )


def _filled(template: str, **values: object) -> str:
    """One of ``templates``, with its words in braces filled in."""
    return (_TEMPLATES / template).read_text(encoding="utf-8").format(**values)


def _escaped(text: str) -> str:
    """*text* for supervisord's configuration, in which ``%`` begins an expansion."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """*text* as one word of a command line in supervisord's configuration."""
    return '"' + _escaped(text).replace('"', '\\"') + '"'


def _backend_environment(state: State, number: int) -> dict[str, str]:
    return {
        "PYTHONPATH": _python_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": state.dsn("flowrex"),
        "REDIS_URL": f"redis://127.0.0.1:{state.ports['redis']}/0",
        "FLOWREX_HOST": "127.0.0.1",
        "FLOWREX_PORT": str(state.ports[f"backend-{number}"]),
        "FLOWREX_REPLICA": str(number),
        "FLOWREX_RELEASE_FILE": str(release_file(state, f"backend-{number}")),
        "FLOWREX_DEFECTS": state.released_defects,
        "FLOWREX_MEMORY_LIMIT_BYTES": str(BACKEND_MEMORY_BYTES),
        "BROKER_URL": f"http://127.0.0.1:{state.ports['outside']}",
        "BROKER_TOKEN": state.broker_token,
        "BROKER_ACCOUNT": BROKER_ACCOUNT,
    }


def _outside_environment(state: State) -> dict[str, str]:
    return {
        "PYTHONPATH": _python_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FLOWREX_HOST": "127.0.0.1",
        "FLOWREX_PORT": str(state.ports["outside"]),
        "BROKER_TOKEN": state.broker_token,
        "BROKER_ACCOUNT": BROKER_ACCOUNT,
        "SENTRY_TOKEN": state.sentry_token,
        "GRAFANA_TOKEN": state.grafana_token,
    }


def _common_environment(state: State) -> dict[str, str]:
    return {MARK: state.home, "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def _python_path() -> str:
    """The folder with package ``app`` before whatever the caller's own path is."""
    inherited = os.environ.get("PYTHONPATH", "")
    return f"{BACKEND}{os.pathsep}{inherited}" if inherited else str(BACKEND)


def _redis(state: State) -> str:
    # A proc title with the configuration's path lets 'sandbox down' recognise the process.
    settings = {
        "bind": "127.0.0.1",
        "port": state.ports["redis"],
        "save": '""',
        "dir": json.dumps(state.home),
        "maxmemory": "64mb",
        "proc-title-template": '"{title} {listen-addr} {config-file}"',
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _write_nginx(state: State) -> None:
    folder = Path(state.home) / "nginx"
    folder.mkdir(exist_ok=True)
    for name in ("control", "webroot"):
        (Path(state.home) / name).mkdir(exist_ok=True)
    servers = "\n".join(f"        server 127.0.0.1:{state.ports[name]} max_fails=0;" for name in replica_names(state))
    user = "user root root;" if os.geteuid() == 0 else ""
    tls, *sites = _nginx_sites(state) or [""]
    text = _filled("nginx.conf", user=user, servers=servers, port=state.ports["http"], tls=tls, sites="\n".join(sites))
    (folder / "nginx.conf").write_text(text, encoding="utf-8")


def _nginx_sites(state: State) -> list[str]:
    """The first site's lines for the server that there is, and a server for each of the others."""
    if "https" not in state.ports:
        return []
    Authority(Path(state.home) / "tls").prepare(afresh=True)
    return [
        _filled(template, port=state.ports["https"], names=" ".join(names), folder=f"../tls/live/{site}")
        for (site, names), template in zip(SITES.items(), ("nginx-tls.conf", "nginx-site.conf"), strict=True)
    ]


def _write_inventory(state: State, parts: Parts) -> None:
    ports = [("postgres", "postgres-1", "postgres", 5432, "postgres"), ("redis", "redis-1", "redis", 6379, "redis")]
    ports += [("broker-stub", "broker-stub-1", "broker-stub", 8000, "outside")]
    backends = (*replica_names(state), *spare_names(state))
    ports += [("backend", name, f"backend:{name}", 8000, name) for name in backends]
    ports += [("nginx", "nginx-1", "nginx", 80, "http")] if parts.nginx else []
    ports += [(name, f"{name}-1", name, port, name) for name, port in MONITORING.items() if parts.monitoring]
    entries = [
        {
            "service": service,
            "replica": replica,
            "program": program,
            "container_port": inner,
            "port": state.ports[purpose],
            **(_execution(state, replica) if service == "backend" else {}),
            **({"directory": state.home, "environment": _common_environment(state)} if service == "nginx" else {}),
        }
        for service, replica, program, inner, purpose in ports
    ]
    write_private(Path(state.run_dir) / "services.json", json.dumps(entries, indent=2) + "\n")


def _execution(state: State, replica: str) -> dict[str, object]:
    """What a command needs to run as the replica would run it; the same file mode as the passwords elsewhere."""
    number = int(replica.rpartition("-")[2])
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    environment = {"PATH": path, **_common_environment(state), **_backend_environment(state, number)}
    return {
        "directory": state.home,
        "environment": environment,
        "memory_limit_bytes": BACKEND_MEMORY_BYTES,
        "release_file": str(release_file(state, replica)),
        "spare": replica in spare_names(state),
    }
