"""Prices that stand still: what users see and orders are placed at is old, and nothing fails of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, unreported, whole
from flowrex_ops.durations import format_seconds
from flowrex_ops.metrics.market_data import PRICE_COLUMNS
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.services.third_party import PAGE_COLUMNS
from flowrex_ops.trades.views import attempted_now

Frame = Reading[pd.DataFrame]

AHEAD_SECONDS = 5.0
"""A price may come from so far in the future: a clock a little ahead, and the header Date has no fractions."""
_FRIDAY, _SATURDAY, _SUNDAY, _CLOSING_HOUR = 4, 5, 6, 22
_CLOSED = r"(?i)market[ _](?:is[ _])?(?:closed|halted)|\bhalted\b|not[ _]trad(?:e?able|ing)|outside[ _](?:of[ _])?trading[ _]hours"
"""In a broker's words: then there is no price that could move."""


@check("market-data.stale")
def check_stale(
    prices: Frame,
    scraped: Frame,
    booked: Frame,
    counters: Frame,
    trades: Frame,
    pages: Frame,
    *,
    stale_seconds: float = 30.0,
) -> Verdict:
    """The newest price of each symbol is younger than *stale_seconds*, by the replicas' own gauges, else by what Prometheus has *scraped*.

    A market that may be closed has no prices: orders that are filled show that it is open, orders at all that users think so.
    """
    cause = "market-data.stale"
    told = prices if prices.available else scraped
    if missing(told):
        return inconclusive(cause, prices, scraped)
    table = _aged(told)
    stands = table[table["age"].ge(stale_seconds) & table["moved_at"].eq(table["moved_before"])]
    if stands.empty:
        if unclear := _unclear(table, stale_seconds):
            return inconclusive(cause, unclear)
        oldest = table.loc[table["age"].idxmax()]
        said = f"the oldest newest price, of {oldest['symbol']}, is {_age(oldest['age'])} old"
        return ruled_out(cause, f"the prices of all {table['symbol'].nunique()} symbols move; {said}")
    moving = set(table.loc[table["age"].between(-AHEAD_SECONDS, stale_seconds, inclusive="left"), "symbol"])
    placed = _placed_since(booked, stands)
    # What moves on another replica is open.
    everywhere = stands[~stands["symbol"].isin(moving)]
    asked = not missing(counters) and attempted_now(counters.require()) > 0
    if len(everywhere) and (closed := _may_be_closed(everywhere, placed, trades, idle=not moving and not asked)):
        unknown = "; whether orders are placed is not known" if missing(booked) and missing(counters) else ""
        return inconclusive(
            cause, f"{_listed(everywhere['symbol'])}: no price since {_clock(stands)}, and {closed}{unknown}"
        )
    return _confirmed(cause, table, stands, moving, placed, pages)


def _aged(told: Frame) -> pd.DataFrame:
    """With ``age`` in seconds, by the clock of whoever told it, else by when it was read."""
    table = whole(told.require(), PRICE_COLUMNS)
    times = {name: pd.to_datetime(table[name], utc=True) for name in ("moved_at", "moved_before", "asked_at")}
    table = table.assign(**times)
    asked = table["asked_at"].fillna(pd.Timestamp(told.taken_at))
    return table.assign(asked_at=asked, age=(asked - table["moved_at"]).dt.total_seconds())


def _unclear(table: pd.DataFrame, stale_seconds: float) -> str:
    """Why nothing is ruled out; empty where every price of every replica is young."""
    if table.empty:
        return "nobody tells when a price moved last"
    silent = table[table["symbol"].isna() | table["symbol"].eq("") | table["age"].isna()]
    if len(silent):
        row = silent.iloc[0]
        what = (
            row["error"]
            if isinstance(row["error"], str) and row["error"]
            else f"{row['symbol']} has no price there yet"
        )
        return f"{row['replica']} does not tell when each price moved last: {what}"
    if name := unreported(table, "replica"):
        return f"which {name} tells a price is not known"
    ahead, late = table[table["age"].lt(-AHEAD_SECONDS)], table[table["age"].ge(stale_seconds)]
    if len(ahead):
        row = ahead.iloc[0]
        return f"the newest price of {row['symbol']} is {_age(-row['age'])} ahead of the clock of {row['replica']}; see host.clock-drift"
    if len(late):
        row = late.iloc[0]
        said = f"the newest price of {row['symbol']} is {_age(row['age'])} old on {row['replica']}, and was not seen to stand"
        return f"{said}: prices come in late, or a clock is wrong (host.clock-drift); look again"
    return ""


