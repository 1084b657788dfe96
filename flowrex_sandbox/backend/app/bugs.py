"""Bugs that a drill switches on in this replica: each does to the pool what the real bug does."""

from __future__ import annotations

import os
import resource
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from .database import Database
from .logs import log
from .memory import MemoryHog

REPORT = "SELECT t.*, pg_sleep(0.2) FROM trades t"
"""A report that computes something slow per row: minutes on the seeded table, and hardly any CPU."""


FILES_LIMIT = 1024
"""What most systems let a process open; select() can tell of no more."""


class Bugs:
    """The bugs at work in this replica, and their end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._healed = threading.Event()
        self._leaked: list[psycopg.Connection[Any]] = []
        self._hog = MemoryHog()

    def start(self, kind: str, count: int) -> None:
        """Start *count* of one kind; ``KeyError`` for a kind that there is not."""
        kinds: dict[str, Callable[[threading.Event], None]] = {
            "open-transaction": self._hold_transaction,
            "hung-transaction": self._hang_in_transaction,
            "leaked-connection": self._leak_connection,
            "slow-report": self._run_report,
            "files-left-open": lambda healed: _hold_files(0.94, healed),
            "files-half-open": lambda healed: _hold_files(0.5, healed),
            **self._hog.kinds,
        }
        bug = kinds[kind]
        for _ in range(count):
            threading.Thread(target=self._guarded, args=(bug, self._healed), name=kind, daemon=True).start()

    def heal(self) -> None:
        """End all of them and give their connections back."""
        self._healed.set()
        self._healed = threading.Event()
        self._hog.drop()
        leaked, self._leaked = self._leaked, []
        for connection in leaked:
            self._database.put(connection)

    def _guarded(self, bug: Callable[[threading.Event], None], healed: threading.Event) -> None:
        while not healed.is_set():
            try:
                bug(healed)
            except PoolTimeout:
                continue  # the pool is busy: the bug strikes when a connection comes free
            except psycopg.Error as error:
                log.error("background task failed: %s", str(error).strip(), exc_info=True)
            return

    def _hold_transaction(self, healed: threading.Event) -> None:
        """A handler that asks something outside inside its transaction, and never gets an answer."""
        with self._database.transaction() as connection:
            connection.execute("SELECT id, balance FROM accounts WHERE id = 1")
            while not healed.wait(0.1):
                if _dropped(connection):
                    raise psycopg.OperationalError("connection lost inside a transaction")

    def _hang_in_transaction(self, healed: threading.Event) -> None:
        """The same, but it never looks at its connection again: the pool keeps the slot of a session that was ended, as SQLAlchemy's does."""
        with self._database.transaction() as connection:
            connection.execute("SELECT id, balance FROM accounts WHERE id = 1")
            healed.wait()

    def _leak_connection(self, _healed: threading.Event) -> None:
        """A path that forgets to give its connection back."""
        connection = self._database.take()
        self._leaked.append(connection)
        connection.execute("SELECT 1")
        connection.commit()

    def _run_report(self, _healed: threading.Event) -> None:
        """A report that nobody gave a limit."""
        with self._database.transaction() as connection:
            connection.execute(REPORT)


def _hold_files(share: float, healed: threading.Event) -> None:
    """A path that forgets to close what it opens, until *share* of what this process may open is gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_LIMIT, hard))
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while len(os.listdir("/proc/self/fd")) < share * FILES_LIMIT:  # noqa: PTH208  # one descriptor, and no object for each
            held.enter_context(open(os.devnull, "rb"))  # noqa: PTH123  # the same
        healed.wait()


def _dropped(connection: psycopg.Connection[Any]) -> bool:
    """Whether PostgreSQL said something unasked, which to an idle session is only ever goodbye."""
    return bool(select.select([connection.fileno()], [], [], 0)[0])
