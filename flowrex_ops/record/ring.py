"""The readings of the last while, a round after the other: what led to an alert is there when it comes.

A round is moved to its name once it is whole, so a kill -9 leaves none that is half; of its runs the readings alone are kept.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from os import close
from pathlib import Path

from flowrex_ops.archive.readings import SUFFIX
from flowrex_ops.errors import FlowrexOpsError, ParameterError
from flowrex_ops.files import take_lock

MOST_BYTES = 512 * 2**20
"""Of all rounds; the oldest give way."""
_PARTIAL, _LOCK, _NAME = ".partial", ".lock", "%Y%m%dT%H%M%SZ"


def watch(
    folder: Path,
    read: Callable[[Path], int],
    *,
    interval: timedelta,
    keep: timedelta,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until it is stopped: every *interval* a round, by *read*, which runs into a folder and returns how many runs it made.

    *say* is told a line for each. One that fails, or for which the disk has no room, is left out.
    """
    with _alone(folder):
        while True:
            started = time.monotonic()
            _prune(folder, keep)
            try:
                say(f"kept {_round(folder, read).name}")
            except (OSError, FlowrexOpsError) as error:
                say(f"this round is left out: {error}")
            finally:
                shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
            sleep(max(0.0, interval.total_seconds() - (time.monotonic() - started)))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """As the only one; what a killed one left half-done is removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
        lock = take_lock(folder / _LOCK)
    except OSError as error:
        why = "another capture writes there" if isinstance(error, BlockingIOError) else error.strerror
        raise ParameterError(f"'{folder}' cannot be used: {why}; name another folder") from None
    try:
        shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
        yield
    finally:
        close(lock)


def _round(folder: Path, read: Callable[[Path], int]) -> Path:
    name = f"{datetime.now(UTC):{_NAME}}"
    runs, whole = folder / _PARTIAL / "runs", folder / _PARTIAL / "round"
    runs.mkdir(parents=True)
    whole.mkdir()
    made = read(runs)
    found = [file.replace(whole / file.name) for file in runs.rglob(f"*{SUFFIX}") if file.stat().st_size]
    if len(found) < made:
        raise FlowrexOpsError(f"{made - len(found)} of {made} runs kept no readings; see whether the disk is full")
    return whole.rename(folder / name)


def _prune(folder: Path, keep: timedelta) -> None:
    """Rounds that are too old, and the oldest of those that are too much; nothing else that lies there."""
    rounds = sorted(path for path in folder.iterdir() if re.fullmatch(r"\d{8}T\d{6}Z", path.name))
    oldest = f"{datetime.now(UTC) - keep:{_NAME}}"
    size = 0
    for path in reversed(rounds):
        size += sum(file.stat().st_size for file in path.iterdir())
        if path.name < oldest or size > MOST_BYTES:
            shutil.rmtree(path, ignore_errors=True)
