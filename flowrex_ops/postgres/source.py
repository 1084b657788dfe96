"""PostgreSQL, asked read-only: sessions, locks, prepared transactions, connection limits, trades."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.reading import ANSWERED, TOO_MANY_CONNECTIONS, UNREACHABLE, Source, reads
from flowrex_ops.services.clocks import CLOCK_COLUMNS
from flowrex_ops.services.configuration import SETTING_COLUMNS

APPLICATION_NAME = "flowrex-ops"

SESSION_COLUMNS = [
    "pid",
    "backend_start",
    "backend_type",
    "role",
    "application_role",
    "superuser",
    "replication",
    "application",
    "database",
    "client",
    "state",
    "wait_event_type",
    "wait_event",
    "xact_start",
    "xact_age_seconds",
    "query_age_seconds",
    "state_age_seconds",
    "blocked_by",
    "own",
    "query",
]


SEQUENCE_COLUMNS = ["sequence", "fills", "type", "most", "used", "share"]
XID_COLUMNS = ["database", "xid_age", "multixact_age", "freeze_max_age", "held_by"]
READ_ONLY_COLUMNS = ["in_recovery", "read_only", "source", "as_application", "set_by"]
UPKEEP_COLUMNS = [
    "table",
    "rows",
    "dead",
    "vacuum_at",
    "vacuumed_seconds",
    "vacuuming_seconds",
    "changed",
    "analyze_at",
    "analyzed_seconds",
    "has_statistics",
    "counters_lost",
    "autovacuum",
    "held_by",
    "held_seconds",
]
INDEX_COLUMNS = ["index", "table", "is_ready", "locked_by"]
ARCHIVER_COLUMNS = [
    "mode",
    "configured",
    "in_recovery",
    "archived",
    "failed",
    "archived_seconds",
    "failed_seconds",
    "failed_wal",
    "waiting",
    "wal_bytes",
]
LOG_SETTING_COLUMNS = ["destination", "collector", "min_messages", "language"]
REPLICATION_COLUMNS = ["kind", "name", "state", "sync_state", "behind_bytes", "lag_seconds"]

TRADE_COLUMNS = [
    "status",
    "reason",
    "symbol",
    "side",
    "trades",
    "recent",
    "first_at",
    "last_at",
    "last_age_seconds",
    "all_trades",
    "all_recent",
]

ORDER_COLUMNS = ["state", "status", "orders", "late", "oldest_seconds", "newest_seconds", "symbols"]
REPEATED_COLUMNS = [
    "account",
    "symbol",
    "side",
    "quantity",
    "orders",
    "again",
    "same_id",
    "first_at",
    "last_at",
    "all_orders",
    "all_again",
]
RATE_COLUMNS = ["account", "symbol", "per_minute", "before", "all_per_minute", "all_before"]
BOOKED_COLUMNS = ["id", "client_order", "account", "symbol", "side", "quantity", "status", "state", "created_at"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The server's slots. ``through_reserve`` says that only a slot kept for superusers was left to ask through."""

    max_connections: int
    superuser_reserved: int
    reserved: int
    used: int
    server_version: str
    asked_as: str
    sees_all_sessions: bool
    through_reserve: bool = False
    own_name: str | None = None
    """The role or database that is nearest to a limit of its own."""
    own_most: int | None = None
    own_used: int | None = None

    @property
    def scarcest(self) -> tuple[str, int, int]:
        """What there is least of, how many are taken, of how many: the server's slots, or what a role or database may have."""
        slots = "usable slots", self.used, self.for_applications
        if self.own_name is None or self.own_most is None or self.own_used is None:
            return slots
        own = f"connections that {self.own_name} may have", self.own_used, self.own_most
        return max(slots, own, key=lambda one: one[1] / max(1, one[2]))

    @property
    def for_applications(self) -> int:
        """Slots that an ordinary role can have."""
        return self.max_connections - self.superuser_reserved - self.reserved


