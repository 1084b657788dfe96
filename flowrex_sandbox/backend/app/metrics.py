"""What ``/metrics`` shows: the playbook's metric names."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .database import Database
from .memory import memory_limit_bytes

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # process_resident_memory_bytes and the like
BROKER_REASONS = ("unreachable", "timeout", "credentials", "rate-limit", "malformed", "rejected")
HTTP_REQUESTS = Counter(
    "flowrex_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "flowrex_http_request_duration_seconds", "Time to answer a request.", ("method", "route"), registry=REGISTRY
)
HTTP_IN_PROGRESS = Gauge("flowrex_http_requests_in_progress", "Requests being answered.", registry=REGISTRY)
TRADES = Counter("flowrex_trades_total", "Trades by what came of them.", ("status",), registry=REGISTRY)
TRADES_FAILED = Counter("flowrex_trades_failed_total", "Trades that failed.", ("reason",), registry=REGISTRY)
TRADES_LAST_FAILED = Gauge(
    "flowrex_trades_last_failed_timestamp_seconds", "When a trade last failed.", ("reason",), registry=REGISTRY
)
BROKER_SECONDS = Histogram("flowrex_broker_request_duration_seconds", "Time to place an order.", registry=REGISTRY)
LOG_ERRORS = Counter("flowrex_log_errors_total", "Lines logged as errors.", registry=REGISTRY)
for _status in ("filled", "failed", "blocked"):
    TRADES.labels(_status)
for _reason in ("database", *(f"broker-{what}" for what in BROKER_REASONS)):
    TRADES_FAILED.labels(_reason)  # a counter that is there from the start can be seen to grow
PRICE_MOVED = Gauge(
    "flowrex_market_data_timestamp_seconds", "When the feed last moved a price.", ("symbol",), registry=REGISTRY
)
MEMORY_LIMIT = Gauge("flowrex_memory_limit_bytes", "Memory that this replica may use.", registry=REGISTRY)
MEMORY_LIMIT.set_function(memory_limit_bytes)
WEBSOCKETS = Gauge("flowrex_websocket_connections", "WebSocket connections open.", registry=REGISTRY)
WEBSOCKETS_CLOSED = Counter(
    "flowrex_websocket_closed_total", "WebSocket connections closed.", ("code", "by"), registry=REGISTRY
)
WEBSOCKET_MESSAGES = Counter("flowrex_websocket_messages_total", "Messages sent to clients.", registry=REGISTRY)


class PoolCollector:
    """The pool's counts, read at the moment of the scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Gauges and counters of the pool."""
        pool = self._database
        gauges = (
            ("flowrex_database_connections", "Pooled connections in use.", pool.in_use),
            ("flowrex_database_connections_max", "Connections that the pool may have.", pool.size),
            ("flowrex_database_pool_waiting", "Requests waiting for a connection.", pool.waiting),
        )
        counters = (
            ("flowrex_database_pool_requests_total", "Connections asked for.", pool.requests),
            ("flowrex_database_pool_queued_total", "Requests that found the pool empty.", pool.queued),
            ("flowrex_database_pool_errors_total", "Requests that got no connection in time.", pool.errors),
            ("flowrex_database_pool_wait_seconds_total", "Time spent waiting for connections.", pool.wait_seconds),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, total in counters:
            yield CounterMetricFamily(name, text, value=total)
