"""Status pages as Statuspage publishes them: ``GET /status/{page}/api/v2/summary.json``.

https://www.atlassian.com/software/statuspage, "Status API": page, ``status.indicator`` (none, minor, major, critical),
components, unresolved incidents, scheduled maintenances. Fault ``outage`` with ``page`` and ``impact`` announces one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import fault_of, struck

NAME = "status-pages"
COMPONENTS = {
    "twelvedata": ("API", "WebSocket"),
    "oanda": ("v20 REST API", "v20 Streaming", "Pricing"),
    "aws": ("EC2 (eu-west-1)", "S3 (eu-west-1)"),
    "cloudflare": ("CDN/Cache", "DNS", "Frankfurt, Germany - (FRA)"),
}
_STATES = {"minor": "degraded_performance", "major": "partial_outage", "critical": "major_outage"}
_SAYS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
}


async def summary(request: Request) -> Response:
    """The page's summary, with an incident while its outage lasts."""
    page = request.path_params["page"]
    fault = fault_of(NAME)
    struck_here = fault.get("page") in (None, page)
    instead = await struck(NAME, request, describe="error") if struck_here else None
    if instead is not None:
        return instead
    if page not in COMPONENTS:
        return JSONResponse({"error": "no such page"}, status_code=404)
    impact = str(fault.get("impact", "major")) if struck_here and fault.get("fault") == "outage" else "none"
    return JSONResponse(_summary(page, impact))


def _summary(page: str, impact: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    components = [
        {"id": f"{page}-{n}", "name": name, "status": _STATES.get(impact, "operational") if n == 0 else "operational"}
        for n, name in enumerate(COMPONENTS[page])
    ]
    incident = {
        "id": f"{page}-incident",
        "name": f"Elevated error rates on {COMPONENTS[page][0]}",
        "status": "investigating",
        "impact": impact,
        "started_at": (now - timedelta(minutes=7)).isoformat(),
        "shortlink": f"https://stspg.io/{page}",
    }
    return {
        "page": {"id": page, "name": page, "url": f"https://status.{page}.example", "updated_at": now.isoformat()},
        "status": {"indicator": impact, "description": _SAYS.get(impact, impact)},
        "components": components,
        "incidents": [] if impact == "none" else [incident],
        "scheduled_maintenances": [],
    }


ROUTES = [Route("/status/{page}/api/v2/summary.json", summary)]
