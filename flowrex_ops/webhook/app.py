"""The HTTP side: what is let in, what is kept before the answer, and what every refusal says.

``/health/ready`` takes no token, ``/metrics`` does.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowrex_ops.errors import RecordError
from flowrex_ops.jobs.run import open_folder
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import ServeSettings
from flowrex_ops.webhook.intake import LATER, Intake
from flowrex_ops.webhook.metrics import Metrics
from flowrex_ops.webhook.payload import RefusedError, read_payload, redacted
from flowrex_ops.webhook.timeline_sync import sync_alerts

LOG = logging.getLogger("flowrex_ops.webhook")
PATH = "/alertmanager"
PATHS = f"POST {PATH}, GET /health/ready and GET /metrics"


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
            exception_handlers=dict.fromkeys((HTTPException, RecordError, ClientDisconnect), self._refused),
        )

    def accept(self, raw: bytes) -> Mapping[str, object]:
        """Keep what a request brought; it is on disk when this returns. RefusedError or RecordError: send it again."""
        payload = redacted(read_payload(raw), self.redactor)
        for alert in payload.alerts:
            self.metrics.received.labels(alert.status).inc()
        decision = self.intake.accept(payload, datetime.now(UTC))
        if decision.group.incident:
            sync_alerts(open_folder(self.intake.job(payload, decision)), payload, decision, self.redactor)
        self.wake()
        for transition in decision.transitions:
            self.metrics.accepted.labels(transition.value).inc()
        runs = [{"runbook": runbook, "why": kind.value} for runbook, kind in decision.runs]
        return {"accepted": len(payload.alerts), "runs": runs}

    async def _receive(self, request: Request) -> Response:
        self._require_token(request)
        if self.stopping:
            raise RefusedError(503, "stopping", "the server stops; send the alert again later", LATER)
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
        await asyncio.to_thread(self.intake.table.check)
        return JSONResponse({"status": "ready"})

    async def _metrics(self, request: Request) -> Response:
        self._require_token(request)
        text = await asyncio.to_thread(generate_latest, self.metrics.registry)
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

    async def _refused(self, request: Request, error: Exception) -> Response:
        if isinstance(error, RecordError):
            LOG.error("%s", error)
            text = "the alert could not be kept, the server's log says why; send it again later"
            error = RefusedError(503, "storage", text, LATER)
        if not isinstance(error, HTTPException):
            return Response(status_code=400)  # it has hung up: nobody is there to read it
        if isinstance(error, RefusedError) and request.method == "POST":
            self.metrics.refused.labels(error.reason).inc()
        said = f"there are {PATHS}" if error.status_code in (404, 405) else error.detail
        return JSONResponse({"error": said}, error.status_code, error.headers)
