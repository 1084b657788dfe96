"""The replicas' connection pools, summed up from samples of their gauges."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks.sessions import IDLE_IN_TRANSACTION, application_sessions

POOL_SUMMARY_COLUMNS = ["replica", "in_use", "maximum", "full_share", "waiting", "queued", "errors", "answered"]
FULL_SHARE = 0.5
"""A pool counts as full when it was so in at least this share of the samples: bursts are not saturation."""
BETWEEN_SECONDS = 2.0
"""A session that has been idle for less is between two statements of whoever works with it."""


def summarise_pools(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a replica over the window: the least and usual use, and how many requests had to queue.

    ``in_use`` and ``waiting`` are medians, ``full_share`` the share of samples in which every connection was taken (0 to 1),
    ``queued`` and ``errors`` the growth of their counters within the window, ``answered`` whether it answered last.
    """
    rows = [_summarise(replica, group) for replica, group in samples.groupby("replica", sort=True)]
    return pd.DataFrame(rows, columns=POOL_SUMMARY_COLUMNS)


def _summarise(replica: object, group: pd.DataFrame) -> dict[str, object]:
    ordered = group.sort_values("at")
    good = ordered[ordered["error"].isna()]
    known = good.dropna(subset=["in_use", "maximum"])
    full = known["in_use"].ge(known["maximum"]) & known["maximum"].gt(0)
    return {
        "replica": replica,
        "in_use": float(good["in_use"].median()) if len(good) else float("nan"),
        "maximum": float(known["maximum"].max()) if len(known) else float("nan"),
        "full_share": float(full.mean()) if len(known) else float("nan"),
        "waiting": float(good["waiting"].astype(float).median()) if len(good) else float("nan"),
        "queued": _growth(good["queued"]),
        "errors": _growth(good["errors"]),
        "answered": bool(len(good)) and ordered["error"].isna().iloc[-1],
    }


def _growth(counter: pd.Series) -> float:
    """How much a counter grew; a restart resets it, and then what it has since counts (Prometheus: counter resets)."""
    values = counter.dropna().astype(float)
    steps = values.diff().dropna()
    after_reset = values.iloc[1:][steps.lt(0)]
    return float(steps[steps.ge(0)].sum() + after_reset.sum())


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
