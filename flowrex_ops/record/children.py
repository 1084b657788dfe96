"""Starts runs in processes of their own and waits for them: what ``serve``, ``batch`` and Dask's workers have in common.

A child ends with whoever started it: it is interrupted, and its record says so, when its standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class Child:
    """A run in a process of its own. ``stop`` may be called from any thread."""

    def __init__(self, request: Request, *, cwd: Path | None = None, keep_open: Sequence[int] = ()) -> None:
        """Start it. *keep_open* are file descriptors (locks) that it holds for as long as it lives."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowrex_ops.record.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            pass_fds=keep_open,
            start_new_session=True,  # Ctrl-C reaches whoever started it, who decides
            text=True,
        )
        asked = {"runbook": request.runbook, "parameters": dict(request.parameters), "trigger": request.trigger}
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe, by the call above)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()

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
            self._process.wait()
        finally:
            limit.cancel()
        reader.join(timeout=1)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, AttributeError):
                stream.close()  # type: ignore[union-attr]  # as the suppression says
        return _answer(answers, self._process.returncode, "".join(said))

    def stop(self, *, seconds: float = _END_SECONDS) -> None:
        """Interrupt it; its record says so. Returns at once; what does not end within *seconds* is killed."""
        self._process.terminate()
        killer = threading.Timer(seconds, self._process.kill)
        killer.daemon = True
        killer.start()

    def _answers(self) -> Iterator[dict[str, Any]]:
        """The kernel has the same standard output; what it may say there is none of ours."""
        for line in self._process.stdout or ():
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and "event" in answer:
                    yield answer

    def _read_errors(self, said: list[str]) -> None:
        """Warnings of libraries, or what went wrong where nothing else could be told."""
        said.extend(self._process.stderr or ())


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
