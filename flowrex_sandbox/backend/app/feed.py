"""The price feed of this replica: what a vendor's stream is to a real platform. Each tick moves a price, and says when it did."""

from __future__ import annotations

import random
import threading

from . import defects, metrics

TICK_SECONDS = 1.0
QUIET_TICKS = 5
_START = {"EURUSD": 1.0845, "GBPUSD": 1.2631, "USDJPY": 151.2, "XAUUSD": 2650.1, "BTCUSD": 96500.0}
_CHANCE = random.Random()  # noqa: S311  # a market needs no cryptography


class Feed:
    """The newest price of each symbol, moved by a thread of its own."""

    def __init__(self) -> None:
        self.prices = dict(_START)
        self._ended = threading.Event()

    def start(self) -> None:
        """Let prices come."""
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def stop(self) -> None:
        """No price comes any more."""
        self._ended.set()

    def _run(self) -> None:
        number = 0
        while True:
            for symbol in self.prices:
                if defects.prices_come(symbol, number, QUIET_TICKS):
                    self.prices[symbol] *= 1 + _CHANCE.uniform(-1, 1) / 10_000
                    metrics.PRICE_MOVED.labels(symbol).set_to_current_time()
            number += 1
            if self._ended.wait(TICK_SECONDS):
                return