def _placed_since(booked: Frame, stands: pd.DataFrame) -> pd.DataFrame:
    """Orders of the symbols that stand, placed after the price of theirs had stopped."""
    if not booked.available:
        return pd.DataFrame(columns=["state"])
    orders = whole(booked.require(), ["symbol", "state", "created_at"])
    stopped = stands.assign(key=_plain(stands["symbol"])).groupby("key")["moved_at"].max()
    since = pd.to_datetime(_plain(orders["symbol"]).map(stopped.to_dict()), utc=True)
    return orders[pd.to_datetime(orders["created_at"], utc=True, errors="coerce").gt(since)]


def _may_be_closed(stands: pd.DataFrame, placed: pd.DataFrame, trades: Frame, *, idle: bool) -> str:
    """Why that is nobody's fault, perhaps; empty where the market is open, or users at least think so. *idle*: nothing moves anywhere."""
    if placed["state"].eq("filled").any():
        return ""
    table = whole(trades.require() if trades.available else pd.DataFrame(), ["symbol", "reason", "recent"])
    refused = table[table["recent"].gt(0) & table["reason"].fillna("").astype(str).str.contains(_CLOSED)]
    if set(_plain(stands["symbol"])) <= set(_plain(refused["symbol"])):
        return f"the broker refuses them, '{refused['reason'].iloc[0]}': the market is closed"
    if _is_weekend(stands["asked_at"].max()):
        return "currencies and metals are not traded from Friday 22:00 to Sunday 22:00 UTC: the market may be closed"
    return "no order of them was seen since either: the market may be closed" if idle and placed.empty else ""


def _is_weekend(at: datetime) -> bool:
    """From Friday 22:00 to Sunday 22:00 UTC: 17:00 in New York, which summer time moves by an hour."""
    day, late = at.weekday(), at.hour >= _CLOSING_HOUR
    return day == _SATURDAY or (day == _FRIDAY and late) or (day == _SUNDAY and not late)


def _confirmed(
    cause: str, table: pd.DataFrame, stands: pd.DataFrame, moving: set[str], placed: pd.DataFrame, pages: Frame
) -> Verdict:
    known, dead = table["symbol"].nunique(), set(stands["symbol"])
    where = f" on {_listed(stands['replica'])} alone" if dead & moving else ""
    whose = "that replica's stream" if where else "those symbols, not the feed" if moving else "the feed itself"
    title = f"{len(dead)} of {known} prices stand still{where} since {_clock(stands)}: {_listed(dead)}"
    said, announced = _of_pages(pages)
    evidence = [
        Evidence(
            str(symbol), f"since {_clock(part)}, {_age(part['age'].min())}, on {_listed(part['replica'])}", "gauges"
        )
        for symbol, part in stands.groupby("symbol")
    ][:8]
    orders = f"{len(placed)}, of which {placed['state'].eq('filled').sum()} filled"
    evidence += [Evidence("orders of them since then", orders, "postgres: trades")] if len(placed) else []
    severity = Severity.P2 if moving else Severity.P1
    return confirmed(cause, f"{title} ({whose}); {said}", [*evidence, *announced], severity=severity, title=title)


def _of_pages(pages: Frame) -> tuple[str, list[Evidence]]:
    """What the status pages tell, among them that of the feed's service."""
    table = whole(pages.require() if pages.available else pd.DataFrame(), PAGE_COLUMNS)
    loud = table[table["indicator"].isin(["minor", "major", "critical"])]
    evidence = [Evidence(str(row.page), f"{row.says}: {row.troubles}", str(row.link)) for row in loud.itertuples()]
    if evidence:
        return f"{evidence[0].name} says: {evidence[0].value}", evidence
    silent = table.empty or table["error"].ne("").any()
    return "what the feed's service says is not known" if silent else "no status page tells of trouble", []


def _plain(symbols: pd.Series) -> pd.Series:
    """``EUR/USD`` and ``EUR_USD`` are ``EURUSD``."""
    return symbols.astype(str).str.upper().str.replace(r"[^A-Z0-9]", "", regex=True)


def _listed(names: Iterable[object]) -> str:
    known = sorted({str(name) for name in names})
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if known[4:] else "")


def _clock(stands: pd.DataFrame) -> str:
    return f"{stands['moved_at'].min():%Y-%m-%d %H:%M:%S} UTC"


def _age(seconds: float) -> str:
    return format_seconds(max(0.0, float(seconds)))
