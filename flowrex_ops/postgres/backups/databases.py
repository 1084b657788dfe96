"""The server's databases as a restore sees them: the live one, what was kept from before, what was left half loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.postgres.backups.journal import KEPT, LOADING, VERIFYING, kind_of, read_journal
from flowrex_ops.postgres.backups.login import MAINTENANCE, Login, get_login
from flowrex_ops.postgres.source import connect, read_sql
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import Settings

DATABASE_COLUMNS = ["name", "is", "size_bytes", "sessions", "newest_trade", "note"]
TABLE_COLUMNS = ["table", "rows_live", "rows_other", "difference"]
_WORDS = {LOADING: "half loaded", VERIFYING: "test restore", KEPT: "kept"}
_EXACT_BELOW = 1_000_000
"""Tables with more rows than this, by the planner's estimate, are not counted for a look."""

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in one database. ``doubtful`` names constraints and indexes that do not hold; ``newest`` is its newest trade's time."""

    tables: Mapping[str, int]
    newest: datetime | None
    doubtful: frozenset[str]

    @property
    def rows(self) -> int:
        """In all tables."""
        return sum(self.tables.values())


class DatabasesSource(Source):
    """Asked with the role that may restore. Each reading opens a connection of its own and closes it."""

    name = "databases"

    def __init__(self, login: Login | None, *, limit_seconds: float, limit_rows: int, missing: str = "") -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._login = login
        self._missing = missing

    @reads("databases")
    def get_databases(self) -> pd.DataFrame:
        """The live database and those that restores have made, live first; columns ``DATABASE_COLUMNS``."""
        login = self._required()
        with self._connect(MAINTENANCE) as connection:
            found = read_databases(connection, rows=self.limit_rows)
        rows = [row for row in found if row["name"] == login.database or kind_of(row["name"], login.database)]
        reported = [
            self._row(row, login.database) for row in sorted(rows, key=lambda row: row["name"] != login.database)
        ]
        return pd.DataFrame(reported, columns=DATABASE_COLUMNS)

    @reads("comparison of databases")
    def compare(self, other: str = "") -> pd.DataFrame:
        """Rows in each table of the live database and of *other* (the newest that was kept); columns ``TABLE_COLUMNS``.

        Large tables by the planner's estimate. Empty where there is nothing to compare with.
        """
        login = self._required()
        with self._connect(MAINTENANCE) as connection:
            names = [row["name"] for row in read_databases(connection, rows=self.limit_rows)]
        kept = [name for name in names if kind_of(name, login.database) == KEPT]
        if not other and not kept:
            return pd.DataFrame(columns=TABLE_COLUMNS)
        live, before = (self._counts(name) for name in (login.database, other or kept[-1]))
        rows = [(table, live.get(table), before.get(table)) for table in sorted({*live, *before})]
        frame = pd.DataFrame(rows, columns=TABLE_COLUMNS[:3]).astype({"rows_live": "Int64", "rows_other": "Int64"})
        return frame.assign(difference=frame["rows_live"] - frame["rows_other"])

    def _row(self, row: Mapping[str, Any], live: str) -> tuple[Any, ...]:
        journal = read_journal(row["comment"])
        kind = kind_of(row["name"], live)
        note = f"not over: {journal.what}, begun {journal.begun}" if journal else row["comment"] or ""
        if journal and journal.stopped:
            note += f"; stopped meanwhile: {', '.join(name for _, name in journal.stopped)}"
        word = _WORDS[kind] if kind else "live"
        newest = self._newest(row["name"]) if kind in (None, KEPT) else None
        return row["name"], word, row["size_bytes"], row["sessions"], newest, note

    def _newest(self, name: str) -> datetime | None:
        with self._connect(name) as connection:
            return newest_trade(connection)

    def _counts(self, name: str) -> dict[str, int]:
        with self._connect(name) as connection:
            return count_rows(connection, exact_below=_EXACT_BELOW)

    def _connect(self, database: str) -> Connection:
        return connect(self._required().conninfo(database), limit_seconds=self.limit_seconds)

    def _required(self) -> Login:
        if self._login is None:
            raise SourceUnavailableError(self._missing or "postgres is not configured; set postgres.dsn")
        return self._login


def open_databases(settings: Settings, endpoints: Endpoints) -> DatabasesSource:
    """The databases of the server that is configured or was discovered; without one it says so."""
    bounds: dict[str, Any] = {"limit_seconds": settings.limits.reading_seconds, "limit_rows": settings.limits.rows}
    try:
        return DatabasesSource(get_login(settings, endpoints), **bounds)
    except SourceUnavailableError as error:
        return DatabasesSource(None, missing=str(error), **bounds)


def read_databases(connection: Connection, *, rows: int = 1000) -> list[dict[str, Any]]:
    """``oid, name, owner, size_bytes, comment, sessions`` of each database."""
    return connection.execute(read_sql("databases"), {"rows": rows}).fetchall()


def read_contents(connection: Connection) -> Contents:
    """Every row counted; takes as long as reading all of it."""
    doubtful = frozenset(str(row["name"]) for row in connection.execute(read_sql("doubtful_objects")))
    return Contents(count_rows(connection, exact_below=None), newest_trade(connection), doubtful)


def count_rows(connection: Connection, *, exact_below: int | None) -> dict[str, int]:
    """Rows in each table (``public.trades``); by estimate where that is *exact_below* or more."""
    found = {}
    for table in connection.execute(read_sql("tables"), {"rows": 10_000}).fetchall():
        count = int(table["estimate"])
        if exact_below is None or count < exact_below:
            name = sql.Identifier(table["schema"], table["name"])
            row = connection.execute(sql.SQL("SELECT count(*) AS rows FROM {}").format(name)).fetchone()
            count = int(row["rows"]) if row else 0
        found[f"{table['schema']}.{table['name']}"] = count
    return found


def newest_trade(connection: Connection) -> datetime | None:
    """The time of the newest row in table ``trades``; ``None`` where there is no such table."""
    try:
        row = connection.execute("SELECT max(created_at) AS newest FROM trades").fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return None
    return row["newest"] if row else None
