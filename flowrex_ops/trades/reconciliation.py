"""The broker's books beside ours: which orders it has filled that we call failed or do not know, and the reverse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks import blank, check, confirmed, inconclusive, missing, percent, ruled_out, unreported, whole
from flowrex_ops.model import Evidence, Reading, Severity, Verdict

FILL_COLUMNS = ["filled_at", "client_order", "instrument", "units", "price", "transaction", "reason"]
_HERE = ["id", "client_order", "account", "symbol", "side", "quantity", "status", "created_at"]
SIDES_COLUMNS = ["differs", *FILL_COLUMNS, *(name for name in _HERE if name != "client_order")]
NO_ORDER, NO_FILL = "filled at the broker, and no order here", "filled here, and not at the broker"
EARLIER = "filled at the broker, and placed before the time that is looked at, if at all"
"""A limit or stop order may rest for days before it is filled; only a market order is placed and filled at one time."""
_MANY = 10
"""From so many orders that differ on it is P1, of however many others."""


@dataclass(frozen=True, slots=True)
class Fills:
    """What the broker filled between two times of its own clock; columns ``FILL_COLUMNS``, a row a fill."""

    table: pd.DataFrame
    begins_at: datetime
    until: datetime


def parse_fills(transactions: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """OANDA's ``ORDER_FILL`` transactions (https://developer.oanda.com/rest-live-v20/transaction-df/) as ``FILL_COLUMNS``.

    ``client_order`` is the id that we gave the order; the broker's own fills (stops, margin) and those made by hand have none.
    """
    names = ("time", "clientOrderID", "instrument", "units", "price", "id", "reason")
    rows = [tuple(one.get(name) for name in names) for one in transactions if one.get("type") == "ORDER_FILL"]
    table = pd.DataFrame(rows, columns=FILL_COLUMNS).drop_duplicates("transaction")
    return table.assign(filled_at=pd.to_datetime(table["filled_at"], utc=True, format="ISO8601"))


def compare(fills: Fills, booked: Reading[pd.DataFrame], settle_seconds: float) -> pd.DataFrame:
    """Both sides, a row an order, columns ``SIDES_COLUMNS``; ``differs`` says how, and is empty where they agree.

    By the id that we gave the order: the client's own where the table has a column for it, else the row's. What is younger than
    *settle_seconds* may still be on its way, and what is older than either list reaches back is left out.
    """
    there = whole(fills.table, FILL_COLUMNS)
    there = there[there["client_order"].fillna("").ne("")].drop_duplicates("client_order")
    here = whole(booked.require() if booked.available else pd.DataFrame(), [*_HERE, "state"])
    placed = pd.to_datetime(here["created_at"], utc=True, errors="coerce")
    settled = timedelta(seconds=settle_seconds)
    begin = max(fills.begins_at, placed.min()) if booked.truncated else fills.begins_at
    begin, end = begin + settled, fills.until - settled
    key = here["client_order"].fillna("").astype(str)
    here = here.assign(key=key.where(key.ne(""), here["id"].astype(str)), created_at=placed)
    here = here.rename(columns={"client_order": "own_id"}).drop_duplicates("key")
    sides = there.assign(client_order=there["client_order"].astype(str)).merge(
        here, how="outer", left_on="client_order", right_on="key"
    )
    sides["client_order"] = sides["client_order"].fillna(sides["key"])
    at_broker, known = sides["filled_at"].notna(), sides["key"].notna()
    counts = sides["filled_at"].between(begin, end) | (~at_broker & sides["created_at"].between(begin, end))
    differs = "filled at the broker, '" + sides["status"].fillna("").astype(str) + "' here"
    at_market = sides["reason"].eq("MARKET_ORDER")
    differs = differs.mask(~known & at_market, NO_ORDER).mask(~known & ~at_market, EARLIER).where(at_broker, NO_FILL)
    agree = sides["state"].eq("filled") == at_broker
    sides["differs"] = differs.mask(known & agree, "")
    return sides.loc[counts, SIDES_COLUMNS].sort_values(["differs", "client_order"], ascending=[False, True])


@check("trades.unreconciled")
def check_unreconciled(
    fills: Reading[Fills], booked: Reading[pd.DataFrame], *, settle_seconds: float = 10.0, failed_ratio: float = 0.02
) -> Verdict:
    """What the broker has filled stands here as filled, and the reverse, for orders that had *settle_seconds* to settle."""
    cause = "trades.unreconciled"
    if missing(fills, booked):
        return inconclusive(cause, fills, booked)
    sides, rows = compare(fills.require(), booked, settle_seconds), booked.require()
    both = sides["filled_at"].notna() & sides["id"].notna()
    if unclear := _cannot_compare(fills.require(), rows, sides):
        return inconclusive(cause, unclear)
    earlier = sides["differs"].eq(EARLIER)
    differ = sides[sides["differs"].ne("") & ~earlier]
    alone = differ["differs"].eq(NO_FILL)
    filled = int(alone.sum() + both.sum())
    elsewhere = int(alone.sum()) if alone.sum() > filled / 2 else 0
    if len(differ := differ[~alone] if elsewhere else differ):
        return _confirmed(cause, differ, len(sides), failed_ratio)
    unclear = f"{elsewhere} of {filled} orders that are filled here are not at this account of the broker; is it the only one?"
    if not elsewhere:
        lost = unreported(rows, "state", "created_at")
        unclear = f"the table of trades does not tell the {lost} of every order" if lost else ""
        unclear = unclear or (
            f"fills of limit or stop orders that were placed earlier, if they are here: {earlier.sum()}; look further back"
            if earlier.any()
            else ""
        )
    if unclear or not both.any():
        return inconclusive(
            cause, unclear or "no order was filled in that time, neither here nor there; look further back"
        )
    own = _nameless(fills.require())
    others = f"; fills that are none of ours (stops, margin, by hand): {own}" if own else ""
    return ruled_out(cause, f"filled here and at the broker: {both.sum()} of {filled} orders{others}")


def _nameless(fills: Fills) -> int:
    return int(whole(fills.table, FILL_COLUMNS)["client_order"].fillna("").eq("").sum())


def _cannot_compare(fills: Fills, rows: pd.DataFrame, sides: pd.DataFrame) -> str:
    """Why nothing can be said at all; empty where it can."""
    lost = blank(rows, "id", "state", "created_at") if len(rows) else ""
    if lost:
        return f"the table of trades tells the {lost} of none"
    there, here = sides["filled_at"].notna(), sides["id"].notna()
    if not there.any() and (own := _nameless(fills)):
        return f"{own} fills at the broker, none with an order id of ours; send clientExtensions.id with each order"
    if there.any() and len(rows) and not (there & here).any():
        return f"none of {there.sum()} fills at the broker has the id of an order here; compare by account, symbol and time"
    return ""


def _confirmed(cause: str, differ: pd.DataFrame, of: int, failed_ratio: float) -> Verdict:
    evidence = [
        Evidence(
            str(kind), f"{len(part)}: {', '.join(part['client_order'].astype(str).head(8))}", "broker, postgres: trades"
        )
        for kind, part in sorted(differ.groupby("differs"), key=lambda item: -len(item[1]))
    ]
    severe = len(differ) >= _MANY or len(differ) >= failed_ratio * of
    title = f"{len(differ)} of {of} orders differ between the broker and here: {evidence[0].name}"
    reason = f"{title} ({percent(len(differ) / max(1, of))})"
    return confirmed(cause, reason, evidence[:8], severity=Severity.P1 if severe else Severity.P2, title=title)
