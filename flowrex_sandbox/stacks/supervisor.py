"""The stack whose services are plain processes under supervisord, asked over XML-RPC on its unix socket.

supervisord knows neither a service's port nor its version, so whoever configures it leaves an inventory beside
the socket, ``services.json``: a list of ``{"service", "replica", "program", "container_port", "port", "version"}``
where ``program`` is supervisord's own name (``backend:backend-1``). Programs that are not in it are services of one
replica named after their group. An entry may also hold ``"directory"`` and ``"environment"``: with these, commands can be
run as the replica itself would run them (``execute``); the file then holds secrets and is for its owner only.
``"memory_limit_bytes"`` is the limit that a watchdog such as superlance's memmon holds a replica to.
``"spare": true`` marks a program that is kept for scaling and is a replica only while it runs; ``scale`` moves the mark.
``"release_file"`` is a file with the version that the program runs from its next start on.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from flowrex_ops.compose.disks import local_disks
from flowrex_ops.compose.execution import shortened
from flowrex_ops.compose.logfiles import merge_by_time, read_log_chunks, read_log_file
from flowrex_ops.compose.pipes import run_piped
from flowrex_ops.errors import SettingsError, StackUnavailableError
from flowrex_ops.model import Disk, Execution, LogLine, Replica, Usage
from flowrex_ops.settings import Settings
from flowrex_sandbox.stacks.supervisor_processes import count_restarts, read_children, read_usage

INVENTORY = "services.json"
LOCAL = "127.0.0.1"
_STATES = {"RUNNING": "running", "STARTING": "running", "STOPPING": "running", "BACKOFF": "restarting"}
_POLL_SECONDS = 0.05
_LOG_BYTES = 256 * 1024
_WITHOUT_WAITING = False
"""supervisord's own waiting takes a second at least, so it is done here."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, with the time limit on connecting and on every read."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    """A fresh connection per call: supervisor's own transport cannot be used again after a failed connect."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__()
        self._path, self._timeout_seconds = path, timeout_seconds

    def make_connection(self, host: object) -> http.client.HTTPConnection:  # noqa: ARG002  # there is but one
        return _UnixConnection(self._path, self._timeout_seconds)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the inventory, or what supervisord's own names tell."""

    service: str
    replica: str
    program: str
    container_port: int | None = None
    port: int | None = None
    version: str = ""
    directory: str = ""
    environment: Mapping[str, str] | None = None
    memory_limit_bytes: int | None = None
    spare: bool = False
    release_file: str = ""


