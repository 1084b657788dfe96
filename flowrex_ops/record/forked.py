"""Processes forked from a warm parent (``warm.py``), for who would start a fresh interpreter."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from flowrex_ops.outputs_url import state_folder

VARIABLE = "FLOWREX_WARM_PARENT"
"""The environment variable that names the parent's socket, for everything that its owner starts; no setting, so without their prefix."""
LARGEST_REQUEST = 128 * 1024
_ANSWER_SECONDS = 5.0
_READY_SECONDS = 5.0

Role = Literal["kernel", "run"]
"""What the fork is: an IPython kernel, or a run (``child.py``)."""


class ForkedProcess:
    """What ``subprocess.Popen`` is for a fresh process: the parts of it that jupyter_client and we use."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Block until it has ended; the exit code."""
        if self.returncode is None:
            answer = self._connection.recv(LARGEST_REQUEST)
            # A parent that is gone took its forks along.
            self.returncode = int(json.loads(answer)["returncode"]) if answer else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def fork(
    role: Role, arguments: Sequence[str], *, cwd: str, env: Mapping[str, str], descriptors: Sequence[int]
) -> ForkedProcess | None:
    """A fork with the first three of *descriptors* as its standard streams, the others open; None where no parent answers.

    It leads a session of its own, and is killed when this process ends or drops it.
    """
    if VARIABLE not in os.environ or _interpreter(env) != _interpreter(os.environ):
        return None
    request = json.dumps({"role": role, "arguments": list(arguments), "cwd": cwd, "env": dict(env)}).encode()
    if len(request) > LARGEST_REQUEST:
        return None
    _await_parent(Path(os.environ[VARIABLE]))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(os.environ[VARIABLE])
        socket.send_fds(connection, [request], list(descriptors))
        pid = int(json.loads(connection.recv(LARGEST_REQUEST))["pid"])
    except (OSError, ValueError, KeyError):  # not there yet, or not any more, or the fork was over before it could tell
        connection.close()
        return None
    connection.settimeout(None)
    return ForkedProcess(connection, pid)


def shared_parent_link() -> Path:
    """The link by which a warm parent like ours is found: of this interpreter and its variables, this library as it is now, these namespaces."""
    library = Path(__file__).parents[1]
    newest = max(file.stat().st_mtime_ns for file in library.rglob("*.py"))
    spaces = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("mnt", "net", "pid", "user")]
    alike = [sys.executable, str(library), newest, sorted(_interpreter(os.environ).items()), spaces]
    return state_folder() / f"warm-{hashlib.sha256(json.dumps(alike).encode()).hexdigest()[:16]}"


def use_shared_parent() -> None:
    """Have what this process starts forked from the parent that a command beside it keeps, where there is one of this user's."""
    with contextlib.suppress(OSError, RuntimeError):  # there is none, it has just ended, or this user has no home
        address = shared_parent_link().readlink()
        if VARIABLE not in os.environ and address.is_socket() and address.stat().st_uid == os.getuid():
            os.environ[VARIABLE] = str(address)


def _await_parent(address: Path) -> None:
    """While it still imports: a fresh interpreter beside it would be no sooner, and cost as much again."""
    deadline = time.monotonic() + _READY_SECONDS
    while address.parent.exists() and not address.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What decides how an interpreter starts; a fork can no longer follow it."""
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LD_"))}
