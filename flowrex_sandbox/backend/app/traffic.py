"""``python -m app.traffic URL [REQUESTS_PER_SECOND]``: users, as far as the platform can tell. Standard library only."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

ACCOUNTS = 5
REQUESTS_PER_SECOND = 12.0
WORKERS = 24
"""Requests under way at once at most; they are slow when the platform is ill, and users do not wait for each other."""

_KINDS = ("trade", "trade", "trade", "portfolio", "portfolio", "prices", "session")
"""Seven, which no usual number of replicas divides: in turns, each kind gets to each replica."""

USERS = 40
"""Each with an address of its own (RFC 5737), as the load balancer before NGINX would tell it."""
_CHANCE = random.Random()  # noqa: S311  # users need no cryptography
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD")


def send(host: str, port: int, number: int) -> int:
    """One user's request; its status, or 0 where there was no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    account = number % ACCOUNTS + 1
    user = {"X-Forwarded-For": f"198.51.100.{_CHANCE.randint(1, USERS)}"}
    try:
        kind = _KINDS[number % len(_KINDS)]
        if kind == "trade":
            order = {
                "account": _CHANCE.randint(1, ACCOUNTS),
                "symbol": SYMBOLS[number // len(_KINDS) % len(SYMBOLS)],  # in turn: none is missing for long
                "side": _CHANCE.choice(("buy", "sell")),
                "quantity": _CHANCE.randint(1, 100),
            }
            connection.request("POST", "/api/trades", json.dumps(order), {"Content-Type": "application/json", **user})
        elif kind == "prices":
            connection.request("GET", "/api/prices", headers=user)
        else:
            connection.request("GET", f"/api/{kind}?account={account}", headers=user)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main() -> None:
    """Send requests evenly over time, as many a second as asked, until killed."""
    url = urlsplit(sys.argv[1])
    rate = float(sys.argv[2]) if sys.argv[2:] else REQUESTS_PER_SECOND
    host, port = url.hostname or "127.0.0.1", url.port or 80
    numbers = itertools.count()
    started = time.monotonic()

    def work() -> None:
        while True:
            number = next(numbers)
            early_seconds = started + number / rate - time.monotonic()
            if early_seconds > -1:  # what was missed during an outage is not made up for
                time.sleep(max(0.0, early_seconds))
                send(host, port, number)

    for _ in range(WORKERS):
        threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
