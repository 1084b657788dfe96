"""Sentry's API as far as an on-call engineer needs it: the issues of a project.

https://docs.sentry.io/api/events/list-a-projects-issues/: ``GET /api/0/projects/{organization}/{project}/issues/`` with a
bearer token answers a list, newest first; 401 and 429 carry ``{"detail": …}``. Fault ``issues`` adds one that is new.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import fault_of, guarded

NAME = "sentry"
_OLD_SINCE, _OLD_UNTIL = timedelta(days=40), timedelta(hours=9)


async def list_issues(request: Request) -> Response:
    """An old issue as every project has one, and new ones where the fault says so."""
    project = request.path_params["project"]
    now = datetime.now(UTC)
    issues = [
        _issue(project, 1, "ConnectionResetError", "app.streams in send", 412, now - _OLD_SINCE, now - _OLD_UNTIL)
    ]
    if fault_of(NAME).get("fault") == "issues":
        new = ("KeyError: 'settlement_date'", "app.trading in place_trade", 37)
        issues.insert(0, _issue(project, 2, *new, now - timedelta(minutes=4), now - timedelta(seconds=5)))
    return JSONResponse(issues)


def _issue(project: str, number: int, title: str, culprit: str, count: int, first: datetime, last: datetime) -> Any:
    return {
        "id": str(4_500_000 + number),
        "shortId": f"{project.upper()}-{number}",
        "title": title,
        "culprit": culprit,
        "level": "error",
        "status": "unresolved",
        "count": str(count),
        "userCount": min(count, 29),
        "firstSeen": first.isoformat().replace("+00:00", "Z"),
        "lastSeen": last.isoformat().replace("+00:00", "Z"),
        "permalink": f"https://sentry.io/organizations/flowrex/issues/{4_500_000 + number}/",
        "project": {"slug": project},
    }


_ASKED = guarded(NAME, list_issues, variable="SENTRY_TOKEN", describe="detail", refusal="Invalid token")
ROUTES = [Route("/api/0/projects/{organization}/{project}/issues/", _ASKED)]
