"""The HTTP side: what is let in, what is kept before the answer, and what every refusal says."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowrex_ops.archive.incidents import read_incident, reserve_incident_id
from flowrex_ops.catalog import Runbook
from flowrex_ops.errors import RecordError
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.serve.metrics import Metrics
from flowrex_ops.serve.payload import Alert, Payload, PayloadError, read_payload, redacted
from flowrex_ops.serve.queue import Queue, QueueFullError
from flowrex_ops.settings import ServeSettings

_LOG = logging.getLogger("flowrex_ops.serve")
FALLBACK = "triage"
WEBHOOK = "/alertmanager"
_RETRY_SECONDS = "30"
Handler = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """An HTTP answer other than 200: *status*, a *reason* for the metrics, and a text that names what would be right."""

    def __init__(self, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


@dataclass
class Door:
    """Takes alerts in. ``wake`` is called when runs were queued; ``stopping`` refuses all, ready or not."""

    queue: Queue
    settings: ServeSettings
    by_alert: Mapping[str, str]
    outputs: Path
    redactor: Redactor
    metrics: Metrics
    wake: Callable[[], None]
    stopping: bool = False

    def app(self) -> Starlette:
        """``POST /alertmanager``, ``GET /health/ready``, ``GET /metrics``."""
        return Starlette(
            routes=[
                Route(WEBHOOK, self._told(self._receive), methods=["POST"]),
                Route("/health/ready", self._told(self._ready), methods=["GET"]),
                Route("/metrics", self._told(self._metrics), methods=["GET"]),
            ],
            exception_handlers={HTTPException: _not_here},
        )

    def accept(self, raw: bytes) -> Mapping[str, object]:
        """Keep what a request brought; it is on disk when this returns. RefusedError says why nothing was kept."""
        try:
            payload = read_payload(raw)
            kept = redacted(payload, self.redactor)
        except PayloadError as error:
            raise RefusedError(400, "malformed", str(error)) from None
        for alert in kept.alerts:
            self.metrics.received.labels(alert.status).inc()
        return self._keep(kept)

    def _is_over(self, incident: str) -> bool:
        """Whether people have resolved it; one that cannot be read goes on."""
        try:
            return bool(read_incident(self.outputs / incident).get("resolved"))
        except RecordError:
            return False

    def _keep(self, payload: Payload) -> Mapping[str, object]:
        try:
            decision = self.queue.accept(
                payload,
                now=datetime.now(UTC),
                runbook_for=self._runbook_for,
                incident_id=lambda: reserve_incident_id(self.outputs),
                repeat=timedelta(seconds=self.settings.repeat_seconds),
                most=self.settings.queue_size,
                rejoin=timedelta(seconds=self.settings.rejoin_seconds),
                is_over=self._is_over,
            )
        except QueueFullError as error:
            raise RefusedError(429, "queue full", str(error), {"Retry-After": _RETRY_SECONDS}) from None
        except RecordError as error:
            _LOG.error("%s", error)
            text = "the alert could not be kept; send it again later"
            raise RefusedError(503, "storage", text, {"Retry-After": _RETRY_SECONDS}) from None
        for meaning in decision.meanings:
            self.metrics.accepted.labels(meaning.value).inc()
        self.wake()
        return {
            "accepted": len(payload.alerts),
            "runs": [{"runbook": runbook, "why": kind.value} for runbook, kind in decision.runs],
        }

    def _runbook_for(self, alert: Alert) -> str:
        return self.by_alert.get(alert.name, FALLBACK)

    async def _receive(self, request: Request) -> Response:
        self._require_token(request)
        if self.stopping:
            raise RefusedError(
                503, "stopping", "the server stops; send the alert again later", {"Retry-After": _RETRY_SECONDS}
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(415, "not JSON", f"content-type: '{kind[:60]}' is not 'application/json'")
        raw = await self._read(request)
        return JSONResponse(await asyncio.to_thread(self.accept, raw))

    async def _read(self, request: Request) -> bytes:
        """The body, counted while it comes: a length that is announced may be a lie, or missing."""
        most = self.settings.max_request_bytes
        announced = request.headers.get("content-length", "0")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                if announced.isdecimal() and int(announced) > most:
                    raise RefusedError(413, "too large", _too_large(most))
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise RefusedError(413, "too large", _too_large(most))
                    parts.append(part)
        except TimeoutError:
            text = f"the body did not come within {self.settings.request_seconds:g} s; send it again"
            raise RefusedError(408, "too slow", text) from None
        return b"".join(parts)

    async def _ready(self, _request: Request) -> Response:
        """Whether an alert would be kept now: the database is written for it."""
        if self.stopping:
            raise RefusedError(503, "stopping", "the server stops")
        try:
            await asyncio.to_thread(self.queue.check, datetime.now(UTC))
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

    def _told(self, handler: Handler) -> Handler:
        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except RefusedError as error:
                if request.method == "POST":
                    self.metrics.refused.labels(error.reason).inc()
                headers = {**error.headers, **({"Connection": "close"} if error.status in (408, 413) else {})}
                return JSONResponse({"error": str(error)}, error.status, headers)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it

        return told


def serves(runbooks: Mapping[str, Runbook]) -> dict[str, str]:
    """Alert name to slug; ``triage`` gives way to every other runbook of the same alert."""
    ordered = sorted(runbooks.values(), key=lambda runbook: runbook.slug != FALLBACK)
    return {alert: runbook.slug for runbook in ordered for alert in runbook.alerts}


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes; raise serve.max_request_bytes, or group alerts by more labels"


async def _not_here(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    said = {
        404: f"there are POST {WEBHOOK}, GET /health/ready and GET /metrics",
        405: f"{request.method} is not for this path",
    }
    return JSONResponse({"error": said.get(status, "this cannot be done")}, status, headers)
