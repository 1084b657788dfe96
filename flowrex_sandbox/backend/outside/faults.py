"""Faults that an outside service has on demand, the same kinds for every service.

``POST /_control/<service>`` takes ``{"fault": "slow", "seconds": 3}``, ``GET`` tells, ``DELETE`` ends it. That a service is
down needs no fault here: its process is stopped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

KINDS = ("slow", "silent", "unauthorized", "rate-limit", "malformed", "reject", "dropped", "issues", "outage")
Handler = Callable[[Request], Awaitable[Response]]
_POLL_SECONDS = 0.2

_active: dict[str, dict[str, Any]] = {}


def fault_of(service: str) -> dict[str, Any]:
    """The fault that *service* has now; empty for none."""
    return _active.get(service, {})


async def struck(service: str, request: Request, *, describe: str = "errorMessage") -> Response | None:
    """What *service* answers instead of its own answer, after the time that the fault costs; ``None`` for its own.

    *describe* is the key under which this service explains an error.
    """
    fault = fault_of(service)
    kind = fault.get("fault")
    if kind == "slow":
        await asyncio.sleep(float(fault.get("seconds", 3.0)))
    # Until the client gives up, and no longer: an answer that never comes must not keep this process from stopping.
    while kind == "silent" and not await request.is_disconnected():  # noqa: ASYNC110  # the protocol tells of it only when asked
        await asyncio.sleep(_POLL_SECONDS)
    if kind == "unauthorized":
        return JSONResponse({describe: "Insufficient authorization to perform request."}, status_code=401)
    if kind == "rate-limit":
        headers = {"Retry-After": "60"}
        return JSONResponse({describe: "Too many requests."}, status_code=429, headers=headers)
    if kind == "malformed":
        return PlainTextResponse('{"orderFillTransaction": {"id": ', media_type="application/json", status_code=201)
    return None


def guarded(
    service: str,
    answer: Handler,
    *,
    variable: str,
    describe: str = "errorMessage",
    refusal: str = "Insufficient authorization to perform request.",
) -> Handler:
    """*answer* behind the fault of the hour, and behind the bearer token in environment *variable*."""

    async def ask(request: Request) -> Response:
        instead = await struck(service, request, describe=describe)
        if instead is not None:
            return instead
        if request.headers.get("authorization") != f"Bearer {os.environ.get(variable, '')}":
            return JSONResponse({describe: refusal}, status_code=401)
        return await answer(request)

    return ask


async def control(request: Request) -> Response:
    """Set, tell or end the fault of one service."""
    service = request.path_params["service"]
    if request.method == "DELETE":
        _active.pop(service, None)
    elif request.method == "POST":
        fault = await request.json()
        if fault.get("fault") not in KINDS:
            return JSONResponse({"error": f"no such fault; take one of {', '.join(KINDS)}"}, status_code=404)
        _active[service] = fault
    return JSONResponse(fault_of(service))


ROUTES = [Route("/_control/{service}", control, methods=["GET", "POST", "DELETE"])]
