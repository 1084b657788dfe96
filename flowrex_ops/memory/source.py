"""Memory of every replica: what the stack says of it now, what Prometheus remembers, and what the kernel has killed.

Page cache does not fill a replica: ``docker stats`` leaves inactive cache out and counts active cache, and the kernel
gives back both. An OOM kill counts while the container is down or was restarted by Docker lately; exit code 137 alone
is ``docker kill`` as well.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.metrics.prometheus import PrometheusSource
from flowrex_ops.reading import Source, reads
from flowrex_ops.side_by_side import side_by_side

MEMORY_COLUMNS = ["at", "service", "replica", "used_bytes", "cache_bytes", "limit_bytes", "origin"]
KILL_COLUMNS = ["replica", "oom_kills", "error"]
PROMETHEUS, SAMPLED = "prometheus", "sampled"
USED, LIMIT = "process_resident_memory_bytes", "flowrex_memory_limit_bytes"
ENOUGH_SAMPLES = 5
"""Of fewer nothing can be said of how memory moves."""
POINTS, POINTS_IN_TREND, MOST_POINTS = 240, 20, 2000
EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where a container sees its own counters: cgroup v2 (``memory.events``) and v1 (since Linux 4.13)."""


class MemorySource(Source):
    """Memory over time. *service* is the backend's name, whose replicas Prometheus knows."""

    name = "memory"

    def __init__(self, stack: Stack, prometheus: PrometheusSource, service: str, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack, self._prometheus, self._service = stack, prometheus, service

    @reads("memory of replicas", extra_seconds="window_seconds")
    def get_memory(
        self,
        *,
        since: timedelta,
        trend_minutes: float = 30.0,
        window_seconds: float = 4.0,
        every_seconds: float = 1.0,
    ) -> pd.DataFrame:
        """Memory of every replica, now and before; columns ``MEMORY_COLUMNS``, oldest first.

        ``origin`` is ``sampled`` for what the stack says now, of all services: ``used_bytes`` without page cache that can
        be given back at once, ``cache_bytes`` the page cache still in it, ``limit_bytes`` missing where there is none.
        ``prometheus`` is the resident size that the backend's replicas told it since then, dense enough for a trend over
        *trend_minutes*. What it does not know, the other services at least, is sampled for *window_seconds*: every
        *every_seconds* all replicas at once, or as soon as the engine has answered, which may take it a second; on a machine
        so busy that the window gave too few samples, for half the source's time limit more.
        """
        history = self._history(since, trend_minutes)
        rows: list[tuple[Any, ...]] = []
        error: StackUnavailableError | None = None
        started, samples = time.monotonic(), 0
        while not rows or time.monotonic() - started <= window_seconds + (
            self.limit_seconds / 2 if samples < ENOUGH_SAMPLES else 0.0
        ):
            asked = time.monotonic()
            try:
                rows += self._sample()
                samples += 1
            except StackUnavailableError as problem:
                error = problem
                break
            if self.copy or {row[2] for row in rows} <= set(history["replica"]):  # a copy is one look, however long
                break
            time.sleep(max(0.0, min(asked + every_seconds, started + window_seconds) - time.monotonic()))
        if not rows and history.empty:
            raise error or SourceUnavailableError("the stack has no running replica; look with 'docker ps -a'")
        sampled = pd.DataFrame(rows, columns=MEMORY_COLUMNS)
        frames = [frame for frame in (history, sampled) if len(frame)]
        return pd.concat(frames).sort_values(["at", "replica"], ignore_index=True)

    @reads("OOM kill counters")
    def get_kill_counters(self, services: Collection[str] = ()) -> pd.DataFrame:
        """Kills that the kernel counted in each running container since it started; columns ``KILL_COLUMNS``.

        A plain process under supervisord has no cgroup of its own, so there the table is empty.
        """
        if self._stack.kind == "supervisor":
            return pd.DataFrame(columns=KILL_COLUMNS)
        wanted = set(services) or {self._service}
        running = [one for one in self._stack.get_replicas() if one.running and one.service in wanted]
        seconds = self.limit_seconds * 0.8

        def ask(replica: Any) -> tuple[str, int | None, str | None]:
            try:
                done = self._stack.execute(replica, ["grep", "-s", "-H", "", *EVENTS], timeout_seconds=seconds)
            except StackUnavailableError as error:
                return replica.name, None, str(error)
            count = parse_kills(done.stdout)
            return replica.name, count, None if count is not None else "its cgroup tells no oom_kill"

        return pd.DataFrame(side_by_side(ask, running, most=len(running) or 1), columns=KILL_COLUMNS)

    def _sample(self) -> list[tuple[Any, ...]]:
        at = self.now()
        return [
            (
                at,
                usage.service,
                usage.name,
                float(usage.memory_bytes),
                float(usage.cache_bytes),
                float(usage.memory_limit_bytes) if usage.memory_limit_bytes else float("nan"),
                SAMPLED,
            )
            for usage in self._stack.get_usage()
        ]

    def _history(self, since: timedelta, trend_minutes: float) -> pd.DataFrame:
        """What Prometheus remembers; empty where it does not answer, which its own reading says."""
        windows = since.total_seconds() / 60 / max(trend_minutes, 0.01)
        points = round(min(MOST_POINTS, max(POINTS, POINTS_IN_TREND * windows)))
        used = self._prometheus.query_range(USED, since=since, points=points)
        limits = self._prometheus.query_range(LIMIT, since=since) if used.available else used
        if not used.available:
            return pd.DataFrame(columns=MEMORY_COLUMNS)
        frame = used.require().rename(columns={"series": "replica", "value": "used_bytes"})
        frame = frame[frame["replica"].str.startswith(f"{self._service}-")]
        newest = limits.require().groupby("series")["value"].last() if limits.available else {}
        limit = frame["replica"].map(newest).astype(float)
        frame = frame.assign(service=self._service, cache_bytes=0.0, limit_bytes=limit, origin=PROMETHEUS)
        return frame[MEMORY_COLUMNS]


def parse_kills(text: str) -> int | None:
    """``oom_kill`` out of ``grep -H`` over ``EVENTS``; None where neither file tells it."""
    for line in text.splitlines():
        words = line.rpartition(":")[2].split()
        if len(words) == 2 and words[0] == "oom_kill" and words[1].isdigit():  # noqa: PLR2004  # a name and a number
            return int(words[1])
    return None
