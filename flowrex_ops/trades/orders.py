"""Orders that nobody calls failed: without an outcome for too long, placed again, or far too many."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, percent, ruled_out, unreported
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

Frame = Reading[pd.DataFrame]

_MANY = 10
"""From so many orders without an outcome on it is P1, of however many others."""
_TABLE = "postgres: trades"
_NOBODY = "no order was placed lately, so there is none to look at; look further back (since, recent_minutes)"


@check("trades.stuck")
def check_stuck(orders: Frame, *, stuck_after_seconds: float = 60.0, failed_ratio: float = 0.02) -> Verdict:
    """No order has been without an outcome for *stuck_after_seconds* or longer."""
    cause = "trades.stuck"
    if missing(orders):
        return inconclusive(cause, orders)
    rows = orders.require()
    late = rows[rows["late"].gt(0)]
    stuck, strange = late[late["state"].eq("open")], late[late["state"].eq("not understood")]
    of = _sum(rows["orders"])
    if len(stuck):
        number = _sum(stuck["late"])
        oldest = _age(stuck["oldest_seconds"].max())
        title = f"{number} {'orders are' if number > 1 else 'order is'} without an outcome, for up to {oldest}"
        severity = Severity.P1 if number >= _MANY or number >= failed_ratio * of else Severity.P2
        evidence = [_stuck(row) for _, row in stuck.iterrows()]
        reason = f"{title}, of {of} since then" if of else title
        return confirmed(cause, reason, evidence, severity=severity, title=title)
    if rows.empty:
        return inconclusive(cause, _NOBODY)
    if name := unreported(rows, "state", "orders", "late"):
        return inconclusive(cause, f"the table of trades does not tell the {name} of every order")
    if len(strange):
        words = ", ".join(f"'{status}'" for status in strange["status"].head(3))
        return inconclusive(
            cause, f"{_sum(strange['late'])} orders stand as {words}; whether that is an outcome is not known"
        )
    waiting = _sum(rows.loc[rows["state"].eq("open"), "orders"])
    return ruled_out(
        cause, f"{waiting} of {of} orders wait for their outcome, none for {stuck_after_seconds:g} s or longer"
    )


# To place an order again that failed is no duplicate (the reading leaves those out), and neither is one slice after another of a large order.
@check("trades.duplicated")
def check_duplicated(repeated: Frame, *, repeated_least: int = 3, repeated_ratio: float = 0.02) -> Verdict:
    """Next to no order is the same as one a moment before, and no client's order id stands there twice."""
    cause = "trades.duplicated"
    if missing(repeated):
        return inconclusive(cause, repeated)
    rows = repeated.require()
    if rows.empty:
        return inconclusive(cause, _NOBODY)
    blind = unreported(rows, "account", "quantity", "again", "all_again", "all_orders")
    again, of = (0, 0) if blind else (_sum(rows["all_again"].head(1)), _sum(rows["all_orders"].head(1)))
    same_id = _sum(rows["same_id"])
    often = not blind and bool(rows["again"].ge(repeated_least).any())
    if same_id or often or (again >= repeated_least and again >= repeated_ratio * of):
        number = max(again, same_id)
        title = f"{number} recent orders were placed again" + (" under an order id that stood there" if same_id else "")
        shown = rows[rows["again"].gt(0) | rows["same_id"].gt(0)].head(5)
        reason = f"{title}: {_order(shown.iloc[0])}" + (f" ({percent(number / of)} of {of})" if of else "")
        return confirmed(cause, reason, [_repeated(row) for _, row in shown.iterrows()], title=title)
    if blind:
        return inconclusive(
            cause, f"the table of trades does not tell the {blind} of every order; two alike may be two"
        )
    if unreported(rows, "same_id"):
        return inconclusive(cause, "whether a client's order id stands there twice is not known")
    return ruled_out(cause, f"{again} of {of} recent orders are the same as one a moment before")


# A market that moves makes everybody trade more, and an opening follows hours without an order: neither is one client's alone.
@check("trades.runaway-rate")
def check_runaway_rate(
    rates: Frame, *, runaway_per_minute: float = 60.0, runaway_factor: float = 10.0, runaway_share: float = 0.5
) -> Verdict:
    """No account places so many orders of one symbol a minute, that far above its hour before, that it is most of all."""
    cause = "trades.runaway-rate"
    if missing(rates):
        return inconclusive(cause, rates)
    rows = rates.require()
    if rows.empty or not rows["per_minute"].gt(0).any():
        return inconclusive(cause, _NOBODY)
    if name := unreported(rows, "account", "per_minute", "before", "all_per_minute", "all_before"):
        return inconclusive(cause, f"the table of trades does not tell the {name} of every order: whose are they?")
    most = rows[
        rows["per_minute"].ge(runaway_per_minute) & rows["per_minute"].ge(runaway_share * rows["all_per_minute"])
    ]
    # Of what it was among all before: where all trade ten times as much, its share stays.
    grown = most["before"] * (most["all_per_minute"] / most["all_before"].clip(lower=1 / 60)).clip(lower=1.0)
    far = most[most["per_minute"].ge(runaway_factor * most["before"]) & most["per_minute"].ge(2 * grown)]
    evidence = [
        Evidence(f"account {row.account}, {row.symbol}", f"{row.per_minute:.0f} orders a minute, {row.before:.1f} in the hour before; all: {row.all_per_minute:.0f}, and {row.all_before:.1f}", _TABLE)
        for row in (far if len(far) else rows.head(3)).itertuples()
    ]  # fmt: skip
    said = f"{evidence[0].name}: {evidence[0].value}"
    if len(far) and not rows["all_before"].gt(0).any():
        return inconclusive(cause, f"{said}: nobody traded before, so there is nothing to compare with; is it meant?")
    if len(far):
        first = far.iloc[0]
        title = f"Account {first['account']} places {first['per_minute']:.0f} orders of {first['symbol']} a minute"
        return confirmed(cause, said, evidence, title=title)
    return ruled_out(cause, f"the most are of {said}", evidence)


def _stuck(row: pd.Series) -> Evidence:
    ages = f"for {_age(row['newest_seconds'])} to {_age(row['oldest_seconds'])}"
    return Evidence(f"status '{row['status']}'", f"{row['late']} orders {ages}: {row['symbols']}", _TABLE)


def _repeated(row: pd.Series) -> Evidence:
    reported = (
        f"{row['orders']} orders, {row['again']} of them a moment after the one before, {row['same_id']} with its id"
    )
    return Evidence(_order(row), reported, _TABLE)


def _order(row: pd.Series) -> str:
    return f"account {row['account']}, {row['side']} {row['quantity']} {row['symbol']}"


def _sum(column: pd.Series) -> int:
    return int(pd.to_numeric(column).sum())


def _age(seconds: object) -> str:
    """``40 s`` or ``9 min``."""
    if not isinstance(seconds, int | float) or pd.isna(seconds):
        return "an unknown time"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  # two minutes
