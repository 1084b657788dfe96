"""Start and end of the embedded platform."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg

from flowrex_ops.errors import SandboxError, StackUnavailableError
from flowrex_sandbox import processes
from flowrex_sandbox.health import await_backends, await_front_door, await_monitoring, await_outside
from flowrex_sandbox.ports import is_free, pick_free_ports, require_free
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.embedded import acme
from flowrex_sandbox.stacks.embedded.account import Account, can_reach, database_account
from flowrex_sandbox.stacks.embedded.configuration import (
    SPARE_REPLICAS,
    programs,
    write_configuration,
    write_programs,
)
from flowrex_sandbox.stacks.embedded.monitoring import MONITORING
from flowrex_sandbox.stacks.embedded.parts import Parts, find_parts
from flowrex_sandbox.stacks.embedded.postgres import create_cluster, create_database
from flowrex_sandbox.stacks.supervisor import SupervisorStack
from flowrex_sandbox.state import State, default_name, read_state, write_state
from flowrex_sandbox.waiting import await_condition, comes_true

_SOCKET_PATH_BYTES = 90
"""A unix socket's path may have some 104 bytes; supervisord adds its process number while it starts."""

_START_SECONDS = 30.0
_FREE_SECONDS = 5.0
_STOP_SECONDS = 5.0
Progress = Callable[[str], None]


def start(home: Path, *, replicas: int, name: str | None, on_progress: Progress) -> Sandbox:
    """Start what does not run yet and wait until the platform answers its users."""
    if "%" in str(home):
        raise SandboxError(f"supervisord cannot work in '{home}', for the '%' in its path; choose another --home")
    parts, account = find_parts(), database_account()
    known = read_state(home)
    running = known is not None and _answers(known)
    state = known or _new_state(home, replicas, name or default_name(home), parts, account)
    sandbox = Sandbox(state)
    if not running:
        _start_supervisord(state, parts, account, on_progress)
    _start_programs(sandbox, parts, on_progress)
    sandbox.write_settings()
    return sandbox


def deploy(sandbox: Sandbox) -> None:
    """Restart the backend's programs as the release that the state names; supervisord forgets how they were before."""
    parts, account = find_parts(), database_account()
    write_programs(sandbox.state, parts, account)
    stack = SupervisorStack(Path(sandbox.state.run_dir) / "supervisor.sock", timeout_seconds=_START_SECONDS)
    stack.replace_group("backend", timeout_seconds=_START_SECONDS)
    _start(sandbox, [name for name in programs(sandbox.state, parts) if name.startswith("backend:")], lambda _: None)


def stop(home: Path) -> None:
    """End every process of the sandbox, those of its faults too, and remove the folders outside its home.

    A damaged ``state.json`` keeps no process alive: they are known by their mark.
    """
    for process in processes.find_marked(home):
        processes.send(process, signal.SIGCONT)  # a PostgreSQL that a drill has halted could not stop
    try:
        state = read_state(home)
    except SandboxError:
        state = None
    if state:
        _stop_programs(state)
    processes.kill(processes.find_marked(home))
    for folder in (state.run_dir, state.data_dir) if state else ():
        if not Path(folder).is_relative_to(home):
            shutil.rmtree(folder, ignore_errors=True)


def _stop_programs(state: State) -> None:
    """Let supervisord stop its programs: PostgreSQL then removes its shared memory, and no zombie is left."""
    stack = SupervisorStack(Path(state.run_dir) / "supervisor.sock", timeout_seconds=_STOP_SECONDS)
    try:
        stack.stop_all(timeout_seconds=_STOP_SECONDS)
    except StackUnavailableError:
        return  # supervisord is gone already, or slow: all is killed next


