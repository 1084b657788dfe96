"""What the API does with the database: three statements and a trade."""

from __future__ import annotations

from typing import Any

from .database import Database

SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD")


def get_portfolio(database: Database, account: int) -> dict[str, Any]:
    """An account's balance and its number of trades."""
    with database.transaction() as connection:
        row = connection.execute("SELECT balance FROM accounts WHERE id = %s", (account,)).fetchone()
        count = connection.execute("SELECT count(*) FROM trades WHERE account_id = %s", (account,)).fetchone()
    return {"account": account, "balance": float(row[0]) if row else None, "trades": count[0] if count else 0}


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
    with database.transaction() as connection:
        rows = connection.execute("SELECT symbol, price FROM prices ORDER BY symbol").fetchall()
    return {symbol: float(price) for symbol, price in rows}


def place_trade(database: Database, account: int, symbol: str, side: str, quantity: float) -> dict[str, Any]:
    """Book a trade: the account's row is locked from the update to the commit."""
    amount = quantity if side == "buy" else -quantity
    with database.transaction() as connection:
        connection.execute(
            "UPDATE accounts SET balance = balance - %s, updated_at = now() WHERE id = %s", (amount, account)
        )
        row = connection.execute(
            "INSERT INTO trades (account_id, symbol, side, quantity, status) VALUES (%s, %s, %s, %s, 'executed')"
            " RETURNING id",
            (account, symbol, side, quantity),
        ).fetchone()
    return {"id": row[0] if row else None, "status": "executed"}
