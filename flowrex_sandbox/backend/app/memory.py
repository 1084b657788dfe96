"""Memory that this replica may use, and bugs that use it: a leak, a cache that is too large, a spike, a file read twice."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""cgroup v2 and v1."""

_NO_LIMIT = 2**60
"""cgroup v1 says 'none' with a number of this size."""

_PIECE = 256 * 1024
LEAK_PIECES, LEAK_EVERY_SECONDS = 440, 1 / 3
"""110 MiB at 0.75 MiB/s, over in two and a half minutes: to be seen after seconds, and bounded."""

SPIKE_BYTES, SPIKE_SECONDS = 64 * MIB, 5.0
EXHAUST_BYTES = 2**30


def memory_limit_bytes() -> float:
    """``FLOWREX_MEMORY_LIMIT_BYTES``, or what the cgroup allows; NaN where there is no limit."""
    given = os.environ.get("FLOWREX_MEMORY_LIMIT_BYTES")
    return float(given) if given else _cgroup_limit()


def _cgroup_limit() -> float:
    for file in map(Path, LIMITS):
        text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
        if text.isdigit():
            return float(text) if int(text) < _NO_LIMIT else float("nan")
    return float("nan")


class MemoryHog:
    """Bytes that are really there: written, so that the kernel has to back them with memory."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._file: Path | None = None

    @property
    def kinds(self) -> dict[str, Callable[[threading.Event], None]]:
        """The bugs by name."""
        return {
            "memory-leak": self._leak,
            "memory-percent": self._grow_by_percent,
            "memory-spike": self._rise_and_fall,
            "memory-exhaust": self._exhaust,
            "page-cache": self._read_file_twice,
        }

    def drop(self) -> None:
        """Give it all back."""
        self._held.clear()
        if self._file:
            self._file.unlink(missing_ok=True)

    def _take(self, size: int) -> None:
        self._held.append(b"\x01" * size)

    def _leak(self, healed: threading.Event) -> None:
        """A list that every request appends to and nobody empties."""
        for _ in range(LEAK_PIECES):
            self._take(_PIECE)
            if healed.wait(LEAK_EVERY_SECONDS):
                self._held.clear()
                return

    def _grow_by_percent(self, _healed: threading.Event) -> None:
        """A cache that takes one per cent of the limit; as many at once as are asked for."""
        self._take(int(memory_limit_bytes() / 100))

    def _rise_and_fall(self, healed: threading.Event) -> None:
        """A large report, and its end."""
        self._take(SPIKE_BYTES)
        healed.wait(SPIKE_SECONDS)
        self._held.clear()

    def _exhaust(self, _healed: threading.Event) -> None:
        """A request that wants more than the container may have; without a container it would hit the machine."""
        if _cgroup_limit() > EXHAUST_BYTES or os.environ.get("FLOWREX_MEMORY_LIMIT_BYTES"):
            return
        while True:
            self._take(MIB)
            time.sleep(0.005)

    def _read_file_twice(self, healed: threading.Event) -> None:
        """A file that is read twice and whose pages the kernel therefore keeps, for as long as nobody needs the memory."""
        with tempfile.NamedTemporaryFile(prefix="export-", delete=False) as file:
            self._file = Path(file.name)
            for _ in range(int(0.7 * memory_limit_bytes() / MIB)):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
        while not healed.is_set():
            with self._file.open("rb", buffering=0) as again:
                while again.read(MIB):
                    pass
            healed.wait(1)
        self.drop()
