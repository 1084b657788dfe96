"""The stack whose services are plain processes under supervisord.

supervisord: restarts, logs and numbered replicas through an API, from a wheel, without root. It cannot add a program
to a group that runs, nor forget one: scaling marks programs as spare in the inventory.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from flowrex_ops.compose.disks import local_disks
from flowrex_ops.compose.execution import shortened
from flowrex_ops.compose.logfiles import merge_by_time, read_log_chunks, read_log_file
from flowrex_ops.compose.pipes import run_piped
from flowrex_ops.errors import SettingsError, StackUnavailableError
from flowrex_ops.model import Definition, Disk, Execution, LogLine, Replica, Usage
from flowrex_ops.settings import Settings
from flowrex_sandbox.stacks.supervisor_processes import count_restarts, read_children, read_usage
from flowrex_sandbox.stacks.supervisord import Entry, Supervisord, reason_of, write_file

LOCAL = "127.0.0.1"
_STATES = {"RUNNING": "running", "STARTING": "running", "STOPPING": "running", "BACKOFF": "restarting"}
_LOG_BYTES = 256 * 1024
_OWN = ("FLOWREX_PORT", "FLOWREX_REPLICA", "FLOWREX_RELEASE_FILE")
"""What each replica has a value of its own for, on one machine: under Docker Compose none has."""


class SupervisorStack:
    """``Stack`` over supervisord; nothing is contacted before the first reading."""

    kind = "supervisor"

    def __init__(self, socket_path: Path, *, timeout_seconds: float) -> None:
        self._supervisord = Supervisord(Path(socket_path), timeout_seconds=timeout_seconds)

    def describe(self) -> str:
        """``supervisord 4.3.0 'flowrex' at '/…/supervisor.sock'``."""
        version = self._supervisord.call("getSupervisorVersion")
        name = self._supervisord.call("getIdentification")
        return f"supervisord {version} '{name}' at '{self._supervisord.socket}'"

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        """Replicas by service and number; their restarts are counted in the newest part of supervisord's own log."""
        restarts = count_restarts(str(self._supervisord.call("readLog", -_LOG_BYTES, 0)))
        replicas = [_replica(entry, info, restarts[str(info["name"])]) for entry, info in self._supervisord.processes()]
        chosen = [replica for replica in replicas if service in (None, replica.service)]
        return sorted(chosen, key=lambda replica: (replica.service, _number(replica.name), replica.name))

    def get_usage(self, service: str | None = None) -> Sequence[Usage]:
        """By the process's number, so only where supervisord runs on this machine."""
        children = read_children()
        found = [
            read_usage(entry.service, entry.replica, int(info["pid"]), entry.memory_limit_bytes, children=children)
            for entry, info in self._supervisord.processes()
            if info["pid"] and service in (None, entry.service)
        ]
        known = [usage for usage in found if usage is not None]
        return sorted(known, key=lambda usage: (usage.service, _number(usage.name), usage.name))

    def get_disks(self, *, timeout_seconds: float) -> Sequence[Disk]:  # noqa: ARG002  # a local call
        """Where supervisord runs, and where its programs write their logs."""
        logs = [
            Path(str(info["stdout_logfile"])).parent
            for _, info in self._supervisord.processes()
            if info["stdout_logfile"]
        ]
        return local_disks([self._supervisord.socket.parent, *logs])

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
        found = [(entry, info) for entry, info in self._supervisord.processes() if entry.service == service]
        return {entry.replica: Path(str(info["stdout_logfile"])) for entry, info in found if info.get("stdout_logfile")}

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        """Run *argv* beside the replica's process, with the environment and working directory of the inventory."""
        entry, environment = self._reported(replica)
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
                f"'{argv[0]}' cannot be run for '{replica.name}': {reason_of(error)}; correct the inventory"
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
        entry, own = self._reported(replica)
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
        self._supervisord.stop(self._entry(replica).program, timeout_seconds=timeout_seconds)

    def start(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Ask supervisord to start the process and wait until it exists."""
        self._supervisord.start(self._entry(replica).program, timeout_seconds=timeout_seconds)

    def scale(self, service: str, count: int, *, timeout_seconds: float) -> None:
        """Start spare programs, or stop those with the highest numbers; which ones are spare stays in the inventory."""
        deadline = time.monotonic() + timeout_seconds
        entries = [
            (entry, bool(info["pid"])) for entry, info in self._supervisord.programs() if entry.service == service
        ]
        entries.sort(key=lambda found: (found[0].spare and not found[1], _number(found[0].replica)))
        if len(entries) < count:
            raise StackUnavailableError(
                f"supervisord at '{self._supervisord.socket}' has {len(entries)} programs for '{service}', {count} are wanted;"
                " add programs to its configuration and to the inventory"
            )
        for number, (entry, running) in enumerate(entries, start=1):
            left = max(0.1, deadline - time.monotonic())
            self._supervisord.mark(entry, spare=number > count)
            if number <= count and not running:
                self._supervisord.start(entry.program, timeout_seconds=left)
            elif number > count and running:
                self._supervisord.stop(entry.program, timeout_seconds=left)

    def replace(self, replica: Replica, version: str, *, timeout_seconds: float) -> Replica:
        """Restart the program after its release file names the version."""
        file = self._entry(replica).release_file
        if not file:
            raise StackUnavailableError(
                f"inventory '{self._supervisord.inventory_file}' has no 'release_file' for '{replica.name}';"
                " set rollback.script to what deploys a version here"
            )
        deadline = time.monotonic() + timeout_seconds
        self.stop(replica, timeout_seconds=timeout_seconds)
        write_file(Path(file), f"{version}\n")
        self.start(replica, timeout_seconds=max(0.1, deadline - time.monotonic()))
        return next(one for one in self.get_replicas(replica.service) if one.name == replica.name)

    def pin_version(self, service: str, version: str) -> str:  # noqa: ARG002  # each release file is pinned by ``replace``
        """Nothing to do: a program runs what its release file names until that is changed."""
        return ""

    def stop_all(self, *, timeout_seconds: float) -> None:
        """Stop every process and return once they are gone, or time is up; only the sandbox does this."""
        self._supervisord.stop_all(timeout_seconds=timeout_seconds)

    def replace_group(self, group: str, *, timeout_seconds: float) -> None:
        """Stop a group's processes and read their configuration anew, without starting them; only the sandbox does this."""
        for entry, _ in self._supervisord.processes():
            if entry.program.startswith(f"{group}:"):
                self._supervisord.ask_to_stop(entry.program)
        for entry, _ in self._supervisord.processes():
            if entry.program.startswith(f"{group}:"):
                self._supervisord.await_process(entry.program, running=False, timeout_seconds=timeout_seconds)
        self._supervisord.call("reloadConfig")
        self._supervisord.call("removeProcessGroup", group)
        self._supervisord.call("addProcessGroup", group)

    def _reported(self, replica: Replica) -> tuple[Entry, dict[str, str]]:
        """The replica's entry of the inventory, and the environment that it tells."""
        entry = next(
            (e for e in self._supervisord.inventory() if (e.service, e.replica) == (replica.service, replica.name)),
            None,
        )
        if entry is None or entry.environment is None:
            raise StackUnavailableError(
                f"inventory '{self._supervisord.inventory_file}' does not tell the environment of '{replica.name}';"
                " add 'environment' and 'directory' to its entry"
            )
        return entry, dict(entry.environment)

    def _entry(self, replica: Replica) -> Entry:
        for entry, _ in self._supervisord.programs():
            if (entry.service, entry.replica) == (replica.service, replica.name):
                return entry
        raise StackUnavailableError(
            f"supervisord at '{self._supervisord.socket}' has no program for replica '{replica.name}'"
        )


def _replica(entry: Entry, info: Mapping[str, Any], restarts: int) -> Replica:
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
        definition=Definition(environment={k: v for k, v in (entry.environment or {}).items() if k not in _OWN}),
    )


def _release(entry: Entry) -> str:
    """What the release file names, else what the inventory does."""
    try:
        return Path(entry.release_file).read_text(encoding="utf-8").strip() if entry.release_file else entry.version
    except OSError:
        return entry.version


def _number(name: str) -> int:
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def open_supervisor_stack(settings: Settings) -> SupervisorStack:
    """The driver for ``stack.kind = "supervisor"`` (entry point of ``flowrex_ops.stacks``); nothing is contacted yet."""
    if settings.stack.socket is None:
        raise SettingsError("stack.kind is 'supervisor' but stack.socket is not set; set it to supervisord's socket")
    return SupervisorStack(settings.stack.socket, timeout_seconds=settings.limits.reading_seconds)
