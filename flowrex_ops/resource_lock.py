"""Only one run at a time changes a resource; the lock ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.errors import MitigationRefusedError

FOLDER = ".locks"


@contextlib.contextmanager
def resource_lock(folder: Path, platform: str, resource: str, operator: str) -> Iterator[None]:
    """Hold *resource* of *platform* for *operator*. MitigationRefusedError says who holds it, since when.

    A lock of the system on a file (flock(2)) below *folder*: all who share that folder see it, and none outlives its process.
    """
    path = folder / FOLDER / f"{platform}-{resource}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        text = f"'{path}' cannot be locked: {error.strerror}; nothing is changed without the lock, correct 'outputs'"
        raise MitigationRefusedError(text) from None
    try:
        _take(descriptor, resource)
        holder = {
            "operator": operator,
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with contextlib.suppress(OSError):  # on a full disk it is held all the same, by nobody knows whom
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, resource: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MitigationRefusedError(
            f"'{resource}' is being changed by {_holder(descriptor)}; wait for its end, then read again"
        ) from None


def _holder(descriptor: int) -> str:
    try:
        reported = json.loads(os.pread(descriptor, 4096, 0))
        return f"{reported['operator']} (process {reported['process']}, since {reported['since']})"
    except (ValueError, KeyError, TypeError):
        return "another run that has just begun"
