"""The replicas' connection pools, summed up from samples of their gauges."""

from __future__ import annotations

import pandas as pd

POOL_SUMMARY_COLUMNS = ["replica", "in_use", "maximum", "full_share", "waiting", "queued", "errors", "answered"]
FULL_SHARE = 0.5
"""A pool counts as full when it was so in at least this share of the samples: bursts are not saturation."""


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