def read_sql(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return resources.files("flowrex_ops.postgres").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def connect(dsn: str, *, limit_seconds: float, read_only: bool = True) -> psycopg.Connection[dict[str, Any]]:
    """A connection that names itself, cannot hang on a lock and (unless a mitigation asks otherwise) cannot write.

    A pooler may refuse these limits at the start, or drop them without a word (PgBouncer: ignore_startup_parameters); then
    they are set afterwards, and prepared statements, which belong to one server connection, are left out.
    Raises SourceUnavailableError with the SQLSTATE as its code, without the DSN's password.
    """
    milliseconds = int(limit_seconds * 1000)
    limits = {"statement_timeout": str(milliseconds), "lock_timeout": str(min(milliseconds, 1000))}
    limits |= {"default_transaction_read_only": "on"} if read_only else {}
    try:
        try:
            connection = _open(dsn, limit_seconds, " ".join(f"-c {name}={value}" for name, value in limits.items()))
        except psycopg.OperationalError as error:
            if _POOLER_REFUSES not in str(error):
                raise
            connection = _open(dsn, limit_seconds, "")
        if not _in_force(connection):
            connection.prepare_threshold = None
            for name, value in limits.items():
                connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        return connection
    except psycopg.Error as error:
        raise _unavailable(error) from None


_POOLER_REFUSES = "unsupported startup parameter"


def _open(dsn: str, limit_seconds: float, options: str) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(
        dsn,
        autocommit=True,
        application_name=APPLICATION_NAME,
        connect_timeout=max(2, int(limit_seconds)),
        options=options,
        row_factory=dict_row,
    )


def _in_force(connection: psycopg.Connection[dict[str, Any]]) -> bool:
    """Whether the limits that were asked for at the start hold; the lock's is never PostgreSQL's default, which is 0."""
    return bool(connection.execute("SHOW lock_timeout").fetchall()[0]["lock_timeout"] != "0")


# With no slot left only a superuser can still ask who holds them: `reserve_dsn` is tried after SQLSTATE 53300 alone,
# and is as read-only as the other.
class PostgresSource(Source):
    """One read-only connection, opened at the first question and again after it was lost.

    When the server refuses *dsn* for want of slots, *reserve_dsn* (a superuser's) is tried: who holds all the
    connections can then still be read.
    """

    name = "postgres"

    def __init__(
        self,
        dsn: str | None,
        reserve_dsn: str | None = None,
        *,
        limit_seconds: float,
        limit_rows: int,
        application_role: str = "",
        missing: str = "",
        stopped: bool = False,
    ) -> None:
        """*application_role* is the role that the application's sessions have; empty means the role of *dsn*.

        Without *dsn*, *missing* says why there is none; *stopped*: because the server is known, and does not run.
        """
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._dsn = dsn
        self._reserve_dsn = reserve_dsn
        self._application_role = application_role
        self._missing = missing or "postgres is not configured and was not discovered; set postgres.dsn"
        self._stopped = stopped
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self.refused: str | None = None
        """PostgreSQL's own words when it refused the ordinary role for want of slots."""

    @reads("sessions")
    def get_sessions(self) -> pd.DataFrame:
        """All backends, longest transaction first; columns ``SESSION_COLUMNS``, ages in seconds."""
        return self._frame("sessions", SESSION_COLUMNS, application_role=self._application_role)

    @reads("locks of blockers")
    def get_locks(self) -> pd.DataFrame:
        """What sessions that block others hold: pid, lock_type, relation, mode, waiting (locks that wait for it)."""
        return self._frame("locks_of_blockers", ["pid", "lock_type", "relation", "mode", "waiting"])

    @reads("prepared transactions")
    def get_prepared_transactions(self) -> pd.DataFrame:
        """Prepared transactions, oldest first: gid, role, database, prepared, age_seconds, locks, waiting."""
        columns = ["gid", "role", "database", "prepared", "age_seconds", "locks", "waiting"]
        return self._frame("prepared_transactions", columns)

    @reads("replication")
    def get_replication(self) -> pd.DataFrame:
        """Whoever follows this server's WAL, the furthest behind first; columns ``REPLICATION_COLUMNS``.

        ``kind`` is ``standby``, ``slot`` (nobody connected to it), ``commit`` (it waits for a standby) or ``this server`` (it is one).
        """
        return self._frame("replication", REPLICATION_COLUMNS)

    @reads("sequences")
    def get_sequences(self) -> pd.DataFrame:
        """Sequences of this database, the fullest first; columns ``SEQUENCE_COLUMNS``. One that may not be read has no ``share``."""
        return self._frame("sequences", SEQUENCE_COLUMNS)

    @reads("transaction ids")
    def get_transaction_ids(self) -> pd.DataFrame:
        """How much each database has used of its transaction ids, the most first; columns ``XID_COLUMNS``."""
        return self._frame("transaction_ids", XID_COLUMNS)

    @reads("read-only settings")
    def get_read_only(self) -> pd.DataFrame:
        """Whether new transactions of the application may write; one row, columns ``READ_ONLY_COLUMNS``.

        By a connection of its own: the source's other one makes itself read-only, which would hide it.
        """
        if self.copy:
            return pd.DataFrame(self.copy("read_only_settings"), columns=READ_ONLY_COLUMNS)
        if not self._dsn:
            raise SourceUnavailableError(self._missing, code=UNREACHABLE if self._stopped else None)
        try:
            dsn = (self.refused and self._reserve_dsn) or self._dsn
            with connect(dsn, limit_seconds=self.limit_seconds, read_only=False) as own, own.transaction():
                own.execute("SET TRANSACTION READ ONLY")
                rows = own.execute(read_sql("read_only"), {"application_role": self._application_role}).fetchall()
        except psycopg.Error as error:
            raise _unavailable(error) from None
        return pd.DataFrame(_readable(rows), columns=READ_ONLY_COLUMNS)

    @reads("table upkeep")
    def get_table_upkeep(self) -> pd.DataFrame:
        """Tables of this database, the most neglected first; columns ``UPKEEP_COLUMNS``, numbers of rows, ages in seconds.

        ``vacuum_at`` and ``analyze_at``: so many dead or changed rows autovacuum begins at. ``held_by``: the oldest snapshot, which
        keeps vacuum from removing rows; ``held_seconds`` is infinite for a replication slot that nobody uses.
        """
        return self._frame("table_upkeep", UPKEEP_COLUMNS)

    @reads("invalid indexes")
    def get_invalid_indexes(self) -> pd.DataFrame:
        """Indexes of this database that are not valid or not ready; columns ``INDEX_COLUMNS``."""
        return self._frame("invalid_indexes", INDEX_COLUMNS)

    @reads("archiver")
    def get_archiver(self) -> pd.DataFrame:
        """How archiving of the WAL goes; one row, columns ``ARCHIVER_COLUMNS``. What waits is not known without pg_monitor."""
        rows = self._rows("archiver")
        if rows and rows[0]["may_list"] and rows[0]["mode"] != "off":
            rows[0] |= self._rows("archive_backlog")[0]
        return pd.DataFrame(rows, columns=ARCHIVER_COLUMNS)

    @reads("log settings")
    def get_log_settings(self) -> pd.DataFrame:
        """Where PostgreSQL logs to, from which level on, in which language; one row, columns ``LOG_SETTING_COLUMNS``."""
        return self._frame("log_settings", LOG_SETTING_COLUMNS)

    @reads("trades by outcome")
    def get_trades(self, *, since: timedelta, recent_minutes: float) -> pd.DataFrame:
        """Trades since *since* ago by status, reason, symbol and side; columns ``TRADE_COLUMNS``, failures first."""
        window = {"since": since.total_seconds(), "recent": 60 * recent_minutes}
        return self._frame("trades_by_outcome", TRADE_COLUMNS, **window)

    @reads("failed trades per minute")
    def get_failed_trades_by_minute(self, *, since: timedelta) -> pd.DataFrame:
        """Failed and blocked trades, newest first: minute (UTC), status, reason, trades."""
        columns = ["minute", "status", "reason", "trades"]
        return self._frame("failed_trades_by_minute", columns, since=since.total_seconds())

    @reads("failed trades")
    def get_failed_trades(self, *, since: timedelta) -> pd.DataFrame:
        """The newest failed, blocked or long pending trades: id, symbol, side, status, error_message, created_at."""
        columns = ["id", "symbol", "side", "status", "error_message", "created_at"]
        return self._frame("failed_trades", columns, since=since.total_seconds())

    @reads("orders by status")
    def get_orders(self, *, since: timedelta, late_seconds: float) -> pd.DataFrame:
        """Orders since *since* ago by status; columns ``ORDER_COLUMNS``, those without an outcome first.

        ``state`` is open, closed or not understood; ``late`` is how many are older than *late_seconds*, and the ages are theirs.
        """
        return self._frame("orders_by_status", ORDER_COLUMNS, since=since.total_seconds(), late=late_seconds)

    @reads("repeated orders")
    def get_repeated_orders(self, *, recent_minutes: float, within_seconds: float = 1.0) -> pd.DataFrame:
        """Recent orders, those that were placed again first; columns ``REPEATED_COLUMNS``.

        ``again``: the same order less than *within_seconds* before; ``same_id``: a client's order id that stood there already. Without
        a column for the account or the quantity these are None.
        """
        return self._frame("repeated_orders", REPEATED_COLUMNS, recent=60 * recent_minutes, within=within_seconds)

    @reads("order rates")
    def get_order_rates(self, *, recent_minutes: float) -> pd.DataFrame:
        """Orders a minute by account and symbol, the most recent ones first; columns ``RATE_COLUMNS``, ``before`` is in the hour before."""
        return self._frame("order_rates", RATE_COLUMNS, recent=60 * recent_minutes)

    @reads("orders here")
    def get_booked_orders(self, *, minutes: float) -> pd.DataFrame:
        """Orders of that time one by one, the newest first; columns ``BOOKED_COLUMNS``. ``state`` is filled or not filled."""
        return self._frame("booked_orders", BOOKED_COLUMNS, since=60 * minutes)

    @reads("connection limits")
    def get_connection_limits(self) -> ConnectionLimits:
        """The server's connection slots and how many are taken."""
        row = self._rows("connection_limits")[0]
        return ConnectionLimits(**row, through_reserve=self.refused is not None)

    @reads("the database's clock")
    def get_clock(self) -> pd.DataFrame:
        """One row, columns ``CLOCK_COLUMNS``: ``clock_timestamp()`` against this machine's clock, half-way through the question."""
        began, started = datetime.now(UTC), time.monotonic()
        said = self._rows("clock")[0]["now"]
        took = time.monotonic() - started
        ahead = (said - began).total_seconds() - took / 2
        return pd.DataFrame([("postgres", ahead, took / 2, "")], columns=CLOCK_COLUMNS)

    @reads("settings that wait for a restart")
    def get_pending_settings(self) -> pd.DataFrame:
        """Columns ``SETTING_COLUMNS``; ``source`` is the file's name where that may be seen."""
        return self._frame("pending_settings", SETTING_COLUMNS)

    @reads("database migrations")
    def get_migrations(self) -> pd.DataFrame:
        """Migrations by the tables of Alembic, Django, Flyway and the like, newest first: table, version, applied_at.

        ``applied_at`` is None where the table does not tell; no row where there is no such table.
        """
        rows = []
        for table in self._rows("migration_tables"):
            query = sql.SQL("SELECT to_jsonb(t) AS row FROM {} t LIMIT 5000")
            name = sql.Identifier(table["schema"], table["table"])
            for found in self._fetch(query.format(name), {}):
                version, at = (_first(found["row"], keys) for keys in (_VERSION_KEYS, _TIME_KEYS))
                rows.append((table["table"], str(version), at))
        frame = pd.DataFrame(rows, columns=["table", "version", "applied_at"])
        return frame.sort_values(["applied_at", "version"], ascending=False, na_position="last", ignore_index=True)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _frame(self, name: str, columns: list[str], **values: Any) -> pd.DataFrame:
        return pd.DataFrame(self._rows(name, **values), columns=columns)

    def _rows(self, name: str, **values: Any) -> list[dict[str, Any]]:
        if self.copy:
            found: list[dict[str, Any]] = self.copy(name, **values)
            return found
        return self._fetch(read_sql(name), {"rows": self.limit_rows, **values})

    def _fetch(self, query: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._lock:
            try:
                connection = self._connected()
                if connection.prepare_threshold is not None:
                    return _readable(connection.execute(query, values).fetchall())
                # Behind a pooler each transaction may run on another server connection, with other limits.
                with connection.transaction():
                    connection.execute(
                        f"SET LOCAL statement_timeout = {int(self.limit_seconds * 1000)}; SET TRANSACTION READ ONLY"
                    )
                    return _readable(connection.execute(query, values).fetchall())
            except psycopg.Error as error:
                self.close()
                raise _unavailable(error) from None

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> psycopg.Connection[dict[str, Any]]:
        if not self._dsn:
            raise SourceUnavailableError(self._missing, code=UNREACHABLE if self._stopped else None)
        try:
            connection = connect(self._dsn, limit_seconds=self.limit_seconds)
            self.refused = None
            return connection
        except SourceUnavailableError as error:
            if error.code != TOO_MANY_CONNECTIONS:
                raise
            self.refused = str(error)
            if not self._reserve_dsn:
                raise
            return connect(self._reserve_dsn, limit_seconds=self.limit_seconds)


_VERSION_KEYS = ("version_num", "version", "name", "script")
_TIME_KEYS = ("applied_at", "applied", "installed_on", "inserted_at", "executed_at", "created_at")


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*rows* with text as text: of a database in SQL_ASCII it comes as bytes, of whatever encoding."""
    return [
        {name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in row.items()}
        for row in rows
    ]


def _unavailable(error: psycopg.Error) -> SourceUnavailableError:
    """The error of psycopg in one line, with a code."""
    text = " ".join(str(error).split())
    if (error.sqlstate or "")[:2] == "42":  # a table or a column that this database does not have
        text = f"postgres answered: {error.diag.message_primary}; docs/settings.md says what is read"
        return SourceUnavailableError(text, code=error.sqlstate)
    return SourceUnavailableError(f"postgres did not answer: {text}; run 'flowrex-ops doctor'", code=_code(error, text))


def _code(error: psycopg.Error, text: str) -> str | None:
    """The SQLSTATE. libpq gives none for a refused connect, so there its text decides."""
    if error.sqlstate is not None or not isinstance(error, psycopg.OperationalError):
        return error.sqlstate
    for part, code in _CONNECT_FAILURES.items():
        if part in text:
            return code
    return ANSWERED if "FATAL:" in text else UNREACHABLE


_CONNECT_FAILURES = {
    "too many clients": TOO_MANY_CONNECTIONS,
    "remaining connection slots": TOO_MANY_CONNECTIONS,
    "too many connections": TOO_MANY_CONNECTIONS,
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "does not exist": "3D000",
    "the database system is starting up": "57P03",
    "the database system is shutting down": "57P03",
    "the database system is in recovery mode": "57P03",
}
"""What the server says when it does answer, but not with a connection (PostgreSQL: appendix A, error codes)."""
