"""The risk engine: one limit, on what a single trade is worth."""

from __future__ import annotations

import os

MAX_NOTIONAL = 50_000_000.0


class RiskLimitError(Exception):
    """The risk engine does not let this trade pass; that is its work and no failure."""


def require_within_limits(symbol: str, quantity: float, price: float) -> None:
    """``RiskLimitError`` when quantity times price is above ``RISK_MAX_NOTIONAL``."""
    limit = float(os.environ.get("RISK_MAX_NOTIONAL", MAX_NOTIONAL))
    notional = quantity * price
    if notional > limit:
        raise RiskLimitError(f"risk limit max_notional: {symbol} worth {notional:.2f} is above {limit:.2f}")
