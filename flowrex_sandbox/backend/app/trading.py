"""What the API does with the database: three statements and a trade.

No database connection is held while the broker is asked (pending, ask, book): a slow broker is not a leaking pool.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from . import defects, metrics
from .database import Database
from .execution.adapters import BrokerError, OandaAdapter
from .execution.risk import RiskLimitError, require_within_limits
from .logs import log

SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD")


def get_portfolio(database: Database, account: int) -> dict[str, Any]:
    """An account's balance and its number of trades."""
    with database.transaction() as connection:
        row = connection.execute("SELECT balance FROM accounts WHERE id = %s", (account,)).fetchone()
        count = connection.execute("SELECT count(*) FROM trades WHERE account_id = %s", (account,)).fetchone()
    balance = defects.equity(row[0], 0.0) if row else None
    return {"account": account, "balance": balance, "trades": count[0] if count else 0}


def get_analytics(database: Database, account: int) -> dict[str, Any]:
    """A heavier question: 50 to 250 ms in PostgreSQL, spent sleeping so that a laptop can take it."""
    with database.transaction() as connection:
        connection.execute("SELECT pg_sleep(0.05 + random() * 0.2)")
        row = connection.execute(
            "SELECT count(*), coalesce(sum(quantity), 0) FROM trades WHERE account_id = %s", (account,)
        ).fetchone()
    return {"account": account, "trades": row[0] if row else 0, "volume": float(row[1]) if row else 0.0}


def get_prices(database: Database) -> dict[str, float]:
    """The last price of each symbol."""
    defects.ask_vendor()
    with database.transaction() as connection:
        rows = connection.execute("SELECT symbol, price FROM prices ORDER BY symbol").fetchall()
    return defects.listed({symbol: float(price) for symbol, price in rows}, SYMBOLS)


def place_trade(
    database: Database, broker: OandaAdapter, account: int, symbol: str, side: str, quantity: float
) -> dict[str, Any]:
    """Write the trade down, place it with the broker, book what came of it: ``{id, status, error}``.

    No connection is held while the broker is asked: a slow broker must not empty the pool.
    """
    try:
        trade, blocked = _open_trade(database, account, symbol, side, quantity)
        status, reason, error = ("blocked", "", blocked) if blocked else _place(broker, trade, symbol, side, quantity)
        if not blocked:
            _close_trade(database, trade, account, quantity if side == "buy" else -quantity, error)
    except (PoolTimeout, psycopg.Error) as failure:
        _count(0, symbol, side, "failed", "database", " ".join(str(failure).split()))
        raise
    _count(trade, symbol, side, status, reason, error)
    return {"id": trade, "status": status, "error": error}


def _open_trade(database: Database, account: int, symbol: str, side: str, quantity: float) -> tuple[int, str]:
    """The trade's id, and the risk engine's objection or nothing."""
    with database.transaction() as connection:
        row = connection.execute("SELECT price FROM prices WHERE symbol = %s", (symbol,)).fetchone()
        error = ""
        try:
            require_within_limits(symbol, quantity, float(row[0]) if row else 0.0)
        except RiskLimitError as objection:
            error = str(objection)
        opened = connection.execute(
            "INSERT INTO trades (account_id, symbol, side, quantity, status, error_message)"
            " VALUES (%s, %s, %s, %s, %s, nullif(%s, '')) RETURNING id",
            (account, symbol, side, quantity, "blocked" if error else "pending", error),
        ).fetchone()
    return (int(opened[0]) if opened else 0), error


def _place(broker: OandaAdapter, trade: int, symbol: str, side: str, quantity: float) -> tuple[str, str, str]:
    started = time.monotonic()
    try:
        broker.place_order(symbol, side, quantity, str(trade))
    except BrokerError as error:
        return "failed", error.reason, str(error)
    finally:
        metrics.BROKER_SECONDS.observe(time.monotonic() - started)
    return "filled", "", ""


def _close_trade(database: Database, trade: int, account: int, amount: float, error: str) -> None:
    """Book a filled trade (the account's row is locked from here to the commit) or write down why it failed."""
    with database.transaction() as connection:
        if error:
            statement = "UPDATE trades SET status = 'failed', error_message = %s WHERE id = %s"
            connection.execute(statement, (error, trade))
            return
        connection.execute(
            "UPDATE accounts SET balance = balance - %s, updated_at = now() WHERE id = %s", (amount, account)
        )
        connection.execute("UPDATE trades SET status = 'filled' WHERE id = %s", (trade,))


def _count(trade: int, symbol: str, side: str, status: str, reason: str, error: str) -> None:
    """Every trade is counted once; what was not filled is also logged."""
    metrics.TRADES.labels(status).inc()
    if status == "blocked":
        log.warning("trade blocked id=%d symbol=%s side=%s: %s", trade, symbol, side, error)
    if status == "failed":
        metrics.TRADES_FAILED.labels(reason).inc()
        metrics.TRADES_LAST_FAILED.labels(reason).set_to_current_time()
        log.error("trade failed id=%d symbol=%s side=%s reason=%s: %s", trade, symbol, side, reason, error)
