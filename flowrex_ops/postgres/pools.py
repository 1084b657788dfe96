"""The replicas' connection pools beside PostgreSQL's sessions: connections that were lost, or that nobody uses.

Behind a pooler few sessions serve many slots; then only pools without any work are called leaking.
"""

from __future__ import annotations

import pandas as pd

from flowrex_ops.metrics.pools import summarise_pools
from flowrex_ops.postgres.sessions import IDLE_IN_TRANSACTION, application_sessions

BETWEEN_SECONDS = 2.0
"""A session that has been idle for less is between two statements of whoever works with it."""


def at_work(sessions: pd.DataFrame) -> pd.Series:
    """True for sessions that do something, or did a moment ago."""
    busy = sessions["state"].isin(["active", "fastpath function call", *IDLE_IN_TRANSACTION])
    return busy | (sessions["state"].eq("idle") & sessions["state_age_seconds"].lt(BETWEEN_SECONDS))


def count_lost(full: pd.DataFrame, sessions: pd.DataFrame) -> int:
    """Connections that *full* pools count as taken, and PostgreSQL has no session for: ended there, and never given back.

    SQLAlchemy keeps the slot of such a connection until whoever took it out gives it back. Where sessions come from addresses
    that are no replica's (a pooler between them, which lends few sessions to many), none is said to be lost while any is at work.
    """
    mine = application_sessions(sessions)
    replicas = mine["replica"].fillna("") if "replica" in mine else pd.Series("", index=mine.index)
    if replicas.eq("").any() and at_work(mine).any():
        return 0
    of_these = mine[replicas.isin(full["replica"]) | replicas.eq("")]
    return int(max(0.0, float(full["in_use"].sum()) - len(of_these)))


def leaking_replicas(samples: pd.DataFrame, sessions: pd.DataFrame, *, idle_after_seconds: float) -> list[str]:
    """Replicas that hold connections nobody uses: idle in a transaction, never given back, or ended by the server.

    *sessions* carries the column ``replica`` (``sessions.with_replica``).
    """
    mine = application_sessions(sessions)
    old = mine["state_age_seconds"].ge(idle_after_seconds)
    in_transaction = set(mine[old & mine["state"].isin(IDLE_IN_TRANSACTION)]["replica"])
    idle = mine[old & mine["state"].eq("idle")].groupby("replica").size()
    full = summarise_pools(samples)
    full = full[full["full_share"].ge(1.0)]
    unused = {
        str(row.replica)
        for row in full.itertuples()
        if 2 * (idle.get(row.replica, 0) + count_lost(full[full["replica"].eq(row.replica)], sessions))
        >= row.in_use
        > 0
    }
    return sorted((in_transaction | unused) - {""})
