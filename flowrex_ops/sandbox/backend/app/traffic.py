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
WORKERS = 24
"""Requests under way at once at most; they are slow when the platform is ill, and users do not wait for each other."""

SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD")


def send(host: str, port: int, number: int) -> int:
    """One user's request; its status, or 0 where there was no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    account = number % ACCOUNTS + 1
    try:
        if number % 5 < 2:
            order = {
                "account": random.randint(1, ACCOUNTS),
                "symbol": random.choice(SYMBOLS),
                "side": random.choice(("buy", "sell")),
                "quantity": random.randint(1, 100),
            }
            connection.request("POST", "/api/trades", json.dumps(order), {"Content-Type": "application/json"})
        else:
            connection.request("GET", f"/api/portfolio?account={account}" if number % 5 < 4 else "/api/prices")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main() -> None:
    """Send requests evenly over time, as many a second as asked, until killed."""
    url = urlsplit(sys.argv[1])
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 12.0
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
