"""Programs with a file at each end, on this machine: for what is too large to keep in memory."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from flowrex_ops.compose.execution import shortened
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Execution

WATCH_SECONDS = 0.5


def run_piped(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: IO[bytes] | None,
    stdout: IO[bytes],
    timeout_seconds: float,
    on_tick: Callable[[], None],
    directory: str | None = None,
) -> Execution:
    """Run *argv* with exactly *environment*, *on_tick* it now and then; the Execution's ``stdout`` is empty.

    Whatever ends this call also ends the program. StackUnavailableError where it cannot be run or takes too long.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            program = subprocess.Popen(
                argv,
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=dict(environment),
                cwd=directory,
            )
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StackUnavailableError(f"'{argv[0]}' cannot be run: {reason}; correct its path") from None
        try:
            _await_end(program, argv[0], timeout_seconds, on_tick)
        finally:
            program.kill()
            program.wait()
        stderr.seek(0)
        return Execution(program.returncode, "", shortened(stderr.read()))


def _await_end(
    program: subprocess.Popen[bytes], name: str, timeout_seconds: float, on_tick: Callable[[], None]
) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            program.wait(min(WATCH_SECONDS, max(0.01, deadline - time.monotonic())))
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise StackUnavailableError(
                    f"'{name}' did not end in {timeout_seconds:g} s; raise the limit if that is too short",
                    code="timeout",
                ) from None
            on_tick()
