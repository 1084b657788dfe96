"""Redis' memory on ``/metrics``, for alerts that come before writes are refused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import redis
from prometheus_client.core import GaugeMetricFamily, Metric

from .sessions import Sessions

EVERY_SECONDS = 2.0
FRESH_SECONDS = 10.0


class RedisMemoryCollector:
    """Asked beside the requests: a Redis that hangs must not hang the scrape. What is not known any more is not shown."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: tuple[float, int, int] | None = None

    def start(self) -> None:
        """Ask every other second, for as long as the process lives."""
        threading.Thread(target=self._ask, name="redis-memory", daemon=True).start()

    def collect(self) -> Iterator[Metric]:
        """Bytes used, and the most that may be used where there is a limit."""
        if self._known is None or time.monotonic() - self._known[0] > FRESH_SECONDS:
            return
        _, used, most = self._known
        yield GaugeMetricFamily("flowrex_redis_memory_bytes", "Memory that Redis uses for data.", value=used)
        if most:
            yield GaugeMetricFamily("flowrex_redis_memory_max_bytes", "Memory that Redis may use.", value=most)

    def _ask(self) -> None:
        while True:
            with contextlib.suppress(redis.RedisError):
                self._known = (time.monotonic(), *self._sessions.memory())
            time.sleep(EVERY_SECONDS)
