"""Grafana's annotations: made by a bearer of the token, and listed.

https://grafana.com/docs/grafana/latest/developers/http_api/annotations/: ``POST /api/annotations`` answers
``{"message": "Annotation added", "id": 1}``, ``GET`` a list, newest first; errors carry ``{"message": …}``.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import guarded

NAME = "grafana"
MOST = 1000

_kept: list[dict[str, Any]] = []


async def keep_annotations(request: Request) -> Response:
    """Add one, or tell those that have all of the ``tags``."""
    if request.method == "GET":
        wanted = set(request.query_params.getlist("tags"))
        return JSONResponse([one for one in reversed(_kept) if wanted <= set(one["tags"])])
    body = await request.json()
    if not body.get("text"):
        return JSONResponse({"message": "Failed to save annotation"}, status_code=400)
    number = _kept[-1]["id"] + 1 if _kept else 1
    _kept.append({"tags": [], **body, "id": number})
    del _kept[:-MOST]
    return JSONResponse({"message": "Annotation added", "id": number})


_ASKED = guarded(NAME, keep_annotations, variable="GRAFANA_TOKEN", describe="message", refusal="Invalid API key")
ROUTES = [Route("/api/annotations", _ASKED, methods=["GET", "POST"])]
