"""The replicas' connection pools, summed up from samples of their gauges."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks.sessions import IDLE_IN_TRANSACTION, application_sessions

POOL_SUMMARY_COLUMNS = ["replica", "in_use", "maximum", "full_share", "queued", "errors", "answered"]


def summarise_pools(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a replica over the window: the least and usual use, and how many requests had to queue.

    ``in_use`` is the median, ``full_share`` the share of samples in which every connection was taken (0 to 1),
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


def leaking_replicas(samples: pd.DataFrame, sessions: pd.DataFrame, *, idle_after_seconds: float) -> list[str]:
    """Replicas that hold connections nobody uses: idle in a transaction, or taken from the pool and never given back.

    *sessions* carries the column ``replica`` (``sessions.with_replica``).
    """
    mine = application_sessions(sessions)
    old = mine["state_age_seconds"].ge(idle_after_seconds)
    in_transaction = set(mine[old & mine["state"].isin(IDLE_IN_TRANSACTION)]["replica"])
    idle = mine[old & mine["state"].eq("idle")].groupby("replica").size()
    full = summarise_pools(samples)
    full = full[full["full_share"].ge(1.0)]
    taken_idle = {row.replica for row in full.itertuples() if 2 * idle.get(row.replica, 0) >= row.in_use > 0}
    return sorted((in_transaction | taken_idle) - {""})
