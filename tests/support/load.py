"""Steady load through NGINX, every request counted, and WebSockets whose close codes are kept."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from flowrex_sandbox.sandbox import Sandbox

_KINDS = (
    ("GET", "/api/prices", None),
    ("GET", "/api/portfolio?account=1", None),
    ("POST", "/api/trades", json.dumps({"account": 1, "symbol": "EURUSD", "side": "buy", "quantity": 1})),
)


class Load:
    """``with Load(sandbox) as load``: *rate* requests a second, and *streams* WebSockets that come back when closed."""

    def __init__(self, sandbox: Sandbox, *, rate: float = 60.0, streams: int = 6) -> None:
        self._url = urlsplit(sandbox.url)
        self._rate = rate
        self._end = threading.Event()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.close_codes: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(24)]
        self._threads += [threading.Thread(target=self._watch, daemon=True) for _ in range(streams)]

    @property
    def lost(self) -> int:
        """Requests without an answer, or with one that says that the server failed."""
        return len(self.failures) + sum(count for status, count in self.statuses.items() if status >= 500)

    def __repr__(self) -> str:
        codes, statuses = dict(self.close_codes), dict(self.statuses)
        return f"sent {self.sent}, answered {statuses}, failed {self.failures}, close codes {codes}"

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(15)

    def _work(self) -> None:
        while not self._end.is_set():
            number = next(self._numbers)
            time.sleep(max(0.0, self._started + number / self._rate - time.monotonic()))
            method, path, body = _KINDS[number % len(_KINDS)]
            with self._lock:
                self.sent += 1
            self._send(method, path, body)

    def _send(self, method: str, path: str, body: str | None) -> None:
        client = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=10)
        try:
            client.request(method, path, body, {"User-Agent": "load"})
            status = client.getresponse().status
            with self._lock:
                self.statuses[status] += 1
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.failures.append(f"{method} {path}: {error!r}")
        finally:
            client.close()

    def _watch(self) -> None:
        while not self._end.is_set():
            try:
                with connect(f"ws://{self._url.netloc}/ws?every=0.25") as stream:
                    while not self._end.is_set():
                        with contextlib.suppress(TimeoutError):
                            stream.recv(timeout=0.3)
            except ConnectionClosed as closed:
                with self._lock:
                    self.close_codes[closed.rcvd.code if closed.rcvd else 1006] += 1
            except OSError as error:
                with self._lock:
                    self.failures.append(f"websocket: {error!r}")
