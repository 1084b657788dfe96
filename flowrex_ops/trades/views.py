"""Trades counted: which kind of trouble each one that was not filled is attributed to, and how many of those there are lately.

Attributed by the error that was stored with the trade; what the broker says when asked now comes beside it. A message
that is not understood makes the hypotheses inconclusive. 429 counts as rejected; 5xx and nonsense as unreachable.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from flowrex_ops.logs.broker_errors import classify
from flowrex_ops.metrics.backend import FAILED_TRADES, TRADES

FAILED, BLOCKED = "failed", "blocked"
KINDS = {
    "database": "database",
    "credentials": "broker: credentials",
    "unreachable": "broker: unreachable",
    "timeout": "broker: too slow",
    "rejected": "broker: rejected",
    "risk": "risk limit (as meant)",
    "other": "not understood",
}
"""Every kind of trouble as people read it; each failed trade is attributed to one."""


def attributed(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades that failed or were blocked, each with the ``kind`` of trouble it is attributed to, by its message.

    Takes ``PostgresSource.get_trades`` or ``get_failed_trades_by_minute``. What the risk engine blocked is always ``risk``.
    """
    trouble = trades[trades["status"].isin([FAILED, BLOCKED])]
    kinds = [
        "risk" if row.status == BLOCKED else classify(str(row.reason or "")) for row in trouble.itertuples(index=False)
    ]
    return trouble.assign(kind=pd.Series(kinds, index=trouble.index, dtype=object))


def recent_of(trades: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The recent trouble of one kind, most of it first."""
    found = attributed(trades)
    found = found[found["kind"].eq(kind) & found["recent"].gt(0)]
    return found.sort_values(["recent", "reason", "symbol", "side"], ascending=[False, True, True, True])


def all_recent(trades: pd.DataFrame) -> int:
    """How many trades were attempted recently, whatever came of them."""
    most = trades["all_recent"].max() if len(trades) else 0
    return 0 if pd.isna(most) else int(most)


def blocked_by(trades: pd.DataFrame, number: int) -> tuple[int, int]:
    """Failed and attempted recent trades, as far as one cause that failed *number* of them answers for it: all, where it has most."""
    failed = int(trades.loc[trades["status"].eq(FAILED), "recent"].sum())
    return (failed if 2 * number >= failed else number), all_recent(trades)


def count_reasons(trades: pd.DataFrame) -> pd.DataFrame:
    """Trades not filled, by kind of trouble and reason: kind, reason, trades, recent, symbols, first_at, last_at."""
    found = attributed(trades)
    columns = ["kind", "reason", "trades", "recent", "symbols", "first_at", "last_at"]
    if found.empty:
        return pd.DataFrame(columns=columns)
    grouped = found.groupby(["kind", "reason"], as_index=False).agg(
        trades=("trades", "sum"),
        recent=("recent", "sum"),
        symbols=("symbol", lambda names: ", ".join(sorted({str(name) for name in names}))),
        first_at=("first_at", "min"),
        last_at=("last_at", "max"),
    )
    return grouped.sort_values(["recent", "trades"], ascending=False)[columns]


def count_symbols(trades: pd.DataFrame) -> pd.DataFrame:
    """Recent trades by symbol: symbol, side, recent, failed, blocked, rejected, rejected_share (of the symbol's)."""
    columns = ["symbol", "side", "recent", "failed", "blocked", "rejected", "rejected_share"]
    named = {"symbol": "(not told)", "side": "(not told)"}
    marked = trades.join(attributed(trades)["kind"]).fillna(named)
    rows = []
    for (symbol, side), part in marked.groupby(["symbol", "side"], sort=True):
        recent = int(part["recent"].sum())
        rejected = _sum(part, part["kind"].eq("rejected"))
        failed, blocked = (_sum(part, part["status"].eq(status)) for status in (FAILED, BLOCKED))
        rows.append((symbol, side, recent, failed, blocked, rejected, rejected / recent if recent else 0.0))
    return pd.DataFrame(rows, columns=columns)


def _sum(part: pd.DataFrame, chosen: Any) -> int:
    return int(part.loc[chosen, "recent"].sum())


def placed_again(repeated: pd.DataFrame) -> pd.DataFrame:
    """Of ``PostgresSource.get_repeated_orders`` what was placed again, without the totals."""
    found = repeated[repeated["again"].gt(0) | repeated["same_id"].gt(0)]
    return found.drop(columns=["all_orders", "all_again"])


def growth(counters: pd.DataFrame) -> pd.DataFrame:
    """How much each counter grew over the window, over all replicas: counter, label, grown.

    Takes ``BackendSource.sample_trades``. A counter that fell belongs to a replica that was restarted meanwhile.
    """
    reported = counters[counters["error"].isna() & counters["value"].notna()].sort_values("at")
    grown: dict[tuple[str, str], float] = {}
    for (counter, label, _), part in reported.groupby(["counter", "label", "replica"]):
        steps = part["value"].astype(float).diff().clip(lower=0).sum()
        grown[counter, label] = grown.get((counter, label), 0.0) + float(steps)
    rows = [(counter, label, amount) for (counter, label), amount in sorted(grown.items())]
    return pd.DataFrame(rows, columns=["counter", "label", "grown"])


def grown_only(counters: pd.DataFrame) -> pd.DataFrame:
    """``growth`` without the kinds of failure that did not happen; what was filled and what failed always stands there."""
    grown = growth(counters)
    return grown[grown["grown"].gt(0) | grown["counter"].eq(TRADES)]


def broker_places(checks: pd.DataFrame) -> pd.DataFrame:
    """A broker check as people read it: place, connected (yes or no), milliseconds, kind, error."""
    return pd.DataFrame(
        {
            "place": checks["place"],
            "connected": checks["connected"].map({True: "yes", False: "no"}),
            "milliseconds": checks["seconds"].mul(1000).round().astype(int),
            "kind": checks["kind"],
            "error": checks["error"],
        }
    )


def failing_now(counters: pd.DataFrame, kind: str) -> int:
    """How many trades failed of that kind while the counters were sampled."""
    grown = growth(counters)
    failed = grown[grown["counter"].eq(FAILED_TRADES)]
    return int(sum(row.grown for row in failed.itertuples() if classify(str(row.label)) == kind))


def attempted_now(counters: pd.DataFrame) -> int:
    """How many trades were attempted while the counters were sampled; 0 also where the backend does not count them."""
    grown = growth(counters)
    return int(grown.loc[grown["counter"].eq(TRADES), "grown"].sum())
