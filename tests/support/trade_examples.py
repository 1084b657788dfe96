"""Readings of trades and of the broker made by hand, in as few words as an example needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from database_examples import NOW

from flowrex_ops.logs.trade_failures import TRADE_LOG_COLUMNS
from flowrex_ops.metrics.backend import COUNTER_COLUMNS, FAILED_TRADES, TRADES
from flowrex_ops.metrics.market_data import PRICE_COLUMNS
from flowrex_ops.model import Reading
from flowrex_ops.postgres.source import BOOKED_COLUMNS, ORDER_COLUMNS, RATE_COLUMNS, REPEATED_COLUMNS, TRADE_COLUMNS
from flowrex_ops.services.third_party import PAGE_COLUMNS
from flowrex_ops.trades.broker import BROKER_COLUMNS
from flowrex_ops.trades.reconciliation import FILL_COLUMNS, Fills

REFUSED = "broker unreachable: [Errno 111] Connection refused"
TIMEOUT = "broker timeout: no answer in 2 s"
EXPIRED = "broker credentials refused: HTTP 401 Insufficient authorization to perform request."
HALTED = "rejected by broker: MARKET_HALTED"
ABOVE = "risk limit max_notional: BTCUSD worth # is above #"


def row(recent: int, reason: str = "", *, status: str = "", **facts: Any) -> dict[str, Any]:
    """So many recent trades of one outcome; without a reason they were filled."""
    found = {
        "status": status or ("failed" if reason else "filled"),
        "reason": reason,
        "symbol": "EURUSD",
        "side": "buy",
        "trades": recent,
        "recent": recent,
        "first_at": NOW - timedelta(minutes=2),
        "last_at": NOW,
        "last_age_seconds": 1.0,
    }
    return found | facts


def blocked(recent: int, **facts: Any) -> dict[str, Any]:
    return row(recent, ABOVE, status="blocked", symbol="BTCUSD", **facts)


def trades(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    totals = {"all_trades": sum(r["trades"] for r in rows), "all_recent": sum(r["recent"] for r in rows)}
    return Reading("postgres", "trades by outcome", pd.DataFrame([r | totals for r in rows], columns=TRADE_COLUMNS))


def orders(*rows: tuple[str, str, int, int]) -> Reading[pd.DataFrame]:
    """Orders by what their status means: state, status, how many, and how many of them are nine to ten minutes old."""
    reported = [(*row, *((600.0, 540.0, "EURUSD") if row[3] else (None, None, None))) for row in rows]
    return Reading("postgres", "orders by status", pd.DataFrame(reported, columns=ORDER_COLUMNS))


def repeated(*rows: tuple[int, int, int], of: int = 1000, account: str | None = "2") -> Reading[pd.DataFrame]:
    """Recent orders that are alike: how many, placed again at once, under an order id that stood there; *of* so many in all."""
    again = sum(row[1] for row in rows)
    reported = [(account, "EURUSD", "buy", "7.0", *row, NOW, NOW, of, again) for row in rows]
    return Reading("postgres", "repeated orders", pd.DataFrame(reported, columns=REPEATED_COLUMNS))


def broker(*kinds: str, error: str = "", seconds: float = 0.02, place: str = "") -> Reading[pd.DataFrame]:
    """A broker check with one kind a replica."""
    rows = [
        (place or f"backend-{n}", kind == "ok", seconds, kind, "" if kind == "ok" else error or f"it is {kind}")
        for n, kind in enumerate(kinds, start=1)
    ]
    return Reading("broker", "broker check inside the backend", pd.DataFrame(rows, columns=BROKER_COLUMNS))


def here(kind: str = "ok") -> Reading[pd.DataFrame]:
    return broker(kind, place="from here")


def log(**recent: int) -> Reading[pd.DataFrame]:
    """Log lines by kind of trouble."""
    rows = [(kind, lines, lines, NOW, NOW, f"trade failed: {kind}") for kind, lines in recent.items()]
    return Reading("logs", "trades in the log", pd.DataFrame(rows, columns=TRADE_LOG_COLUMNS))


def counters(filled: float = 10, **failed: float) -> Reading[pd.DataFrame]:
    """Counters of one replica that grew by so much over two samples."""
    grown = {(TRADES, "filled"): filled, (TRADES, "failed"): sum(failed.values())}
    grown |= {(FAILED_TRADES, label.replace("_", "-")): number for label, number in failed.items()}
    rows = [
        (NOW + timedelta(seconds=at), "backend-1", None, counter, label, 100 + at * number)
        for at in (0, 1)
        for (counter, label), number in grown.items()
    ]
    return Reading("backend", "trade counters", pd.DataFrame(rows, columns=COUNTER_COLUMNS))


def fills(*ids: str | None, seconds: float = 60, reason: str = "MARKET_ORDER") -> Reading[Fills]:
    """What the broker filled so many seconds ago, within half an hour, by our ids."""
    at = NOW - timedelta(seconds=seconds)
    rows = [(at, one, "EUR_USD", "7", "1.0845", str(6000 + n), reason) for n, one in enumerate(ids)]
    found = Fills(pd.DataFrame(rows, columns=FILL_COLUMNS), NOW - timedelta(minutes=30), NOW)
    return Reading("broker", "fills at the broker", found)


def booked(seconds: float = 61, own: str | None = None, **statuses: str) -> Reading[pd.DataFrame]:
    """Orders of so many seconds ago, by the row's id (``_7``) or the client's *own*, and their status."""
    at = NOW - timedelta(seconds=seconds)
    rows = [
        (name[1:], own, "2", "EURUSD", "buy", "7.0", status, "filled" if status == "filled" else "not filled", at)
        for name, status in statuses.items()
    ]
    return Reading("postgres", "orders here", pd.DataFrame(rows, columns=BOOKED_COLUMNS))


def prices(*replicas: str, at: datetime = NOW, moves: bool = False, **ages: float | None) -> Reading[pd.DataFrame]:
    """Each replica's newest prices: so many seconds old, or None where there was none; those of *moves* came in meanwhile."""
    rows = []
    for replica in replicas or ("backend-1", "backend-2"):
        for symbol, age in ages.items():
            moved = None if age is None else at - timedelta(seconds=age)
            before = moved and moved - timedelta(seconds=moves)
            rows.append((replica, symbol, moved, before, at, None))
    return Reading("backend", "newest prices", pd.DataFrame(rows, columns=PRICE_COLUMNS), taken_at=at)


def together(*readings: Reading[pd.DataFrame]) -> Reading[pd.DataFrame]:
    """What several replicas tell, in one reading."""
    return replace(readings[0], value=pd.concat([one.require() for one in readings], ignore_index=True))


def pages(indicator: str = "none") -> Reading[pd.DataFrame]:
    """What the feed's service says of itself."""
    row = ("TwelveData", indicator, "Partial System Outage", "WebSocket: prices are late", 0.1, "", "https://x.example")
    return Reading("status pages", "status pages", pd.DataFrame([row], columns=PAGE_COLUMNS))


def rates(
    *rows: tuple[float, float], account: str | None = "3", others: tuple[float, float] = (20, 15)
) -> Reading[pd.DataFrame]:
    """Orders a minute of an account's symbols now and in the hour before, and of all *others*."""
    now, before = (sum(row[n] for row in rows) + others[n] for n in (0, 1))
    reported = [(account, f"SYM{n}", *row, now, before) for n, row in enumerate(rows)]
    return Reading("postgres", "order rates", pd.DataFrame(reported, columns=RATE_COLUMNS))
