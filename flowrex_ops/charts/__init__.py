"""Charts for tired eyes: one idea each, labelled axes with units, readable in colour-blind and dark mode."""

from __future__ import annotations

from flowrex_ops.charts.backups import plot_backups
from flowrex_ops.charts.certificates import plot_validity
from flowrex_ops.charts.database import plot_blocking_tree, plot_connections, plot_pools, plot_session_ages
from flowrex_ops.charts.errors import plot_error_history, plot_error_share, plot_route_replicas
from flowrex_ops.charts.history import plot_history
from flowrex_ops.charts.incident import plot_course
from flowrex_ops.charts.memory import plot_memory_trend, plot_redis_prefixes
from flowrex_ops.charts.style import new_figure
from flowrex_ops.charts.trades import plot_broker_latency, plot_failed_per_minute, plot_symbols
from flowrex_ops.charts.trend import plot_trend
from flowrex_ops.charts.triage import plot_checklist, plot_memory
from flowrex_ops.charts.versions import plot_versions
from flowrex_ops.charts.websockets import (
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
    "plot_course",
    "plot_error_history",
    "plot_error_share",
    "plot_failed_per_minute",
    "plot_history",
    "plot_memory",
    "plot_memory_trend",
    "plot_pools",
    "plot_redis_prefixes",
    "plot_route_replicas",
    "plot_session_ages",
    "plot_symbols",
    "plot_trend",
    "plot_validity",
    "plot_versions",
    "plot_websocket_connections",
    "plot_websocket_memory",
]
