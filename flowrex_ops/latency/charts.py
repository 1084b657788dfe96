"""Charts of how long requests took, in the one style."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAPER,
    VERMILLION,
    YELLOW,
    format_times,
    marker_of,
    new_figure,
)
from flowrex_ops.latency.requests import complete
from flowrex_ops.latency.views import MEANS, percentile, times_by_route
from flowrex_ops.logs.access_log import AccessLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 60
SHOWN_ROUTES = 10


def plot_latency(log: AccessLog, *, slow_seconds: float) -> Figure:
    """Percentiles of request times, with the limit from which on a request is slow; the recent minutes are shaded."""
    rows = complete(log.times)
    span = (log.until - rows["at"].min()).total_seconds() if len(rows) else 0.0
    seconds = max(log.bucket_seconds, round(span / MOST_POINTS))
    points = [(at, part) for at, part in rows.groupby(rows["at"].dt.floor(f"{seconds}s")) if len(part)]
    at = pd.Series([moment for moment, _ in points], dtype="datetime64[ns, UTC]")
    figure, axes = new_figure(3.2)
    axes.axvspan(log.recent_since, log.until, color=YELLOW, alpha=0.25, label="recent")  # type: ignore[arg-type]  # dates are converted
    for share, colour, dash in ((50, BLUE, "-"), (95, VERMILLION, "--"), (99, GREY, ":")):
        values = pd.Series([percentile(part, share / 100) for _, part in points], dtype=float)
        axes.plot(at, values, color=colour, linestyle=dash, linewidth=2, marker=marker_of(values), label=f"p{share}")
    axes.axhline(slow_seconds, color=INK, linestyle="-.", linewidth=1.2, label=f"slow from {slow_seconds:g} s on")
    axes.set_yscale("log")
    axes.set_ylabel("seconds a request (log scale)")
    axes.set_xlabel(f"time (UTC), a point for each {seconds:g} s")
    if len(at):
        format_times(axes, at)
    recent = rows["at"].ge(log.recent_since.replace(microsecond=0))
    now, before = (_said(percentile(part, 0.95)) for part in (rows[recent], rows[~recent]))
    axes.set_title(f"95 % of requests took {now} or less lately, {before} or less before")
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def plot_request_parts(log: AccessLog) -> Figure:
    """Where the time of a recent request goes, on average, by route: the client, connecting, the first byte, the body."""
    table = times_by_route(log).head(SHOWN_ROUTES).iloc[::-1]
    figure, axes = new_figure(1.6 + 0.34 * max(1, len(table)))
    left = pd.Series(0.0, index=table.index)
    for (part, column), colour, hatch in zip(
        MEANS.items(), (GREY, ORANGE, VERMILLION, BLUE), ("..", "xx", "", "//"), strict=True
    ):
        axes.barh(table["route"], table[column], left=left, color=colour, hatch=hatch, edgecolor=PAPER, label=part)
        left = left + table[column]
    axes.set_xlabel("milliseconds of a request, on average, in the recent minutes")
    longest = str(table.loc[left.idxmax(), "route"]) if len(table) else "no route"
    axes.set_title(f"Where the time goes, by route: the longest is {longest}")
    figure.legend(loc="outside lower center", ncols=len(MEANS), frameon=False, fontsize=9)
    return figure


def _said(seconds: float) -> str:
    if pd.isna(seconds):
        return "an unknown time"
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
