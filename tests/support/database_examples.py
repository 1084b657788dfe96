"""Readings made by hand: what the sources would say, in as few words as an example needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.metrics.backend import POOL_COLUMNS
from flowrex_ops.model import Reading
from flowrex_ops.postgres.source import (
    READ_ONLY_COLUMNS,
    REPLICATION_COLUMNS,
    SEQUENCE_COLUMNS,
    SESSION_COLUMNS,
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


def locks(*rows: tuple[int, str, str, str, int]) -> Reading[pd.DataFrame]:
    columns = ["pid", "lock_type", "relation", "mode", "waiting"]
    return Reading("postgres", "locks of blockers", pd.DataFrame(list(rows), columns=columns))


def prepared(*rows: tuple[str, float, int]) -> Reading[pd.DataFrame]:
    """Prepared transactions: gid, age in seconds, how many wait for it."""
    columns = ["gid", "role", "database", "prepared", "age_seconds", "locks", "waiting"]
    full = [(gid, "flowrex", "flowrex", NOW, age, "trades", wait) for gid, age, wait in rows]
    return Reading("postgres", "prepared transactions", pd.DataFrame(full, columns=columns))


def limits(used: int, most: int = 40, *, through_reserve: bool = False) -> Reading[ConnectionLimits]:
    slots = ConnectionLimits(most, 3, 0, used, "18.6", "flowrex", True, through_reserve)  # noqa: FBT003
    return Reading("postgres", "connection limits", slots)


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
