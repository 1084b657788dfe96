"""Users of the desk: requests from thirty addresses, and WebSockets that are kept open. ``python crowd.py PORT``."""

import random
import ssl
import sys
import threading
import time

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

PLACE = f"127.0.0.1:{sys.argv[1]}"
SYMBOLS = ("ALPHA", "BRAVO", "DELTA")
PATHS = ("/v1/instruments", "/v1/positions", "/v1/statements/daily", *(f"/v1/quotes/{symbol}" for symbol in SYMBOLS))
UNCHECKED = ssl._create_unverified_context()  # noqa: S323  # users click it away


def trade() -> None:
    """A request every fifth of a second, each third an order."""
    client = httpx.Client(base_url=f"https://{PLACE}", verify=UNCHECKED, timeout=8, trust_env=False)
    while True:
        headers = {"X-Forwarded-For": f"203.0.113.{random.randint(1, 30)}", "Host": "harbor.test"}
        try:
            if random.random() < 0.3:
                client.post("/v1/orders", params={"symbol": random.choice(SYMBOLS)}, headers=headers)
            else:
                client.get(random.choice(PATHS), headers=headers)
        except httpx.HTTPError:
            time.sleep(0.5)
        time.sleep(0.2)


def watch() -> None:
    """A WebSocket, opened again whenever it was closed."""
    while True:
        try:
            with connect(f"wss://{PLACE}/feed/stream", ssl=UNCHECKED, proxy=None, open_timeout=5) as stream:
                for _ in stream:
                    pass
        except (OSError, WebSocketException):
            pass
        time.sleep(0.5)


for work in [trade] * 8 + [watch] * 6:
    threading.Thread(target=work, daemon=True).start()
threading.Event().wait()
