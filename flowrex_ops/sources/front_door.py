"""What users get: the platform asked through its proxy."""

from __future__ import annotations

import time

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.sources.reading import COOL_DOWN_SECONDS, Source, reads

ANSWER_COLUMNS = ["url", "status", "seconds", "error"]


class FrontDoorSource(Source):
    """One GET of the readiness endpoint, the way in that users take."""

    name = "front door"
    libraries = ("httpx",)

    def __init__(self, url: str | None, path: str, *, limit_seconds: float, missing: str = "") -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._url = f"{url.rstrip('/')}{path}" if url else None
        self._missing = missing
        self._silent: tuple[float, pd.DataFrame] | None = None

    @reads("answer to users")
    def get_answer(self) -> pd.DataFrame:
        """One row, columns ``ANSWER_COLUMNS``; ``status`` is missing where nothing answered in time, and ``error`` says why.

        No answer is an answer too: it is unavailable only where nobody knows the address. One that did not come is not
        waited for again for a while.
        """
        import httpx

        if self._url is None:
            raise SourceUnavailableError(f"{self._missing or 'the front door is not configured'}; set front_door.url")
        started = time.monotonic()
        if self._silent and started - self._silent[0] < COOL_DOWN_SECONDS:
            return self._silent[1]
        status, error = None, ""
        try:
            # Users' names and certificates are the business of certificate_expiry.
            status = httpx.get(self._url, timeout=self.limit_seconds * 0.8, verify=False).status_code  # noqa: S501
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = f"no answer: {failure or type(failure).__name__}"
        row = (self._url, status, time.monotonic() - started, error)
        answer = pd.DataFrame([row], columns=ANSWER_COLUMNS)
        self._silent = (time.monotonic(), answer) if status is None else None
        return answer
