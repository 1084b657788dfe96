"""Processes forked from a warm parent (``warm.py``), for who would start a fresh interpreter."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

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


def _await_parent(address: Path) -> None:
    """While it still imports: a fresh interpreter beside it would be no sooner, and cost as much again."""
    deadline = time.monotonic() + _READY_SECONDS
    while address.parent.exists() and not address.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What decides how an interpreter starts; a fork can no longer follow it."""
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LD_"))}
