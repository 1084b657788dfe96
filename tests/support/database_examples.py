"""Readings made by hand: what the sources would say, in as few words as an example needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.metrics.backend import POOL_COLUMNS
from flowrex_ops.model import LogLine, Reading
from flowrex_ops.postgres.server_log import count_events
from flowrex_ops.postgres.source import (
    ARCHIVER_COLUMNS,
    INDEX_COLUMNS,
    LOG_SETTING_COLUMNS,
    READ_ONLY_COLUMNS,
    REPLICATION_COLUMNS,
    SEQUENCE_COLUMNS,
    SESSION_COLUMNS,
    UPKEEP_COLUMNS,
    XID_COLUMNS,
    ConnectionLimits,
)

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)


def session(pid: int, **facts: Any) -> dict[str, Any]:
    """One backend of the application, idle, unless *facts* say otherwise."""
    row: dict[str, Any] = dict.fromkeys(SESSION_COLUMNS)
    row |= {
        "pid": pid,
        "backend_start": NOW - timedelta(hours=1),
        "backend_type": "client backend",
        "role": "flowrex",
        "application_role": True,
        "superuser": False,
        "replication": False,
        "application": f"flowrex-backend-{pid % 3 + 1}",
        "database": "flowrex",
        "client": "10.0.0.1",
        "state": "idle",
        "state_age_seconds": 0.1,
        "query_age_seconds": 0.1,
        "blocked_by": [],
        "own": False,
        "query": "SELECT 1",
    }
    return row | facts


def idle_in_transaction(pid: int, seconds: float, **facts: Any) -> dict[str, Any]:
    ages = {"state_age_seconds": seconds, "xact_age_seconds": seconds, "query_age_seconds": seconds}
    return session(pid, state="idle in transaction", xact_start=NOW - timedelta(seconds=seconds), **ages, **facts)


def running(pid: int, seconds: float, **facts: Any) -> dict[str, Any]:
    ages = {"query_age_seconds": seconds, "xact_age_seconds": seconds, "state_age_seconds": seconds}
    return session(pid, state="active", xact_start=NOW - timedelta(seconds=seconds), **ages, **facts)


def waiting(pid: int, seconds: float, *blockers: int, **facts: Any) -> dict[str, Any]:
    return running(pid, seconds, wait_event_type="Lock", blocked_by=list(blockers), **facts)


def sessions(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    return Reading("postgres", "sessions", pd.DataFrame(list(rows), columns=SESSION_COLUMNS))


def standbys(*rows: tuple[str, str, str | None, str | None, float | None, float | None]) -> Reading[pd.DataFrame]:
    """Whoever follows the server: kind, name, state, whether commits wait for it, bytes and seconds behind."""
    return Reading("postgres", "replication", pd.DataFrame(list(rows), columns=REPLICATION_COLUMNS))


def sequences(*shares: float | None) -> Reading[pd.DataFrame]:
    """Sequences of integer keys that have used so much; None may not be read."""
    most = 2_147_483_647
    rows = [
        (
            f"public.audit_{n}_id_seq",
            f"audit_{n}.id",
            "integer",
            most,
            None if share is None else round(share * most),
            share,
        )
        for n, share in enumerate(shares)
    ]
    return Reading("postgres", "sequences", pd.DataFrame(rows, columns=SEQUENCE_COLUMNS))


def ages(**millions: float) -> Reading[pd.DataFrame]:
    """Databases, and how many million transactions old they are."""
    rows = [
        (name, age * 1e6, 1000.0, 2e8, "replication slot old, 9 transactions old") for name, age in millions.items()
    ]
    return Reading("postgres", "transaction ids", pd.DataFrame(rows, columns=XID_COLUMNS))


def read_only(
    *, by: str | None = None, source: str = "default", recovery: bool = False, own: bool = True
) -> Reading[pd.DataFrame]:
    """Whether new transactions may write: set *by* an ALTER for the application, or seen by whoever asks (*own*: as the application)."""
    rows = [(recovery, source != "default", source, own, by)]
    return Reading("postgres", "read-only settings", pd.DataFrame(rows, columns=READ_ONLY_COLUMNS))


def table(name: str = "public.trades", **facts: Any) -> dict[str, Any]:
    """A table of 200,000 rows that autovacuum looks after, unless *facts* say otherwise."""
    row = dict.fromkeys(UPKEEP_COLUMNS) | {
        "table": name,
        "rows": 200_000.0,
        "dead": 900.0,
        "vacuum_at": 40_050.0,
        "vacuumed_seconds": 7200.0,
        "changed": 700.0,
        "analyze_at": 20_050.0,
        "analyzed_seconds": 3600.0,
        "has_statistics": True,
        "counters_lost": False,
        "autovacuum": "on",
    }
    return row | facts


def upkeep(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    return Reading("postgres", "table upkeep", pd.DataFrame(list(rows), columns=UPKEEP_COLUMNS))


def indexes(*locked_by: str | None, ready: bool = True) -> Reading[pd.DataFrame]:
    """Invalid indexes, and who holds the lock of whoever builds one."""
    rows = [(f"public.trades_{n}_idx", "trades", ready, who) for n, who in enumerate(locked_by)]
    return Reading("postgres", "invalid indexes", pd.DataFrame(rows, columns=INDEX_COLUMNS))


def archiver(
    archived: float | None, failed: float | None, *, waiting: float | None = 0, mode: str = "on", **facts: Any
) -> Reading[pd.DataFrame]:
    """How long ago a WAL file was archived, and a try failed."""
    row = dict.fromkeys(ARCHIVER_COLUMNS) | {
        "mode": mode,
        "configured": True,
        "in_recovery": False,
        "archived": 90,
        "failed": 0 if failed is None else 12,
        "archived_seconds": archived,
        "failed_seconds": failed,
        "failed_wal": failed and "00000001000000000000002A",
        "waiting": waiting,
        "wal_bytes": waiting and 16 * 1024 * 1024 * waiting,
    }
    return Reading("postgres", "archiver", pd.DataFrame([row | facts], columns=ARCHIVER_COLUMNS))


def server_log(*texts: str, ago: float | None = 1.0) -> Reading[pd.DataFrame]:
    """What PostgreSQL's log tells that holds these lines, so many minutes *ago*, or in lines without a time."""
    at = None if ago is None else NOW - timedelta(minutes=ago)
    lines = [LogLine("postgres", "postgres-1", f"{NOW:%F %T.000} UTC [42] {text}", at) for text in texts]
    return Reading("logs", "PostgreSQL's log", count_events(lines, recent_since=NOW - timedelta(minutes=10)))


