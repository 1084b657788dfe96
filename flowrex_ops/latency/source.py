"""What else tells why answers are slow: how soon a replica answers what costs nothing, and whether it gets its CPU."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.model import Replica
from flowrex_ops.reading import Source, reads
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.web import get

LIVE_PATH = "/health/live"
"""Touches no database. Where there is no such path, its 404 comes out of the same event loop, and as soon."""
LIVENESS_COLUMNS = ["replica", "seconds", "error"]
PRESSURE_COLUMNS = ["replica", "pressure_avg10", "pressure_avg60", "throttled_share", "io_pressure_avg60", "error"]
FILES = ("/proc/pressure/cpu", "/proc/pressure/io", "/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat")
"""Pressure of the machine (PSI), and where a container sees its own throttling: cgroup v2 and v1."""
PAUSE_SECONDS = 0.2
"""Between two answers of a replica."""
_LONGEST_SECONDS = 2.0
_PRESSURE = re.compile(r"pressure/(cpu|io):some avg10=([\d.]+) avg60=([\d.]+)")
_COUNTER = re.compile(r"^(?:[^:\n]*:)?(nr_periods|nr_throttled) (\d+)$", re.MULTILINE)


class LatencySource(Source):
    """Replicas of *service*; *find_replicas* gives replica to base URL, anew for each question."""

    name = "replicas"
    libraries = ("httpx",)

    def __init__(
        self, stack: Stack, service: str, find_replicas: Callable[[], Mapping[str, str]], *, limit_seconds: float
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack, self._service, self._find_replicas = stack, service, find_replicas

    @reads("liveness", extra_seconds="window_seconds")
    def sample_liveness(self, *, window_seconds: float = 5.0) -> pd.DataFrame:
        """How soon each replica answers ``LIVE_PATH``, again and again for so long; columns ``LIVENESS_COLUMNS``.

        Whatever it answers counts; one that says nothing for two seconds has an ``error`` and took those.
        """
        replicas = self._find_replicas()
        if not replicas:
            raise SourceUnavailableError("no backend replica is configured or was discovered; set backend.urls")
        until = time.monotonic() + window_seconds
        found = side_by_side(lambda one: self._ask(one[0], one[1], until), replicas.items())
        frame = pd.DataFrame([row for rows in found for row in rows], columns=LIVENESS_COLUMNS)
        if frame["seconds"].isna().all():
            raise SourceUnavailableError(f"no backend replica was reached: {frame['error'].iloc[-1]}")
        return frame

    def _ask(self, replica: str, url: str, until: float) -> list[tuple[str, float | None, str | None]]:
        """Times of one replica; none where nobody listens there, which is not slow."""
        import httpx

        rows: list[tuple[str, float | None, str | None]] = []
        while not rows or time.monotonic() < until:
            started, error = time.monotonic(), None
            try:
                get(url + LIVE_PATH, seconds=_LONGEST_SECONDS, verified=False)
            except httpx.TimeoutException:
                error = f"no answer in {_LONGEST_SECONDS:g} s"
            except httpx.HTTPError as problem:
                return [(replica, None, f"{url} gave no answer: {problem or type(problem).__name__}")]
            rows.append((replica, time.monotonic() - started, error))
            time.sleep(PAUSE_SECONDS)
        return rows

    @reads("CPU and disk pressure", extra_seconds="window_seconds")
    def sample_pressure(self, *, window_seconds: float = 1.0) -> pd.DataFrame:
        """Whether the machine is short of CPU, and each replica held back at its limit; columns ``PRESSURE_COLUMNS``.

        Pressure is percent of time in which some task waited for a processor (or a disk, ``io``), ``throttled_share`` the part (0 to 1) of
        the scheduler's periods within the window in which the replica was held back: 0 without a limit, and under supervisord.
        """
        running = [replica for replica in self._stack.get_replicas(self._service) if replica.running]
        if not running:
            raise SourceUnavailableError(f"no replica of '{self._service}' runs to read it in; by hand: cat {FILES[0]}")
        before = side_by_side(self._read, running, most=len(running))
        time.sleep(window_seconds)
        after = side_by_side(self._read, running, most=len(running))
        own = self._stack.kind != "supervisor"  # a plain process has no cgroup of its own
        rows = [
            (replica.name, *parse_pressure(old, new, limited=own), error)
            for replica, (old, _), (new, error) in zip(running, before, after, strict=True)
        ]
        return pd.DataFrame(rows, columns=PRESSURE_COLUMNS)

    def _read(self, replica: Replica) -> tuple[str, str | None]:
        seconds = self.limit_seconds * 0.4
        try:
            command = ["grep", "-s", "-H", "", *FILES]
            return self._stack.execute(replica, command, timeout_seconds=seconds).stdout, None
        except StackUnavailableError as error:
            return "", str(error)


def parse_pressure(
    before: str, after: str, *, limited: bool = True
) -> tuple[float | None, float | None, float | None, float | None]:
    """CPU pressure of 10 and of 60 seconds, the share of throttled periods, disk pressure of 60 seconds.

    Of two outputs of ``grep -H`` over ``FILES``.
    """
    reported = {kind: (float(ten), float(sixty)) for kind, ten, sixty in _PRESSURE.findall(after)}
    ten, sixty = reported.get("cpu", (None, None))
    return ten, sixty, _throttled(before, after) if limited else 0.0, reported.get("io", (None, None))[1]


def _throttled(before: str, after: str) -> float | None:
    old, new = (dict(_COUNTER.findall(text)) for text in (before, after))
    if "usage_usec" in after and "nr_periods" not in new:
        return 0.0  # cgroup v2 of a container without a limit
    if len(old) < 2 or len(new) < 2:  # noqa: PLR2004  # both counters
        return None
    periods = int(new["nr_periods"]) - int(old["nr_periods"])
    return (int(new["nr_throttled"]) - int(old["nr_throttled"])) / periods if periods > 0 else 0.0
