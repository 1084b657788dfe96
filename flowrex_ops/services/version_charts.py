"""Which version answered users, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowrex_ops.metrics.charts import plot_history
from flowrex_ops.services.versions import requests_by_version

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowrex_ops.logs.access_log import AccessLog


def plot_versions(log: AccessLog) -> Figure:
    """A line a version: the requests that it answered in each bucket of the access log."""
    unit = f"requests in {log.bucket_seconds} s"
    return plot_history(requests_by_version(log.requests), title="Requests answered, by version", unit=unit)
