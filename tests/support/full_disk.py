"""A small disk that is really full: every byte of it taken, and none left in the last page of a timeline."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conftest import missing_part

from flowrex_ops.archive import timeline

PAGE_BYTES = 4096
FILLER = "filler"


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """One of its own at *folder*, which is made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        missing_part("the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Not one more line of any timeline fits on *disk*, until the file ``FILLER`` is removed."""
    for file in disk.glob(f"*/{timeline.FILE}"):
        before = file.stat().st_size
        timeline.append(file.parent, {"kind": "note", "text": ""})
        own = file.stat().st_size - before
        left = (-(before + 2 * own) - 8) % PAGE_BYTES
        timeline.append(file.parent, {"kind": "note", "text": "x" * left})
    with (disk / FILLER).open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * PAGE_BYTES)