def _new_state(home: Path, replicas: int, name: str, parts: Parts, account: Account) -> State:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    backends = (f"backend-{number}" for number in range(1, replicas + SPARE_REPLICAS + 1))
    purposes = ["postgres", "redis", "outside", *backends]
    purposes += ["http", "https"] if parts.nginx else []
    purposes += acme.PORTS if parts.nginx and parts.renewal else ()
    purposes += MONITORING if parts.monitoring else ()
    run_dir, data_dir = home, home / "data"
    if len(str(home / "supervisor.sock").encode()) > _SOCKET_PATH_BYTES:
        run_dir = Path(tempfile.mkdtemp(prefix="flowrex-"))
    if account.uid is not None and not can_reach(account, home):
        data_dir = Path(tempfile.mkdtemp(prefix="flowrex-data-"))
    state = State(
        stack="supervisor",
        name=name,
        home=str(home),
        replicas=replicas,
        ports=dict(zip(purposes, pick_free_ports(len(purposes)), strict=True)),
        run_dir=str(run_dir),
        data_dir=str(data_dir),
    )
    write_state(state)
    return state


def _answers(state: State) -> bool:
    try:
        SupervisorStack(Path(state.run_dir) / "supervisor.sock", timeout_seconds=5).describe()
    except StackUnavailableError:
        return False
    return True


def _start_supervisord(state: State, parts: Parts, account: Account, on_progress: Progress) -> None:
    home = Path(state.home)
    left = processes.find_marked(home)  # by a supervisord that was killed
    processes.kill(left)
    # A process with threads is a zombie once its first has ended; its ports are free when the last has.
    comes_true(lambda: not left or all(map(is_free, state.ports.values())), timeout_seconds=_FREE_SECONDS)
    (Path(state.data_dir) / "postmaster.pid").unlink(missing_ok=True)
    require_free(state.ports, state.home)
    on_progress("creating the database cluster")
    create_cluster(state, parts.postgres_bin, account)
    configuration = write_configuration(state, parts, account)
    on_progress("starting supervisord")
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        processes.MARK: state.home,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip())[:200]
        raise SandboxError(f"supervisord did not start: {reason}; read '{home}/log'")
    await_condition(lambda: _answers(state), "supervisord answered", timeout_seconds=_START_SECONDS)


def _start_programs(sandbox: Sandbox, parts: Parts, on_progress: Progress) -> None:
    """Database and cache first, then the backend, then NGINX (whose peers must answer), then the users."""
    state = sandbox.state
    if parts.nginx is None:
        on_progress("no NGINX on this machine: users go straight to the first replica")
    if parts.monitoring is None:
        on_progress("no Prometheus, Alertmanager and blackbox exporter on this machine: no alerts, no history")
    _start(sandbox, ["postgres", "redis", "broker-stub"], on_progress)
    await_condition(
        lambda: _accepts(state),
        "PostgreSQL accepted a connection",
        timeout_seconds=_START_SECONDS,
        details=lambda: _last_line(sandbox.home / "log" / "postgres.log"),
    )
    create_database(state)
    _start(sandbox, [name for name in programs(state, parts) if name.startswith("backend:")], on_progress)
    try:
        await_backends(sandbox, timeout_seconds=_START_SECONDS)
    except SandboxError as error:
        last = [_last_line(log) for log in sorted((sandbox.home / "log").glob("backend*.log"))]
        raise SandboxError(f"{error}: {'; '.join(last)}") from None
    _start(sandbox, ["nginx"] if parts.nginx else [], on_progress)
    await_front_door(sandbox, timeout_seconds=_START_SECONDS)
    await_outside(sandbox, timeout_seconds=_START_SECONDS)
    _start(sandbox, list(MONITORING) if parts.monitoring else [], on_progress)
    await_monitoring(sandbox, timeout_seconds=_START_SECONDS)
    _start(sandbox, ["traffic", "websocket-clients"], on_progress)


def _start(sandbox: Sandbox, names: list[str], on_progress: Progress) -> None:
    stack = sandbox.stack()
    for replica in stack.get_replicas():
        program = f"backend:{replica.name}" if replica.service == "backend" else replica.service
        if program in names and not replica.running:
            on_progress(f"starting {replica.name}")
            stack.start(replica, timeout_seconds=_START_SECONDS)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return f"{lines[-1] if lines else 'nothing logged'}; read '{log}'"


def _accepts(state: State) -> bool:
    try:
        psycopg.connect(state.dsn("postgres", "postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
