"""One run in a process of its own: ``python -m flowrex_ops.record.subprocess_runner``, asked by one line of JSON on standard input.

The request is ``{"runbook", "parameters", "trigger"}``. Each line of the answer is ``{"event": "started", "record"}``,
``{"event": "finished", "result"}`` or ``{"event": "error", "text", "usage"}``. Standard input stays open for as long as
whoever asked lives: at its end this process tells itself to stop, however its parent died, and the record says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any


def main() -> int:
    """Run what was asked for; 0 when there is a record."""
    raw = sys.stdin.buffer.readline()
    if not raw.endswith(b"\n"):
        return 1  # whoever asked died while asking
    threading.Thread(target=_watch_parent, daemon=True).start()
    request: dict[str, Any] = json.loads(raw)
    return _run(request)


def _run(request: dict[str, Any]) -> int:
    from flowrex_ops.errors import FlowrexOpsError, UsageError
    from flowrex_ops.record.runbook import run_runbook

    try:
        result = run_runbook(
            request["runbook"], request["parameters"], on_event=_tell_start, trigger=request.get("trigger", "")
        )
    except FlowrexOpsError as error:
        _tell({"event": "error", "text": str(error), "usage": isinstance(error, UsageError)})
        return 1
    _tell({"event": "finished", "result": {"id": result.id, **result.to_json()}, "reason": result.reason})
    return 0


def _tell_start(event: object) -> None:
    from flowrex_ops.record.events import RunStarted

    if isinstance(event, RunStarted):
        _tell({"event": "started", "record": event.record})


def _tell(answer: dict[str, Any]) -> None:
    """Nobody may listen any more; the record is what counts."""
    try:
        sys.stdout.write(json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _watch_parent() -> None:
    """A read of raw bytes, so that no lock of the buffer is held when the interpreter ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
