"""Programs with a file at each end, inside a container: ``docker exec -i`` over the Engine's API."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING

from flowrex_ops.compose.dockerlog import FRAME_HEAD, PIECE_BYTES
from flowrex_ops.compose.execution import EXECUTION_BYTES
from flowrex_ops.compose.pipes import WATCH_SECONDS
from flowrex_ops.errors import StackUnavailableError

if TYPE_CHECKING:
    from docker import APIClient

_STDOUT = 1


class ExecStream:
    """A program that was started in *container* and waits to be run to its end."""

    def __init__(
        self, api: APIClient, container: str, argv: Sequence[str], environment: Mapping[str, str], *, with_stdin: bool
    ) -> None:
        self._api = api
        self._id = api.exec_create(container, list(argv), stdin=with_stdin, environment=dict(environment))["Id"]
        self._stream = api.exec_start(self._id, socket=True)

    def run(
        self, stdin: IO[bytes] | None, stdout: IO[bytes], *, timeout_seconds: float, on_tick: Callable[[], None]
    ) -> bytes:
        """Write what it says to *stdout* until it ends; the end of what it said on stderr.

        StackUnavailableError where the engine goes away or time is up; OSError where *stdout* cannot be written.
        """
        connection: socket.socket = getattr(self._stream, "_sock", self._stream)
        connection.settimeout(WATCH_SECONDS)
        feeder = threading.Thread(target=_feed, args=(connection, stdin), daemon=True)
        feeder.start()
        try:
            return _collect(connection, stdout, time.monotonic() + timeout_seconds + 1, on_tick)
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            self._stream.close()
            feeder.join(WATCH_SECONDS)

    def exit_code(self) -> int:
        """What it ended with."""
        return int(self._api.exec_inspect(self._id)["ExitCode"] or 0)


def _feed(connection: socket.socket, stdin: IO[bytes] | None) -> None:
    """Send all of *stdin* and say that it is over; a program that wants no more of it is none the worse."""
    with contextlib.suppress(OSError, ValueError):
        while stdin is not None and (piece := stdin.read(PIECE_BYTES)):
            _send(connection, piece)
        connection.shutdown(socket.SHUT_WR)


def _send(connection: socket.socket, piece: bytes) -> None:
    """``sendall`` without its time limit, which would count the program's own thinking."""
    view = memoryview(piece)
    while view:
        with contextlib.suppress(TimeoutError):
            view = view[connection.send(view) :]


def _collect(connection: socket.socket, stdout: IO[bytes], deadline: float, on_tick: Callable[[], None]) -> bytes:
    """Write what comes on stdout until the program ends; the end of what it said on stderr."""
    stderr, buffer = b"", b""
    seen = time.monotonic()
    while True:
        if time.monotonic() > deadline:
            raise StackUnavailableError("the program in the container did not end in time", code="timeout")
        if time.monotonic() - seen > WATCH_SECONDS:
            on_tick()
            seen = time.monotonic()
        try:
            piece = connection.recv(PIECE_BYTES)
        except TimeoutError:
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StackUnavailableError(f"the docker engine went away: {reason}; look with 'docker ps'") from None
        if not piece:
            return stderr
        frames, buffer = _frames(buffer + piece)
        for kind, load in frames:
            if kind == _STDOUT:
                stdout.write(load)
            else:
                stderr = (stderr + load)[-EXECUTION_BYTES:]


def _frames(buffer: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames in *buffer* (which stream, what it carries), and the rest."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while len(buffer) - at >= FRAME_HEAD.size:
        kind, length = FRAME_HEAD.unpack_from(buffer, at)
        end = at + FRAME_HEAD.size + length
        if end > len(buffer):
            break
        found.append((kind, buffer[at + FRAME_HEAD.size : end]))
        at = end
    return found, buffer[at:]