class SupervisorStack:
    """``Stack`` over supervisord; nothing is contacted before the first reading."""

    kind = "supervisor"

    def __init__(self, socket_path: Path, *, timeout_seconds: float) -> None:
        self._socket = Path(socket_path)
        self._timeout_seconds = timeout_seconds

    def describe(self) -> str:
        """``supervisord 4.3.0 'flowrex' at '/…/supervisor.sock'``."""
        version = self._call("supervisor.getSupervisorVersion")
        name = self._call("supervisor.getIdentification")
        return f"supervisord {version} '{name}' at '{self._socket}'"

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        """Replicas by service and number; their restarts are counted in the newest part of supervisord's own log."""
        restarts = count_restarts(str(self._call("supervisor.readLog", -_LOG_BYTES, 0)))
        replicas = [_replica(entry, info, restarts[str(info["name"])]) for entry, info in self._processes()]
        chosen = [replica for replica in replicas if service in (None, replica.service)]
        return sorted(chosen, key=lambda replica: (replica.service, _number(replica.name), replica.name))

    def get_usage(self, service: str | None = None) -> Sequence[Usage]:
        """By the process's number, so only where supervisord runs on this machine."""
        children = read_children()
        found = [
            read_usage(entry.service, entry.replica, int(info["pid"]), entry.memory_limit_bytes, children=children)
            for entry, info in self._processes()
            if info["pid"] and service in (None, entry.service)
        ]
        known = [usage for usage in found if usage is not None]
        return sorted(known, key=lambda usage: (usage.service, _number(usage.name), usage.name))

    def get_disks(self, *, timeout_seconds: float) -> Sequence[Disk]:  # noqa: ARG002  # a local call
        """Where supervisord runs, and where its programs write their logs."""
        logs = [Path(str(info["stdout_logfile"])).parent for _, info in self._processes() if info["stdout_logfile"]]
        return local_disks([self._socket.parent, *logs])

    def get_environment(self, service: str) -> Mapping[str, str]:  # noqa: ARG002  # the same for all
        """Empty: supervisord does not tell the environment of its programs."""
        return {}

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        """Lines of all replicas merged by time; *max_bytes* is shared out between the replicas."""
        files = self._log_files(service)
        share = max(1, max_bytes // max(1, len(files)))
        streams = [
            read_log_file(file, service=service, replica=replica, since=since, max_bytes=share)
            for replica, file in files.items()
        ]
        yield from merge_by_time(streams)

    def read_log_chunks(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[bytes]:
        """Pieces of the replicas' files; *max_bytes* is shared out between the replicas."""
        files = self._log_files(service)
        share = max(1, max_bytes // max(1, len(files)))
        for file in files.values():
            yield from read_log_chunks(file, since=since, max_bytes=share)

    def _log_files(self, service: str) -> dict[str, Path]:
        found = [(entry, info) for entry, info in self._processes() if entry.service == service]
        return {entry.replica: Path(str(info["stdout_logfile"])) for entry, info in found if info.get("stdout_logfile")}

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        """Run *argv* beside the replica's process, with the environment and working directory of the inventory."""
        entry, environment = self._told(replica)
        program = shutil.which(argv[0], path=environment.get("PATH")) or argv[0]
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                cwd=entry.directory or None,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackUnavailableError(
                f"'{argv[0]}' in '{replica.name}' did not end in {timeout_seconds:g} s; try it by hand", code="timeout"
            ) from None
        except OSError as error:
            raise StackUnavailableError(
                f"'{argv[0]}' cannot be run for '{replica.name}': {_reason(error)}; correct the inventory"
            ) from None
        return Execution(done.returncode, shortened(done.stdout), shortened(done.stderr))

    def pipe(
        self,
        replica: Replica,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None],
    ) -> Execution:
        """Beside the replica's process, as ``execute``."""
        entry, own = self._told(replica)
        program = shutil.which(argv[0], path=own.get("PATH")) or argv[0]
        return run_piped(
            [program, *argv[1:]],
            environment={**own, **environment},
            stdin=stdin,
            stdout=stdout,
            timeout_seconds=timeout_seconds,
            on_tick=on_tick,
            directory=entry.directory or None,
        )

    def restart(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Stop the replica's process where it runs, then start it."""
        deadline = time.monotonic() + timeout_seconds
        self.stop(replica, timeout_seconds=timeout_seconds)
        self.start(replica, timeout_seconds=max(0.1, deadline - time.monotonic()))

    def stop(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Ask supervisord to stop the process (it kills after ``stopwaitsecs``) and wait until it is gone."""
        self._stop(self._entry(replica).program, timeout_seconds=timeout_seconds)

    def _stop(self, program: str, *, timeout_seconds: float) -> None:
        self._ask_to_stop(program)
        self._await(program, running=False, timeout_seconds=timeout_seconds)

    def _ask_to_stop(self, program: str) -> None:
        try:
            self._call("supervisor.stopProcess", program, _WITHOUT_WAITING)
        except _RefusedError as fault:
            if fault.name != "NOT_RUNNING":
                raise

    def start(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Ask supervisord to start the process and wait until it exists."""
        self._start(self._entry(replica).program, timeout_seconds=timeout_seconds)

    def _start(self, program: str, *, timeout_seconds: float) -> None:
        try:
            self._call("supervisor.startProcess", program, _WITHOUT_WAITING)
        except _RefusedError as fault:
            if fault.name != "ALREADY_STARTED":
                raise
        self._await(program, running=True, timeout_seconds=timeout_seconds)

    def scale(self, service: str, count: int, *, timeout_seconds: float) -> None:
        """Start spare programs, or stop those with the highest numbers; which ones are spare stays in the inventory."""
        deadline = time.monotonic() + timeout_seconds
        entries = [(entry, bool(info["pid"])) for entry, info in self._programs() if entry.service == service]
        entries.sort(key=lambda found: (found[0].spare and not found[1], _number(found[0].replica)))
        if len(entries) < count:
            raise StackUnavailableError(
                f"supervisord at '{self._socket}' has {len(entries)} programs for '{service}', {count} are wanted;"
                " add programs to its configuration and to the inventory"
            )
        for number, (entry, running) in enumerate(entries, start=1):
            left = max(0.1, deadline - time.monotonic())
            self._mark(entry, spare=number > count)
            if number <= count and not running:
                self._start(entry.program, timeout_seconds=left)
            elif number > count and running:
                self._stop(entry.program, timeout_seconds=left)

    def replace(self, replica: Replica, version: str, *, timeout_seconds: float) -> Replica:
        """Restart the program after its release file names the version."""
        file = self._entry(replica).release_file
        if not file:
            raise StackUnavailableError(
                f"inventory '{self._socket.parent / INVENTORY}' has no 'release_file' for '{replica.name}';"
                " set rollback.script to what deploys a version here"
            )
        deadline = time.monotonic() + timeout_seconds
        self.stop(replica, timeout_seconds=timeout_seconds)
        _write_private(Path(file), f"{version}\n")
        self.start(replica, timeout_seconds=max(0.1, deadline - time.monotonic()))
        return next(one for one in self.get_replicas(replica.service) if one.name == replica.name)

    def pin_version(self, service: str, version: str) -> str:  # noqa: ARG002  # each release file is pinned by ``replace``
        """Nothing to do: a program runs what its release file names until that is changed."""
        return ""

    def stop_all(self, *, timeout_seconds: float) -> None:
        """Stop every process and return once they are gone, or time is up; only the sandbox does this."""
        deadline = time.monotonic() + timeout_seconds
        self._call("supervisor.stopAllProcesses", _WITHOUT_WAITING)
        while time.monotonic() < deadline and any(info["pid"] for _, info in self._processes()):
            time.sleep(_POLL_SECONDS)

    def replace_group(self, group: str, *, timeout_seconds: float) -> None:
        """Stop a group's processes and read their configuration anew, without starting them; only the sandbox does this."""
        for entry, _ in self._processes():
            if entry.program.startswith(f"{group}:"):
                self._ask_to_stop(entry.program)
        for entry, _ in self._processes():
            if entry.program.startswith(f"{group}:"):
                self._await(entry.program, running=False, timeout_seconds=timeout_seconds)
        self._call("supervisor.reloadConfig")
        self._call("supervisor.removeProcessGroup", group)
        self._call("supervisor.addProcessGroup", group)

    def _told(self, replica: Replica) -> tuple[_Entry, dict[str, str]]:
        """The replica's entry of the inventory, and the environment that it tells."""
        entry = next((e for e in self._inventory() if (e.service, e.replica) == (replica.service, replica.name)), None)
        if entry is None or entry.environment is None:
            raise StackUnavailableError(
                f"inventory '{self._socket.parent / INVENTORY}' does not tell the environment of '{replica.name}';"
                " add 'environment' and 'directory' to its entry"
            )
        return entry, dict(entry.environment)

    def _entry(self, replica: Replica) -> _Entry:
        for entry, _ in self._programs():
            if (entry.service, entry.replica) == (replica.service, replica.name):
                return entry
        raise StackUnavailableError(f"supervisord at '{self._socket}' has no program for replica '{replica.name}'")

    def _await(self, program: str, *, running: bool, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            info = self._call("supervisor.getProcessInfo", program)
            if (info["pid"] != 0) is running:
                return
            if info["statename"] == "FATAL" and running:
                raise StackUnavailableError(f"program '{program}' does not start: {info['spawnerr']}; read its log")
            if time.monotonic() > deadline:
                state = "start" if running else "stop"
                raise StackUnavailableError(
                    f"program '{program}' did not {state} in {timeout_seconds:g} s; read its log"
                )
            time.sleep(_POLL_SECONDS)

    def _processes(self) -> list[tuple[_Entry, dict[str, Any]]]:
        """The programs without those that are kept for scaling and do not run."""
        return [(entry, info) for entry, info in self._programs() if info["pid"] or not entry.spare]

    def _programs(self) -> list[tuple[_Entry, dict[str, Any]]]:
        known = {entry.program: entry for entry in self._inventory()}
        found = []
        for info in self._call("supervisor.getAllProcessInfo"):
            name, group = str(info["name"]), str(info["group"])
            program = name if name == group else f"{group}:{name}"
            default = _Entry(group, name if name != group else f"{name}-1", program)
            found.append((known.get(program, default), info))
        return found

    def _inventory(self) -> list[_Entry]:
        file = self._socket.parent / INVENTORY
        if not file.is_file():
            return []
        try:
            return [_Entry(**item) for item in json.loads(file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise StackUnavailableError(f"inventory '{file}' cannot be read: {error}; correct or remove it") from None

    def _mark(self, entry: _Entry, *, spare: bool) -> None:
        """Write the mark to the inventory, whole or not at all; nothing where it is right already."""
        file = self._socket.parent / INVENTORY
        if entry.spare is spare:
            return
        if not file.is_file():
            raise StackUnavailableError(f"there is no inventory '{file}', which scaling keeps; write one")
        items = json.loads(file.read_text(encoding="utf-8"))
        for item in items:
            if item["program"] == entry.program:
                item["spare"] = spare
        _write_private(file, json.dumps(items, indent=2) + "\n")

    def _call(self, method: str, *arguments: object) -> Any:
        transport = _UnixTransport(self._socket, self._timeout_seconds)
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise _RefusedError(self._socket, fault) from None
        except TimeoutError:
            raise StackUnavailableError(
                f"supervisord at '{self._socket}' did not answer in {self._timeout_seconds:g} s; check that it runs"
            ) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise StackUnavailableError(
                f"supervisord at '{self._socket}' cannot be reached: {_reason(error)}; start it or correct stack.socket"
            ) from None
        finally:
            transport.close()


class _RefusedError(StackUnavailableError):
    """supervisord answered with an error of its own; ``name`` is its first word, such as ``NOT_RUNNING``."""

    def __init__(self, socket_path: Path, fault: xmlrpc.client.Fault) -> None:
        text = str(fault.faultString)
        super().__init__(f"supervisord at '{socket_path}' refused: {text}; read its log", code=str(fault.faultCode))
        self.name = text.partition(":")[0]


def _replica(entry: _Entry, info: Mapping[str, Any], restarts: int) -> Replica:
    alive = info["pid"] != 0
    started = datetime.fromtimestamp(cast("float", info["start"]), UTC) if info["start"] else None
    ports = {entry.container_port: (LOCAL, entry.port)} if entry.container_port and entry.port else {}
    return Replica(
        service=entry.service,
        name=entry.replica,
        state=_STATES.get(str(info["statename"]), "exited"),
        health="none",
        identity=f"{entry.program}:{info['pid']}:{info['start']}",
        started_at=started,
        restarts=restarts,
        exit_code=None if alive or not info["stop"] else int(info["exitstatus"]),
        version=_release(entry),
        addresses=(LOCAL,),
        ports=ports,
    )


def _release(entry: _Entry) -> str:
    """What the release file names, else what the inventory does."""
    try:
        return Path(entry.release_file).read_text(encoding="utf-8").strip() if entry.release_file else entry.version
    except OSError:
        return entry.version


def _write_private(file: Path, text: str) -> None:
    """By way of a temporary file that only its owner can read."""
    temporary = file.with_name(f"{file.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.replace(file)
    except OSError as error:
        raise StackUnavailableError(f"'{file}' cannot be written: {_reason(error)}; correct its folder") from None


def _number(name: str) -> int:
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def open_supervisor_stack(settings: Settings) -> SupervisorStack:
    """The driver for ``stack.kind = "supervisor"`` (entry point of ``flowrex_ops.stacks``); nothing is contacted yet."""
    if settings.stack.socket is None:
        raise SettingsError("stack.kind is 'supervisor' but stack.socket is not set; set it to supervisord's socket")
    return SupervisorStack(settings.stack.socket, timeout_seconds=settings.limits.reading_seconds)
