"""supervisord over XML-RPC on its unix socket, and the inventory beside it.

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
import socket
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.side_by_side import Call
from flowrex_sandbox.state import write_private
from flowrex_sandbox.waiting import comes_true

INVENTORY = "services.json"
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
class Entry:
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


class Supervisord:
    """What is asked of it; nothing is contacted before the first call."""

    def __init__(self, socket_path: Path, *, timeout_seconds: float) -> None:
        self.socket = socket_path
        self.inventory_file = socket_path.parent / INVENTORY
        self._timeout_seconds = timeout_seconds

    def programs(self) -> list[tuple[Entry, dict[str, Any]]]:
        """Every program, and what supervisord says of its process."""
        known = {entry.program: entry for entry in self.inventory()}
        found = []
        for info in self.call("getAllProcessInfo"):
            name, group = str(info["name"]), str(info["group"])
            program = name if name == group else f"{group}:{name}"
            default = Entry(group, name if name != group else f"{name}-1", program)
            found.append((known.get(program, default), info))
        return found

    def processes(self) -> list[tuple[Entry, dict[str, Any]]]:
        """The programs without those that are kept for scaling and do not run."""
        return [(entry, info) for entry, info in self.programs() if info["pid"] or not entry.spare]

    def inventory(self) -> list[Entry]:
        """What the file tells; nothing where there is none."""
        if not self.inventory_file.is_file():
            return []
        try:
            return [Entry(**item) for item in json.loads(self.inventory_file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise StackUnavailableError(
                f"inventory '{self.inventory_file}' cannot be read: {error}; correct or remove it"
            ) from None

    def mark(self, entry: Entry, *, spare: bool) -> None:
        """Write the mark to the inventory, whole or not at all; nothing where it is right already."""
        if entry.spare is spare:
            return
        if not self.inventory_file.is_file():
            raise StackUnavailableError(
                f"there is no inventory '{self.inventory_file}', which scaling keeps; write one"
            )
        items = json.loads(self.inventory_file.read_text(encoding="utf-8"))
        for item in items:
            if item["program"] == entry.program:
                item["spare"] = spare
        write_file(self.inventory_file, json.dumps(items, indent=2) + "\n")

    def start(self, program: str, *, timeout_seconds: float) -> None:
        """Ask for the process and wait until it exists."""
        self._ask("startProcess", program, unless="ALREADY_STARTED")
        self.await_process(program, running=True, timeout_seconds=timeout_seconds)

    def stop(self, program: str, *, timeout_seconds: float) -> None:
        """Ask for the process's end (it is killed after ``stopwaitsecs``) and wait until it is gone."""
        self.ask_to_stop(program)
        self.await_process(program, running=False, timeout_seconds=timeout_seconds)

    def ask_to_stop(self, program: str) -> None:
        """Ask for the process's end, without waiting."""
        self._ask("stopProcess", program, unless="NOT_RUNNING")

    def _ask(self, method: str, program: str, *, unless: str) -> None:
        try:
            self.call(method, program, _WITHOUT_WAITING)
        except _RefusedError as fault:
            if fault.name != unless:
                raise

    def stop_all(self, *, timeout_seconds: float) -> None:
        """Stop every process and return once they are gone, or time is up."""
        self.call("stopAllProcesses", _WITHOUT_WAITING)
        comes_true(lambda: not any(info["pid"] for _, info in self.processes()), timeout_seconds=timeout_seconds)

    def await_process(self, program: str, *, running: bool, timeout_seconds: float) -> None:
        """Return once it runs, or does not; StackUnavailableError where it cannot start, or not in time."""

        def reached() -> bool:
            info = self.call("getProcessInfo", program)
            if info["statename"] == "FATAL" and running:
                raise StackUnavailableError(f"program '{program}' does not start: {info['spawnerr']}; read its log")
            return (info["pid"] != 0) is running

        if not comes_true(reached, timeout_seconds=timeout_seconds):
            state = "start" if running else "stop"
            raise StackUnavailableError(f"program '{program}' did not {state} in {timeout_seconds:g} s; read its log")

    def call(self, method: str, *arguments: object) -> Any:
        """What supervisord answers, within the limit as a whole: the transport's own is one for each read."""
        asked = Call(lambda: self._call(method, *arguments))
        asked.join(self._timeout_seconds)
        if asked.is_alive():
            raise StackUnavailableError(self._late())
        return asked.wait()

    def _late(self) -> str:
        return f"supervisord at '{self.socket}' did not answer in {self._timeout_seconds:g} s; check that it runs"

    def _call(self, method: str, *arguments: object) -> Any:
        transport = _UnixTransport(self.socket, self._timeout_seconds)
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise _RefusedError(self.socket, fault) from None
        except TimeoutError:
            raise StackUnavailableError(self._late()) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError) as error:
            raise StackUnavailableError(
                f"supervisord at '{self.socket}' cannot be reached: {reason_of(error)}; start it or correct stack.socket"
            ) from None
        finally:
            transport.close()


class _RefusedError(StackUnavailableError):
    """supervisord answered with an error of its own; ``name`` is its first word, such as ``NOT_RUNNING``."""

    def __init__(self, socket_path: Path, fault: xmlrpc.client.Fault) -> None:
        text = str(fault.faultString)
        super().__init__(f"supervisord at '{socket_path}' refused: {text}; read its log", code=str(fault.faultCode))
        self.name = text.partition(":")[0]


def write_file(file: Path, text: str) -> None:
    """By way of a temporary file that only its owner can read."""
    try:
        write_private(file, text)
    except OSError as error:
        raise StackUnavailableError(f"'{file}' cannot be written: {reason_of(error)}; correct its folder") from None


def reason_of(error: Exception) -> str:
    """In a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
