"""Imports what every runbook needs; a headless kernel does this while its runner is still getting ready."""

from __future__ import annotations

from io import BytesIO

import docker  # noqa: F401  (imported for whoever needs it next)
import httpx  # noqa: F401  (as above)
import prometheus_client.parser  # noqa: F401  (as above)

import flowrex_ops.incident.survey  # noqa: F401  (as above, and with it every source)
from flowrex_ops import charts
from flowrex_ops.checks import certificate_expiry, database_connections, symptoms, triage  # noqa: F401  (as above)


def warm_up_charts() -> None:
    """Draw an empty chart: fonts are looked up, and the renderer is loaded."""
    figure, _ = charts.new_figure(1)
    figure.savefig(BytesIO(), format="png")


warm_up_charts()
