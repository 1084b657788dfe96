"""Which versions of a service ran when, which one came before, and whether the database has moved on since."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.model import Reading

HISTORY_COLUMNS = ["version", "replicas", "first_seen", "last_seen", "requests", "replaced"]


def history_of(
    replicas: Reading[pd.DataFrame], requests: Reading[AccessLog], *, service: str = "backend"
) -> pd.DataFrame:
    """``version_history`` of two readings; without the log only what runs is known, without replicas nothing is."""
    if not replicas.available:
        return pd.DataFrame(columns=HISTORY_COLUMNS)
    seen = requests.require().requests if requests.available else None
    return version_history(replicas.require(), seen, service=service)


def requests_by_version(requests: pd.DataFrame) -> pd.DataFrame:
    """Requests that each version answered in every bucket of the log: ``at`` (UTC), ``series`` (the version), ``value``."""
    answered = requests[requests["version"].fillna("").ne("")]
    counted = answered.groupby(["at", "version"], as_index=False)["requests"].sum()
    return counted.rename(columns={"version": "series", "requests": "value"})


def version_history(replicas: pd.DataFrame, requests: pd.DataFrame | None = None, *, service: str) -> pd.DataFrame:
    """Columns ``HISTORY_COLUMNS``, the newest first: which version runs where, and when the proxy saw answers of it (UTC).

    ``replaced`` is the version that was seen last before this one was first seen: what a release took the place of, whatever
    was tried and taken back earlier.

    *replicas* as ``services.get_replicas`` gives them, *requests* as the access log does; without it only what runs is known.
    """
    running = replicas[replicas["service"].eq(service) & replicas["state"].eq("running") & replicas["version"].ne("")]
    seen = [(row.version, row.started_at, row.started_at, 0, row.name) for row in running.itertuples(index=False)]
    if requests is not None and not requests.empty:
        answered = requests[requests["version"].fillna("").ne("")]
        seen += [(row.version, row.at, row.at, int(row.requests), "") for row in answered.itertuples(index=False)]
    frame = pd.DataFrame(seen, columns=["version", "first_seen", "last_seen", "requests", "replicas"])
    if frame.empty:
        return pd.DataFrame(columns=HISTORY_COLUMNS)
    grouped = frame.groupby("version", as_index=False).agg(
        replicas=("replicas", lambda names: ", ".join(sorted({name for name in names if name})) or "none"),
        first_seen=("first_seen", "min"),
        last_seen=("last_seen", "max"),
        requests=("requests", "sum"),
    )
    grouped["replaced"] = [_last_before(frame, row.version, row.first_seen) for row in grouped.itertuples(index=False)]
    return grouped.sort_values(["first_seen", "version"], ascending=False, ignore_index=True)[HISTORY_COLUMNS]


def _last_before(seen: pd.DataFrame, version: str, first_seen: datetime) -> str:
    """The version that was seen last until *first_seen*; of several at that moment the one that began last."""
    others = seen[seen["version"].ne(version) & seen["last_seen"].le(first_seen)]
    if others.empty:
        return ""
    latest = others[others["last_seen"].eq(others["last_seen"].max())]["version"].unique()
    began = seen[seen["version"].isin(latest)].groupby("version")["first_seen"].min()
    return str(began.sort_index(ascending=False).idxmax())


def current_version(history: pd.DataFrame) -> str:
    """Of the versions that run, the one that was seen first most recently; empty where none is known."""
    running = history[history["replicas"].ne("none")]
    return str(running["version"].iloc[0]) if len(running) else ""


def previous_version(history: pd.DataFrame) -> str:
    """The version that the current one took the place of; empty where none was seen."""
    replaced = history.set_index("version")["replaced"]
    return str(replaced.get(current_version(history), ""))


def migrations_between(migrations: pd.DataFrame | None, since: datetime | None) -> str:
    """What stands about migrations in a plan. *migrations* has ``table``, ``version``, ``applied_at`` (UTC or None), newest first.

    ``None`` for a database that could not be read; *since* is when the version to go back to was first seen.
    """
    if migrations is None:
        return "database migrations: unknown, the database could not be read"
    if migrations.empty:
        return "database migrations: unknown, no table of migrations was found; ask whoever made the release"
    newest = migrations.iloc[0]
    where = f"{newest['table']} is at {newest['version']}"
    times = pd.to_datetime(migrations["applied_at"], utc=True, errors="coerce")
    if times.isna().all() or since is None:
        return f"database migrations: unknown, {where} and does not tell when; ask whoever made the release"
    later = migrations[times >= pd.Timestamp(since)]
    if later.empty:
        return f"database migrations: none since then ({where})"
    listed = ", ".join(later["version"].astype(str).head(5))
    return f"WARNING: {len(later)} database migrations were applied since ({listed}); the older version may not fit the schema"
