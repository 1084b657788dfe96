"""The HTTP side: what is let in, what is kept before the answer, and what every refusal says."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowrex_ops.errors import RecordError
from flowrex_ops.jobs.run import open_folder
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import ServeSettings
from flowrex_ops.webhook.intake import Intake, QueueFullError
from flowrex_ops.webhook.metrics import Metrics
from flowrex_ops.webhook.payload import PayloadError, read_payload, redacted
from flowrex_ops.webhook.timeline_sync import sync_alerts

LOG = logging.getLogger("flowrex_ops.webhook")
PATH = "/alertmanager"
_LATER = {"Retry-After": "30"}
Handler = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """An HTTP answer other than 200: *status*, a *reason* for the metrics, and a text that names what would be right."""

    def __init__(self, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.reason, self.headers = status, reason, headers


@dataclass
class AlertWebhook:
    """Takes alerts in. ``wake`` is called when runs were queued; ``stopping`` refuses all, ready or not."""

    intake: Intake
    settings: ServeSettings
    redactor: Redactor
    metrics: Metrics
    wake: Callable[[], None]
    stopping: bool = False

    def app(self) -> Starlette:
        """``POST /alertmanager``, ``GET /health/ready``, ``GET /metrics``."""
        return Starlette(
            routes=[
                Route(PATH, self._receive, methods=["POST"]),
                Route("/health/ready", self._ready, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            exception_handlers={RefusedError: self._refused, HTTPException: _no_route, ClientDisconnect: _nobody},  # type: ignore[dict-item]  # each gets its own
        )

    def accept(self, raw: bytes) -> Mapping[str, object]:
        """Keep what a request brought; it is on disk when this returns. RefusedError says why nothing was kept."""
        try:
            payload = redacted(read_payload(raw), self.redactor)
            for alert in payload.alerts:
                self.metrics.received.labels(alert.status).inc()
            decision = self.intake.accept(payload, datetime.now(UTC))
            if decision.group.incident:
                sync_alerts(open_folder(self.intake.job(payload, decision)), payload, decision, self.redactor)
        except PayloadError as error:
            raise RefusedError(400, "malformed", str(error)) from None
        except QueueFullError as error:
            raise RefusedError(429, "queue full", str(error), _LATER) from None
        except RecordError as error:
            LOG.error("%s", error)  # noqa: TRY400  (its text says all)
            raise RefusedError(503, "storage", "the alert could not be kept; send it again later", _LATER) from None
        finally:
            self.wake()
        for transition in decision.transitions:
            self.metrics.accepted.labels(transition.value).inc()
        runs = [{"runbook": runbook, "why": kind.value} for runbook, kind in decision.runs]
        return {"accepted": len(payload.alerts), "runs": runs}

    async def _receive(self, request: Request) -> Response:
        self._require_token(request)
        if self.stopping:
            raise RefusedError(503, "stopping", "the server stops; send the alert again later", _LATER)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(415, "not JSON", f"content-type: '{kind[:60]}' is not 'application/json'")
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                raw = await self._read(request)
        except TimeoutError:
            text = f"the body did not come within {self.settings.request_seconds:g} s; send it again"
            raise RefusedError(408, "too slow", text, {"Connection": "close"}) from None
        return JSONResponse(await asyncio.to_thread(self.accept, raw))

    async def _read(self, request: Request) -> bytes:
        """The body, counted while it comes: a length that is announced may be a lie, or missing."""
        most = self.settings.max_request_bytes
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                text = f"the body is larger than {most} bytes; raise serve.max_request_bytes, or group alerts by more labels"
                raise RefusedError(413, "too large", text, {"Connection": "close"})
        return bytes(body)

    async def _ready(self, _request: Request) -> Response:
        """Whether an alert would be kept now: the database is written for it."""
        if self.stopping:
            raise RefusedError(503, "stopping", "the server stops")
        try:
            await asyncio.to_thread(self.intake.table.check)
        except RecordError:
            raise RefusedError(503, "storage", "the queue cannot be written; the server's log says why") from None
        return JSONResponse({"status": "ready"})

    async def _metrics(self, request: Request) -> Response:
        self._require_token(request)
        try:
            text = await asyncio.to_thread(self.metrics.render)
        except RecordError:
            raise RefusedError(503, "storage", "the queue cannot be read; the server's log says why") from None
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _require_token(self, request: Request) -> None:
        if self.settings.token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = self.settings.token.get_secret_value()
        same = hmac.compare_digest(given.strip().encode(), wanted.encode())
        if scheme.lower() != "bearer" or not same:
            text = "authorization: send 'Bearer' and the token of serve.token"
            raise RefusedError(401, "no token", text, {"WWW-Authenticate": "Bearer"})

    async def _refused(self, request: Request, error: RefusedError) -> Response:
        if request.method == "POST":
            self.metrics.refused.labels(error.reason).inc()
        return JSONResponse({"error": str(error)}, error.status, error.headers)


async def _no_route(request: Request, error: HTTPException) -> Response:
    said = {
        404: f"there are POST {PATH}, GET /health/ready and GET /metrics",
        405: f"{request.method} is not for this path",
    }
    return JSONResponse({"error": said.get(error.status_code, "this cannot be done")}, error.status_code, error.headers)


async def _nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it
