"""What Prometheus remembers, as lines over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.chart_style import INK, LINES, format_times, marker_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 8


def plot_history(history: pd.DataFrame, *, title: str, unit: str, limit: float | None = None) -> Figure:
    """Each series as a line, the highest ones where there are too many, and *limit* as a dashed one.

    Takes ``PrometheusSource.query_range``; a time without a value is a gap.
    """
    figure, axes = new_figure(2.6)
    highest = history.groupby("series")["value"].max().sort_values(ascending=False).head(MOST_LINES).index
    for name, (colour, style) in zip(sorted(highest), LINES * 2, strict=False):
        part = history[history["series"].eq(name)].sort_values("at")
        look: dict[str, Any] = {"color": colour, "linestyle": style, "linewidth": 2, "marker": marker_of(part["value"])}
        axes.step(part["at"], part["value"], where="post", label=name, **look)
    if limit is not None:
        axes.axhline(limit, color=INK, linestyle=(0, (6, 3)), linewidth=1.2, label="limit")
    top = max(float(history["value"].max()) if len(history) else 0.0, limit or 0.0)
    axes.set_ylim(0, 1.15 * top or 1)
    axes.set_ylabel(unit)
    axes.set_xlabel("UTC")
    if len(history):
        format_times(axes, history["at"])
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    axes.set_title(title if len(history) else f"{title}: Prometheus has no values")
    return figure
