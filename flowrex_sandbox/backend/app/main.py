"""The API: routes, health, metrics, and one log line per request."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg_pool import PoolTimeout
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from . import defects, metrics, streams, trading
from .bugs import Bugs
from .database import Database
from .execution.adapters import get_adapter
from .feed import Feed
from .identity import VERSION, replica_number
from .logs import log
from .redis_memory import RedisMemoryCollector
from .sessions import Sessions

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

READY_SECONDS = 3.0
"""How long ``/health/ready`` may take; a PostgreSQL that hangs must not hang it too."""

TRADE_STATUS = {"filled": 201, "blocked": 422, "failed": 502}

REPLICA = replica_number()


def create_app() -> Starlette:
    """The application with its pool; the pool connects once the application starts."""
    database = Database(
        os.environ["DATABASE_URL"],
        size=int(os.environ.get("FLOWREX_POOL_SIZE", "5")),
        application_name=f"flowrex-backend-{REPLICA}",
    )
    metrics.REGISTRY.register(metrics.PoolCollector(database))
    sessions = Sessions(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    redis_memory = RedisMemoryCollector(sessions)
    metrics.REGISTRY.register(redis_memory)
    feed = Feed()
    prices_streamed = streams.Streams(feed)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        database.open()
        redis_memory.start()
        feed.start()
        log.info("backend started version=%s replica=%s pool_size=%d", VERSION, REPLICA, database.size)
        yield
        feed.stop()
        log.info("backend stopping version=%s replica=%s", VERSION, REPLICA)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/portfolio", observed("/api/portfolio", portfolio)),
            Route("/api/analytics", observed("/api/analytics", analytics)),
            Route("/api/prices", observed("/api/prices", prices)),
            Route("/api/session", observed("/api/session", session)),
            Route("/api/trades", observed("/api/trades", trades), methods=["POST"]),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", show_metrics),
            Route("/_sandbox/bugs/{kind}", start_bug, methods=["POST"]),
            Route("/_sandbox/heal", heal_bugs, methods=["POST"]),
            Route("/_sandbox/streams", streams.control, methods=["GET", "POST"]),
            WebSocketRoute("/ws", prices_streamed.serve),
        ],
    )
    app.state.database = database
    app.state.broker = get_adapter()
    app.state.sessions = sessions
    app.state.bugs = Bugs(database)
    app.state.streams = prices_streamed
    # Threads and not coroutines: a query that hangs holds its own thread, and the loop still answers /metrics.
    app.state.threads = request_threads()
    app.state.health_threads = ThreadPoolExecutor(8, thread_name_prefix="health")
    return app


def request_threads() -> ThreadPoolExecutor:
    """Where the requests' work is done."""
    return ThreadPoolExecutor(128, thread_name_prefix="request")


def observed(route: str, handler: Handler) -> Handler:
    """*handler* with its metrics, its log line, the database's failures turned into 503 and all others into 500."""

    async def observe(request: Request) -> Response:
        with metrics.HTTP_IN_PROGRESS.track_inprogress():
            return await answer(request)

    async def answer(request: Request) -> Response:
        started = time.monotonic()
        try:
            defects.audit(route)
            await defects.delay(route)
            response = await handler(request)
        except PoolTimeout as error:
            log.error("connection pool exhausted: %s", error, exc_info=True)
            response = JSONResponse({"error": "connection pool exhausted"}, status_code=503)
        except psycopg.Error as error:
            log.error("database error: %s", str(error).strip(), exc_info=True)
            response = JSONResponse({"error": "database error"}, status_code=503)
        except Exception as error:  # noqa: BLE001  (a request that breaks must not break the replica)
            log.error("unhandled exception in %s: %s", route, error, exc_info=True)  # as above
            response = JSONResponse({"error": "internal error"}, status_code=500)
        response.headers["X-Flowrex-Version"] = VERSION
        seconds = time.monotonic() - started
        metrics.HTTP_REQUESTS.labels(request.method, route, str(response.status_code)).inc()
        metrics.HTTP_SECONDS.labels(request.method, route).observe(seconds)
        client = request.headers.get("x-forwarded-for", request.client.host if request.client else "-")
        # The status comes last: whoever counts takes the last word of each line that has HTTP in it.
        log.info(
            'request route=%s duration_ms=%d client=%s "%s %s HTTP/%s" %d',
            route,
            seconds * 1000,
            client,
            request.method,
            request.url.path,
            request.scope.get("http_version", "1.1"),
            response.status_code,
        )
        return response

    return observe


