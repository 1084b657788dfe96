"""What a restore does to the server's databases: made alike, loaded, renamed, dropped; each deed whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import BackupError, MitigationRefusedError
from flowrex_ops.postgres.backups.databases import (
    Connection,
    Contents,
    count_rows,
    newest_trade,
    read_contents,
    read_databases,
)
from flowrex_ops.postgres.backups.journal import KEPT, Journal, kind_of, read_journal
from flowrex_ops.postgres.backups.login import MAINTENANCE, Login, get_login
from flowrex_ops.postgres.source import connect, read_sql
from flowrex_ops.settings import Settings
from flowrex_ops.waiting import wait_until

LOCK = 7_386_301_946
"""The advisory lock, in the maintenance database, of whoever makes or renames databases here."""

_LOCK_SECONDS = 15.0
"""A run that was killed may still be in the middle of one statement on the server."""

_END_SESSIONS = resources.files("flowrex_ops.postgres").joinpath("sql", "end_sessions.sql").read_text(encoding="utf-8")
_SWAP_TRIES = 5
_MOST_DATABASES = 10_000
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Settings whose value is a list that is quoted already (PostgreSQL: GUC_LIST_QUOTE)."""


@dataclass(frozen=True, slots=True)
class State:
    """The platform's database and those that restores have made. ``journal`` is of a run that is not over."""

    oid: int
    size_bytes: int
    comment: str | None
    journal: Journal | None
    made: tuple[tuple[str, str], ...]
    names: frozenset[str]

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of that kind, the oldest first."""
        return sorted(name for name, kind in self.made if kind in kinds)


class Server:
    """PostgreSQL as the role that may create and rename databases. What fails is a BackupError that quotes the server."""

    def __init__(self, login: Login, *, limit_seconds: float, work_seconds: float) -> None:
        self.login = login
        self.live = login.database
        self._limit_seconds = limit_seconds
        self._work_seconds = work_seconds

    @contextlib.contextmanager
    def connect(self, database: str = MAINTENANCE) -> Iterator[Connection]:
        """A connection for work that takes long."""
        try:
            with contextlib.closing(
                connect(self.login.conninfo(database), limit_seconds=self._limit_seconds, read_only=False)
            ) as connection:
                connection.execute(f"SET statement_timeout = {int(self._work_seconds * 1000)}".encode())
                yield connection
        except psycopg.Error as error:
            raise BackupError(f"PostgreSQL refused: {' '.join(str(error).split())}; read its log") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """While the block runs nobody else restores on this server, from whatever machine; ends with the connection."""
        with self.connect() as connection:

            def taken() -> bool:
                row = connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (LOCK,)).fetchone()
                return bool(row and row["taken"])

            if not wait_until(taken, seconds=_LOCK_SECONDS):
                raise MitigationRefusedError(
                    "another run restores or tests a restore on this server; wait for its end, then read again"
                )
            yield connection

    def look(self) -> State:
        """How it is now; MitigationRefusedError where the platform's database is not there."""
        with self.connect() as connection:
            rows = read_databases(connection, rows=_MOST_DATABASES)
        mine = next((row for row in rows if row["name"] == self.live), None)
        if mine is None:
            raise MitigationRefusedError(f"there is no database '{self.live}' on this server; correct postgres.dsn")
        kinds = ((row["name"], kind_of(row["name"], self.live)) for row in rows)
        made = tuple((name, kind) for name, kind in kinds if kind)
        names = frozenset(row["name"] for row in rows)
        size = int(mine["size_bytes"] or 0)
        return State(int(mine["oid"]), size, mine["comment"], read_journal(mine["comment"]), made, names)

    def require_rights(self) -> None:
        """MitigationRefusedError where a restore could not go through: rights, or prepared transactions that hold the database."""
        with self.connect() as connection:
            row = connection.execute(read_sql("restore_rights"), {"database": self.live}).fetchone() or {}
        if not row.get("may_create"):
            raise MitigationRefusedError(
                f"role {row.get('role')} may not create databases or does not own '{self.live}'; set postgres.admin_dsn"
            )
        if row.get("prepared"):
            raise MitigationRefusedError(
                f"{row['prepared']} prepared transactions hold '{self.live}'; commit or roll them back first"
            )

    def major(self) -> int:
        """15 for PostgreSQL 15.18."""
        with self.connect() as connection:
            return connection.info.server_version // 10_000

    def contents(self, database: str, *, exact: bool = True) -> Contents:
        """Its tables and rows; where not *exact* large tables are estimated."""
        with self.connect(database) as connection:
            if exact:
                return read_contents(connection)
            doubtful = frozenset(str(row["name"]) for row in connection.execute(read_sql("doubtful_objects")))
            return Contents(count_rows(connection, exact_below=1_000_000), newest_trade(connection), doubtful)

    def analyze(self, database: str) -> None:
        """Without statistics the first hour after a restore is slow."""
        with self.connect(database) as connection:
            connection.execute("ANALYZE")

    def create(self, name: str, comment: str) -> None:
        """An empty database like the platform's: owner, encoding, locale, limit, rights, settings."""
        with self.connect() as connection:
            like = connection.execute(read_sql("database_properties"), {"database": self.live}).fetchone() or {}
            connection.execute(_create(name, like))
            self._comment(connection, name, comment)
            for statement in _properties(name, like):
                connection.execute(statement)

    def drop(self, names: Sequence[str]) -> None:
        """Drop what a restore has made and nobody needs; sessions in it end. Never the platform's, never one that is kept."""
        with self.connect() as connection:
            for name in names:
                if kind_of(name, self.live) in (None, KEPT):
                    raise BackupError(f"database '{name}' is not to be dropped by a restore; drop it by hand")
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def note(self, comment: str | None) -> None:
        """The comment on the platform's database."""
        with self.connect() as connection:
            self._comment(connection, self.live, comment)

    def swap(self, new: str, kept: str, *, comment: str, kept_comment: str) -> None:
        """*new* becomes the platform's database and what that was is called *kept*: in one transaction, so both or neither.

        Sessions in either end. BackupError where somebody comes back faster than they can be ended.
        """
        for left in reversed(range(_SWAP_TRIES)):
            with self.connect() as connection:
                connection.execute(_END_SESSIONS, {"databases": [self.live, new]}).fetchall()
                try:
                    with connection.transaction():
                        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                        connection.execute(rename.format(sql.Identifier(self.live), sql.Identifier(kept)))
                        connection.execute(rename.format(sql.Identifier(new), sql.Identifier(self.live)))
                        self._comment(connection, kept, kept_comment)
                        self._comment(connection, self.live, comment)
                        return
                except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable):
                    if not left:
                        raise

    def _comment(self, connection: Connection, name: str, comment: str | None) -> None:
        statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(comment)))


