"""What users get: the platform asked through its proxy."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.health_probe import ask_health
from flowrex_ops.model import TlsEndpoint
from flowrex_ops.reading import COOL_DOWN_SECONDS, Source, reads

ANSWER_COLUMNS = ["url", "status", "seconds", "error", "refused"]


class FrontDoorSource(Source):
    """One look at whatever the platform has for its health, the way in that users take; *tls* is where it has HTTPS."""

    name = "front door"
    libraries = ("httpx",)

    def __init__(
        self,
        url: str | None,
        path: str,
        *,
        limit_seconds: float,
        missing: str = "",
        tls: Sequence[TlsEndpoint] = (),
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._url = url.rstrip("/") if url else None
        self._path = path
        self._tls = tls
        self._missing = missing
        self._silent: tuple[float, pd.DataFrame] | None = None

    @reads("answer to users")
    def get_answer(self) -> pd.DataFrame:
        """One row, columns ``ANSWER_COLUMNS``; ``status`` is missing where nothing answered in time, and ``error`` says why.

        No answer is an answer too: it is unavailable only where nobody knows the address. One that did not come is not
        waited for again for a while.
        """
        if self._url is None:
            raise SourceUnavailableError(f"{self._missing or 'the front door is not configured'}; set front_door.url")
        started = time.monotonic()
        if self._silent and started - self._silent[0] < COOL_DOWN_SECONDS:
            return self._silent[1]
        limit = self.limit_seconds * 0.8
        found = ask_health(self._url, self._path, timeout_seconds=limit, tls=self._tls, root=True)
        row = (self._url + found.path, found.status, time.monotonic() - started, found.error or "", found.refused)
        answer = pd.DataFrame([row], columns=ANSWER_COLUMNS)
        self._silent = (time.monotonic(), answer) if found.status is None else None
        return answer
