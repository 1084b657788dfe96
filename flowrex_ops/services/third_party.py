"""What is outside of the platform and says how it fares: Sentry's new issues, and the status pages of those we depend on.

Status pages are asked in Statuspage's format and nothing else: one that publishes none is an unknown with its
address, not a page that is healthy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import SentrySettings
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.web import get

ISSUE_COLUMNS = ["issue", "title", "culprit", "level", "events", "users", "first_seen", "last_seen", "new", "link"]
PAGE_COLUMNS = ["page", "indicator", "says", "troubles", "seconds", "error", "link"]
_MEANS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the token is refused; issue a new one",
    HTTPStatus.FORBIDDEN: "the token may not read this; give it the scope it needs",
    HTTPStatus.NOT_FOUND: "there is no such page or project; correct the settings",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests; ask again in a minute",
}
_WORST_FIRST = ("critical", "major", "minor", "maintenance", "none")


class SentrySource(Source):
    """The issues of one project (https://docs.sentry.io/api/events/list-a-projects-issues/)."""

    name = "sentry"
    libraries = ("httpx",)

    def __init__(self, sentry: SentrySettings, *, limit_seconds: float, limit_rows: int) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._sentry = sentry

    @reads("issues")
    def get_issues(self, *, since: timedelta) -> pd.DataFrame:
        """Unresolved issues seen since then, the latest first; columns ``ISSUE_COLUMNS``.

        ``new`` says that the first event of an issue is not older than that either.
        """
        if self._sentry.token is None:
            raise SourceUnavailableError("sentry is not configured; set sentry.token")
        path = f"/api/0/projects/{self._sentry.organization}/{self._sentry.project}/issues/"
        token = {"Authorization": f"Bearer {self._sentry.token.get_secret_value()}"}
        found = get_json(
            self._sentry.url.rstrip("/") + path,
            limit_seconds=self.limit_seconds * 0.8,
            parameters={"query": "is:unresolved", "sort": "date", "limit": "100"},
            headers=token,
        )
        earliest = pd.Timestamp(datetime.now(UTC) - since)
        rows = [row for row in map(_issue, found) if row["last_seen"] >= earliest]
        frame = pd.DataFrame([{**row, "new": row["first_seen"] >= earliest} for row in rows], columns=ISSUE_COLUMNS)
        return frame.sort_values(["new", "last_seen"], ascending=False, ignore_index=True)


class StatusPagesSource(Source):
    """All pages at once; one that does not answer is a row with its error, all silent is an unavailable reading."""

    name = "status pages"
    libraries = ("httpx",)

    def __init__(self, pages: Mapping[str, str], *, limit_seconds: float, limit_rows: int) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._pages = pages

    @reads("status pages")
    def get_pages(self) -> pd.DataFrame:
        """One row a page, columns ``PAGE_COLUMNS``; ``indicator`` is Statuspage's word, ``none`` when all is well.

        ``troubles`` names the incidents and components that are not operational.
        """
        if not self._pages:
            raise SourceUnavailableError("no status page is configured; set status_pages")
        rows = side_by_side(lambda page: self._ask(*page), self._pages.items(), most=8)
        if all(row["error"] for row in rows):
            raise SourceUnavailableError(f"no status page answered: {rows[0]['error']}")
        return pd.DataFrame(rows, columns=PAGE_COLUMNS)

    def _ask(self, page: str, url: str) -> dict[str, Any]:
        started = time.monotonic()
        row: dict[str, Any] = {"page": page, "indicator": "", "says": "", "troubles": "", "error": "", "link": url}
        try:
            found = get_json(f"{url.rstrip('/')}/api/v2/summary.json", limit_seconds=self.limit_seconds * 0.8)
            row |= parse_summary(found)
        except SourceUnavailableError as error:
            row["error"] = f"{error}; look at {url}"
        except (KeyError, TypeError, AttributeError) as error:
            row["error"] = f"{url} answers no summary as Statuspage's do ({type(error).__name__}); look at {url}"
        return row | {"seconds": time.monotonic() - started}


def parse_summary(found: Any) -> dict[str, str]:
    """``{indicator, says, troubles}`` of Statuspage's summary; the worst word counts, whoever says it.

    Raises KeyError, TypeError or AttributeError when it is none.
    """
    incidents = [(one["impact"], f"{one['name']} ({one['status']})") for one in found.get("incidents", ())]
    components = [
        (_as_indicator(one["status"]), f"{one['name']}: {one['status'].replace('_', ' ')}")
        for one in found.get("components", ())
        if one["status"] != "operational"
    ]
    words = [found["status"]["indicator"], *(word for word, _ in (*incidents, *components))]
    worst = min(words, key=lambda word: _WORST_FIRST.index(word) if word in _WORST_FIRST else len(_WORST_FIRST))
    troubles = "; ".join(text for _, text in (*incidents, *components))
    return {"indicator": worst, "says": found["status"]["description"], "troubles": troubles}


def _as_indicator(status: str) -> str:
    words = {"major_outage": "critical", "partial_outage": "major", "under_maintenance": "maintenance"}
    return words.get(status, "minor")


def get_json(
    url: str,
    *,
    limit_seconds: float,
    parameters: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """What *url* answers to GET, parsed; SourceUnavailableError (with the status as code) for anything but 200 and JSON."""
    import httpx

    try:
        answer = get(url, params=parameters, headers=dict(headers or {}), seconds=limit_seconds, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceUnavailableError(f"{url} did not answer: {error or type(error).__name__}") from None
    if answer.status_code != HTTPStatus.OK:
        means = _MEANS.get(answer.status_code, "it has trouble of its own")
        raise SourceUnavailableError(f"{url} answered HTTP {answer.status_code}: {means}", code=str(answer.status_code))
    try:
        return answer.json()
    except ValueError:
        raise SourceUnavailableError(f"{url} answered with something that is not JSON", code="malformed") from None


def _issue(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "issue": found["shortId"],
        "title": found["title"],
        "culprit": found.get("culprit") or "",
        "level": found.get("level") or "",
        "events": int(found.get("count") or 0),
        "users": int(found.get("userCount") or 0),
        "first_seen": pd.Timestamp(found["firstSeen"]).tz_convert(UTC),
        "last_seen": pd.Timestamp(found["lastSeen"]).tz_convert(UTC),
        "link": found.get("permalink") or "",
    }