def open_server(settings: Settings, endpoints: Endpoints) -> Server:
    """The server of the settings, or the one that was discovered; nothing is contacted yet. SourceUnavailableError without one."""
    return Server(
        get_login(settings, endpoints),
        limit_seconds=settings.limits.reading_seconds,
        work_seconds=settings.backup.seconds,
    )


def _create(name: str, like: dict[str, Any]) -> sql.Composed:
    parts = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)),
        sql.SQL("OWNER {}").format(sql.Identifier(like["owner"])),
        sql.SQL("ENCODING {}").format(sql.Literal(like["encoding"])),
        sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(like["lc_collate"]), sql.Literal(like["lc_ctype"])),
        sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(like["connection_limit"])),
    ]
    provider = {"i": "icu", "b": "builtin"}.get(like["provider"])
    if provider:
        locale = sql.SQL(f"LOCALE_PROVIDER {provider} {provider.upper()}_LOCALE {{}}")
        parts.append(locale.format(sql.Literal(like["locale"])))
    return sql.SQL(" ").join(parts)


def _properties(name: str, like: dict[str, Any]) -> Iterator[sql.Composed]:
    """What pg_dump leaves out unless it may name the database itself: who may do what with it, and its settings."""
    database = sql.Identifier(name)
    if like["rights"] is not None:
        yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
    for right in like["rights"] or ():
        grantee = sql.Identifier(right["role"]) if right["role"] else sql.SQL("PUBLIC")
        grant = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(right["privilege"]), database, grantee)
        yield grant + sql.SQL(" WITH GRANT OPTION" if right["grantable"] else "")
    for setting in like["settings"] or ():
        key, _, value = setting["setting"].partition("=")
        whose = sql.SQL("DATABASE {}").format(database)
        if setting["role"]:
            whose = sql.SQL("ROLE {} IN ").format(sql.Identifier(setting["role"])) + whose
        text = sql.SQL(value) if key in _LISTS else sql.Literal(value)
        yield sql.SQL("ALTER {} SET {} TO {}").format(whose, sql.Identifier(*key.split(".")), text)