def log_settings(destination: str = "stderr", collector: str = "off", least: str = "warning") -> Reading[pd.DataFrame]:
    rows = [(destination, collector, least, "C")]
    return Reading("postgres", "log settings", pd.DataFrame(rows, columns=LOG_SETTING_COLUMNS))


def locks(*rows: tuple[int, str, str, str, int]) -> Reading[pd.DataFrame]:
    columns = ["pid", "lock_type", "relation", "mode", "waiting"]
    return Reading("postgres", "locks of blockers", pd.DataFrame(list(rows), columns=columns))


def prepared(*rows: tuple[str, float, int]) -> Reading[pd.DataFrame]:
    """Prepared transactions: gid, age in seconds, how many wait for it."""
    columns = ["gid", "role", "database", "prepared", "age_seconds", "locks", "waiting"]
    full = [(gid, "flowrex", "flowrex", NOW, age, "trades", wait) for gid, age, wait in rows]
    return Reading("postgres", "prepared transactions", pd.DataFrame(full, columns=columns))


def limits(
    used: int, most: int = 40, *, through_reserve: bool = False, own: tuple[str, int, int] | None = None
) -> Reading[ConnectionLimits]:
    """*own*: which role or database has a limit of its own, which, and how many it has."""
    name, own_most, own_used = own or (None, None, None)
    slots = ConnectionLimits(most, 3, 0, used, "18.6", "flowrex", True, through_reserve, name, own_most, own_used)  # noqa: FBT003  # a field without a name here
    return Reading("postgres", "connection limits", slots, taken_at=NOW)


def pools(
    *in_use: float, maximum: float | None = 5.0, samples: int = 3, waiting_requests: float = 0.0
) -> Reading[pd.DataFrame]:
    """One number a replica, the same in every sample."""
    rows = [
        {
            "at": NOW + timedelta(seconds=at),
            "replica": f"backend-{n}",
            "error": None,
            "in_use": used,
            "maximum": maximum,
            "waiting": waiting_requests,
        }
        for at in range(samples)
        for n, used in enumerate(in_use, start=1)
    ]
    return Reading("backend", "pool gauges", pd.DataFrame(rows, columns=POOL_COLUMNS))


def silent(
    what: str = "sessions", error: str = "postgres did not answer in 5 s", code: str | None = "timeout"
) -> Reading[Any]:
    return Reading("postgres", what, error=error, code=code)
