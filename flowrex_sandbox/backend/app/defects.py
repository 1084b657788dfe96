"""Defects in this release's code: each is a wrong line in a real code path, at work while it is switched on.

A release brings its own with it (``FLOWREX_DEFECTS``: ``1.5.0:name,name``, of that release only); a drill switches others on.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from decimal import Decimal
from typing import Any

from .identity import VERSION

_release, _, _names = os.environ.get("FLOWREX_DEFECTS", "").partition(":")
_RELEASED = frozenset(_names.split(",")) if _release == VERSION else frozenset()
KNOWN = frozenset(
    [
        "equity-in-floats",
        "delisted-symbol",
        "audit-trail",
        "dead-workers",
        "json-logs",
        "visits-as-text",
        "slow-prices",
        "slow-host",
        "blocking-call",
        "vendor-renamed",
        "feed-stopped",
        "feed-without-gold",
        "feed-quiet-gold",
    ]
)
_AUDITED_SHARE = 0.3
_SLOW_SECONDS, _BLOCKING_SECONDS = 2.0, 1.5
VENDOR = "prices.vendor.invalid"
"""A name that no server knows (RFC 6761, 6.4)."""

_active: set[str] = set(_RELEASED)
_chance = random.Random()  # noqa: S311  # which request is audited is no secret


def switch_on(name: str) -> None:
    """Put one of ``KNOWN`` to work."""
    _active.add(name)


def switch_off_all() -> None:
    """Leave only those that this release was built with."""
    _active.clear()
    _active.update(_RELEASED)


def active(name: str) -> bool:
    """Whether that defect is at work."""
    return name in _active


def equity(balance: Decimal, unrealised: float) -> float:
    """An account's worth. The release with the defect adds money to a float."""
    if active("equity-in-floats"):
        return float(balance + unrealised)  # type: ignore[operator]  # this is the defect
    return float(balance) + unrealised


def listed(prices: dict[str, float], symbols: tuple[str, ...]) -> dict[str, float]:
    """The prices of the listed symbols. The defect: a symbol is listed before it has a price."""
    wanted = (*symbols, "ETHUSD") if active("delisted-symbol") else symbols
    return {symbol: prices[symbol] for symbol in wanted}


def visits(answer: Any) -> int:
    """How often an account was seen, out of Redis' answer. The defect takes the number for text."""
    return int(answer, 16) if active("visits-as-text") else int(answer)


async def delay(route: str) -> None:
    """What takes time: prices of a slow feed, everything on a slow host, or a synchronous client that holds up the event loop."""
    if active("slow-host") or (active("slow-prices") and route == "/api/prices"):
        await asyncio.sleep(_SLOW_SECONDS)
    if active("blocking-call") and route == "/api/prices":
        time.sleep(_BLOCKING_SECONDS)  # noqa: ASYNC251  # this is the defect


class VendorError(Exception):
    """The vendor of prices cannot be asked."""


def ask_vendor() -> None:
    """Look the vendor up. The defect: the vendor has moved, and its old name is gone."""
    if not active("vendor-renamed"):
        return
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")  # also where no name server answers
    try:
        socket.getaddrinfo(f"{VENDOR}.", 443)
    except socket.gaierror as error:
        raise VendorError(f"cannot connect to host {VENDOR}:443: {error}") from error


def prices_come(symbol: str, number: int, quiet_ticks: int) -> bool:
    """Whether the feed's tick *number* moves that price.

    The defects: nobody opens a stream again that was closed, or one symbol's subscription; a symbol with few prices is none.
    """
    gold = symbol == "XAUUSD"
    if active("feed-stopped") or (gold and active("feed-without-gold")):
        return False
    return not (gold and active("feed-quiet-gold")) or number % quiet_ticks == 0


class AuditTrailError(Exception):
    """An entry does not follow the one before it."""


def audit(route: str) -> None:
    """Note a request in the audit trail. The defect: some entries find the trail out of sequence."""
    if active("audit-trail") and _chance.random() < _AUDITED_SHARE:
        _append(f"{route}#{_chance.randrange(10**6)}")


def _append(entry: str) -> None:
    raise AuditTrailError(f"entry {entry!r} is out of sequence")