async def in_thread(request: Request, work: Callable[..., T], *arguments: Any) -> T:
    """*work* in one of the request threads."""
    return await asyncio.get_running_loop().run_in_executor(request.app.state.threads, work, *arguments)


async def portfolio(request: Request) -> Response:
    """``GET /api/portfolio?account=1``."""
    account = int(request.query_params.get("account", "1"))
    return JSONResponse(await in_thread(request, trading.get_portfolio, request.app.state.database, account))


async def analytics(request: Request) -> Response:
    """``GET /api/analytics?account=1``."""
    account = int(request.query_params.get("account", "1"))
    return JSONResponse(await in_thread(request, trading.get_analytics, request.app.state.database, account))


async def prices(request: Request) -> Response:
    """``GET /api/prices``."""
    return JSONResponse(await in_thread(request, trading.get_prices, request.app.state.database))


async def session(request: Request) -> Response:
    """``GET /api/session?account=1``."""
    account = int(request.query_params.get("account", "1"))
    return JSONResponse(await in_thread(request, request.app.state.sessions.touch, account))


async def trades(request: Request) -> Response:
    """``POST /api/trades {account, symbol, side, quantity}``."""
    try:
        order = await request.json()
        arguments = (int(order["account"]), str(order["symbol"]), str(order["side"]), float(order["quantity"]))
    except (ValueError, TypeError, KeyError) as error:
        return JSONResponse({"error": f"not an order: {error}"}, status_code=400)
    state = request.app.state
    placed = await in_thread(request, trading.place_trade, state.database, state.broker, *arguments)
    return JSONResponse(placed, status_code=TRADE_STATUS[placed["status"]])


async def live(_request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive", "version": VERSION})


async def ready(request: Request) -> Response:
    """The process can serve: it gets a connection and PostgreSQL answers on it."""
    check = asyncio.get_running_loop().run_in_executor(
        request.app.state.health_threads, _ping, request.app.state.database
    )
    try:
        await asyncio.wait_for(check, READY_SECONDS)
    except (PoolTimeout, psycopg.Error, TimeoutError) as error:
        reason = str(error).strip() or f"database did not answer in {READY_SECONDS:g} s"
        log.error("not ready: %s", reason)
        return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
    return JSONResponse({"status": "ready", "version": VERSION})


def _ping(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("SELECT 1")


async def show_metrics(_request: Request) -> Response:
    """Prometheus' text format."""
    return PlainTextResponse(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def start_bug(request: Request) -> Response:
    """``POST /_sandbox/bugs/<kind>?count=5``: switch a bug on in this replica."""
    kind, count = request.path_params["kind"], int(request.query_params.get("count", "1"))
    if kind in defects.KNOWN:
        defects.switch_on(kind)
        if kind == "dead-workers":
            request.app.state.threads.shutdown(wait=False)
        return JSONResponse({"started": 1})
    try:
        request.app.state.bugs.start(kind, count)
    except KeyError:
        return JSONResponse({"error": f"no such bug: {kind}"}, status_code=404)
    return JSONResponse({"started": count})


async def heal_bugs(request: Request) -> Response:
    """``POST /_sandbox/heal``: switch all bugs off."""
    request.app.state.bugs.heal()
    request.app.state.streams.heal()
    if defects.active("dead-workers"):
        request.app.state.threads = request_threads()
    defects.switch_off_all()
    return JSONResponse({"status": "healed"})
