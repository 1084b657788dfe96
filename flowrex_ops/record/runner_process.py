"""Starts runs in processes of their own and waits for them: what ``serve``, ``batch`` and Dask's workers have in common.

A child ends with whoever started it: it is interrupted, and its record says so, when its standard input closes.

It ends with whoever started it, by its standard input: no signal of the kernel's, no polling, the same on a cluster's
worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrex_ops.record.forked import ForkedProcess, fork
from flowrex_ops.record.interrupts import PUT_BACK_SECONDS

_END_SECONDS = PUT_BACK_SECONDS + 20.0
"""How long an interrupted run may take to put back what it began and to finish its record; then it is killed, and counts as interrupted."""
_WORDS = 300


@dataclass(frozen=True, slots=True)
class Request:
    """A run to be made: *runbook* by slug or path, *parameters* as people give them, *trigger* as the record will tell it."""

    runbook: str
    parameters: Mapping[str, Any]
    trigger: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a child: the ``result`` of a finished record (``run --json`` with ``id``), or why there is none.

    ``record`` is the id of the record that was begun; ``usage`` says that the request was wrong, so that asking again is idle.
    """

    result: Mapping[str, Any] | None = None
    record: str = ""
    error: str = ""
    usage: bool = False
    reason: str = ""


class RunnerProcess:
    """A run in a process of its own. ``stop`` may be called from any thread."""

    def __init__(self, request: Request, *, cwd: Path | None = None, keep_open: Sequence[int] = ()) -> None:
        """Start it. *keep_open* are file descriptors (locks) that it holds for as long as it lives."""
        (stdin, write), (read, stdout), (read_errors, stderr) = os.pipe(), os.pipe(), os.pipe()
        streams = (stdin, stdout, stderr)
        try:
            self._process = _start(cwd or Path.cwd(), streams, keep_open)
        finally:
            for stream in streams:
                os.close(stream)
        self._stdin = os.fdopen(write, "w")
        self._stdout, self._stderr = os.fdopen(read), os.fdopen(read_errors)
        asked = {"runbook": request.runbook, "parameters": dict(request.parameters), "trigger": request.trigger}
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(asked) + "\n")
            self._stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait(self, *, seconds: float, on_start: Callable[[str], None] = lambda _record: None) -> Answer:
        """Block until it has ended; after *seconds* it is interrupted. *on_start* gets the record's id once that exists."""
        answers: list[dict[str, Any]] = []
        said: list[str] = []
        limit = threading.Timer(seconds, self.stop)
        reader = threading.Thread(target=self._read_errors, args=(said,), daemon=True)
        limit.start()
        reader.start()
        try:
            for answer in self._answers():
                answers.append(answer)
                if answer["event"] == "started":
                    on_start(str(answer["record"]))
            code = self._process.wait()
        finally:
            limit.cancel()
        reader.join(timeout=1)
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
        return _answer(answers, code, "".join(said))

    def stop(self, *, seconds: float = _END_SECONDS) -> None:
        """Interrupt it; its record says so. Returns at once; what does not end within *seconds* is killed."""
        self._process.terminate()
        killer = threading.Timer(seconds, self._process.kill)
        killer.daemon = True
        killer.start()

    def _answers(self) -> Iterator[dict[str, Any]]:
        """The kernel has the same standard output; what it may say there is none of ours."""
        for line in self._stdout:
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and "event" in answer:
                    yield answer

    def _read_errors(self, said: list[str]) -> None:
        """Warnings of libraries, or what went wrong where nothing else could be told."""
        with self._stderr:
            said.extend(self._stderr)


def _start(
    cwd: Path, streams: tuple[int, int, int], keep_open: Sequence[int]
) -> ForkedProcess | subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches whoever started it, who decides."""
    stdin, stdout, stderr = streams
    forked = fork("run", (), cwd=str(cwd), env=os.environ, descriptors=(*streams, *keep_open))
    return forked or subprocess.Popen(
        [sys.executable, "-m", "flowrex_ops.record.subprocess_runner"],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        pass_fds=keep_open,
        start_new_session=True,
    )


def _answer(answers: list[dict[str, Any]], code: int, said: str) -> Answer:
    by_event = {answer["event"]: answer for answer in answers}
    record = str(by_event.get("started", {}).get("record", ""))
    if "finished" in by_event:
        finished = by_event["finished"]
        return Answer(finished["result"], finished["result"]["id"], reason=finished["reason"] or "")
    if "error" in by_event:
        return Answer(record=record, error=by_event["error"]["text"], usage=by_event["error"]["usage"])
    last = said.strip().splitlines()[-1][:_WORDS] if said.strip() else ""
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return Answer(
        record=record, error=f"the run's process ended without a result: {how}" + (f"; {last}" if last else "")
    )
