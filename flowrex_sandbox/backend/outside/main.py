"""The application: one list of routes per outside service, and the control of their faults."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import broker, chat, faults, grafana, sentry, status_pages

SERVICES = (broker, sentry, status_pages, grafana, chat)


def create_app() -> Starlette:
    """All services on one port, told apart by their documented paths."""
    served = [route for service in (*SERVICES, faults) for route in service.ROUTES]
    return Starlette(routes=[*served, Route("/health", health)])


async def health(_request: Request) -> Response:
    """The process answers, whatever its services do."""
    return JSONResponse({"status": "alive"})
