"""The replica's connection pool, with the counts that ``/metrics`` shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

TIMEOUT_SECONDS = 2.0
"""How long a request waits for a connection before it fails."""


class Database:
    """A pool of exactly *size* connections.

    Counts for itself what is in use and who waits: the pool's own ``requests_waiting`` stays raised after waiters
    have timed out.
    """

    def __init__(self, dsn: str, *, size: int, application_name: str) -> None:
        self.size = size
        self.in_use = self.waiting = 0
        self.requests = self.queued = self.errors = 0
        self.wait_seconds = 0.0
        self._lock = threading.Lock()
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            dsn,
            min_size=size,
            max_size=size,
            timeout=TIMEOUT_SECONDS,
            reconnect_timeout=TIMEOUT_SECONDS,  # give up soon, so that requests try afresh once PostgreSQL is back
            kwargs={"application_name": application_name, "connect_timeout": 3},
            open=False,
        )

    def open(self) -> None:
        """Begin to connect in the background."""
        self._pool.open(wait=False)

    def take(self) -> psycopg.Connection[Any]:
        """A connection out of the pool; ``PoolTimeout`` when none comes free in time. Give it back with ``put``."""
        busy = self.in_use >= self.size
        with self._lock:
            self.requests += 1
            self.queued += busy
            self.waiting += 1
        started = time.monotonic()
        try:
            connection = self._pool.getconn()
        except PoolTimeout:
            with self._lock:
                self.errors += 1
            raise
        finally:
            with self._lock:
                self.waiting -= 1
                self.wait_seconds += time.monotonic() - started
        with self._lock:
            self.in_use += 1
        return connection

    def put(self, connection: psycopg.Connection[Any]) -> None:
        """Give a connection back; the pool replaces it where it is broken."""
        with self._lock:
            self.in_use -= 1
        self._pool.putconn(connection)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection inside a transaction, committed at the end, rolled back on an error."""
        connection = self.take()
        try:
            with connection.transaction():
                yield connection
        finally:
            self.put(connection)
