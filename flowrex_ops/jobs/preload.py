"""Imports what every runbook needs; a headless kernel does this while its runner is still getting ready."""

from __future__ import annotations

from io import BytesIO

import docker  # noqa: F401  (imported for whoever needs it next)
import httpx  # noqa: F401  (as above)
import prometheus_client.parser  # noqa: F401  (as above)

import flowrex_ops.charts
import flowrex_ops.incident.survey  # noqa: F401  (as above, and with it every source)
from flowrex_ops.chart_style import new_figure
from flowrex_ops.incident import symptoms  # noqa: F401  (as above)
from flowrex_ops.postgres import checks as database_connections  # noqa: F401  (as above)
from flowrex_ops.services import checks as triage  # noqa: F401  (as above)
from flowrex_ops.tls import checks as certificate_expiry  # noqa: F401  (as above)


def warm_up_charts() -> None:
    """Draw an empty chart: fonts are looked up, and the renderer is loaded."""
    figure, _ = new_figure(1)
    figure.savefig(BytesIO(), format="png")


warm_up_charts()
