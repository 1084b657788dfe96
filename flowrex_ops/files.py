"""Writing so that a reader sees the old state or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flowrex_ops.errors import RecordError

TEMPORARY_PREFIX = ".writing-"
READ_ONLY = 0o444


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Replace *path* by *data* (text as UTF-8): temporary file beside it, fsync, rename, fsync of the folder.

    RecordError where the disk is full or the folder cannot be written; the earlier file is then untouched.
    """
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    try:
        _replace(path, raw, mode)
    except OSError as error:
        raise record_error(error, path) from error


def record_error(error: OSError, path: Path) -> RecordError:
    """*error* as one line that says what could not be written, why, and what to do."""
    advice = "correct the path or its permissions"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "free some space; what was written before is intact"
    reason = (error.strerror or str(error)).lower()
    return RecordError(f"'{path}' could not be written: {reason}; {advice}")


@contextlib.contextmanager
def locked(path: Path, *, create: bool = True) -> Iterator[int]:
    """Hold an exclusive lock on *path*; yields its file descriptor. Waits for the present holder."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise record_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def take_lock(path: Path) -> int:
    """The open file *path*, which nobody else can lock until it is closed.

    BlockingIOError where a living process holds it, another OSError where it is not there or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock on *path*."""
    try:
        os.close(take_lock(path))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sync_folder(folder: Path) -> None:
    """Make renames and new names in *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, raw: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)
