"""Charts for tired eyes: one idea each, labelled axes with units, readable in colour-blind and dark mode."""

from __future__ import annotations

from flowrex_ops.archive.trend import plot_trend
from flowrex_ops.chart_style import new_figure
from flowrex_ops.http.charts import plot_error_history, plot_error_share, plot_route_replicas
from flowrex_ops.latency.charts import plot_latency, plot_request_parts
from flowrex_ops.memory.charts import plot_memory_trend, plot_redis_prefixes
from flowrex_ops.metrics.charts import plot_history
from flowrex_ops.postgres.backups.charts import plot_backups
from flowrex_ops.postgres.charts import plot_blocking_tree, plot_connections, plot_pools, plot_session_ages
from flowrex_ops.services.charts import plot_checklist, plot_memory
from flowrex_ops.services.version_charts import plot_versions
from flowrex_ops.tls.charts import plot_validity
from flowrex_ops.trades.charts import plot_broker_latency, plot_failed_per_minute, plot_symbols
from flowrex_ops.websocket.charts import (
    plot_age_at_close,
    plot_closings,
    plot_websocket_connections,
    plot_websocket_memory,
)

__all__ = [
    "new_figure",
    "plot_age_at_close",
    "plot_backups",
    "plot_blocking_tree",
    "plot_broker_latency",
    "plot_checklist",
    "plot_closings",
    "plot_connections",
    "plot_error_history",
    "plot_error_share",
    "plot_failed_per_minute",
    "plot_history",
    "plot_latency",
    "plot_memory",
    "plot_memory_trend",
    "plot_pools",
    "plot_redis_prefixes",
    "plot_request_parts",
    "plot_route_replicas",
    "plot_session_ages",
    "plot_symbols",
    "plot_trend",
    "plot_validity",
    "plot_versions",
    "plot_websocket_connections",
    "plot_websocket_memory",
]
