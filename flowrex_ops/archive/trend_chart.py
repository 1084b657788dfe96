"""How often, and how long: the archive over time."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from flowrex_ops.chart_style import BLUE, INK, PAPER, VERMILLION

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_DAYS = {"day": 0.8, "week": 5.6, "month": 24.0}
_HOURS_FROM = 180.0
_FORMATS = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M"]
_ZERO_FORMATS = ["%Y", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
"""Of ticks at years, months, days, hours …: each says enough by itself."""


def plot_trend(incidents: pd.DataFrame, periods: pd.DataFrame, *, what: str, period: str) -> Figure:
    """Above a bar a day (week, month) with the number of incidents, below a point an incident with how long it lasted.

    Takes ``Trend.incidents`` and ``Trend.periods``. Hollow points: not resolved, so the time is that of its last record.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), dpi=110, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    often, long = figure.subplots(2, 1, sharex=True)
    for axes in (often, long):
        axes.set_facecolor(PAPER)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=10)
    _plot_often(often, periods, period)
    _plot_long(long, incidents)
    _format_dates(long)
    often.set_title(_title(incidents, what), fontsize=12, fontweight="bold", color=INK)
    return figure


def _plot_often(axes: Axes, periods: pd.DataFrame, period: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.bar(periods["begins"], periods["times"], width=_WIDTH_DAYS[period], align="edge", color=BLUE, edgecolor=PAPER)
    axes.set_ylim(0, max(1, int(periods["times"].max()) if len(periods) else 1) * 1.15)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"incidents a {period}", color=INK)


def _plot_long(axes: Axes, incidents: pd.DataFrame) -> None:
    hours = bool(len(incidents) and incidents["minutes"].max() > _HOURS_FROM)
    axes.set_ylabel(f"lasted, {'hours' if hours else 'minutes'}", color=INK)
    axes.set_xlabel("began (UTC)", color=INK)
    if incidents.empty:
        axes.set_yticks([])
        return
    length = incidents["minutes"] / (60 if hours else 1)
    over = incidents["resolved"].astype(bool)
    axes.scatter(incidents.loc[over, "started"], length[over], s=36, color=VERMILLION, marker="o", label="resolved")
    if not over.all():
        at, label = incidents.loc[~over, "started"], "not resolved: to its last record"
        axes.scatter(at, length[~over], s=40, facecolors=PAPER, edgecolors=INK, marker="D", label=label)
    median = float(length.median())
    axes.axhline(median, color=INK, linestyle=(0, (6, 3)), linewidth=1.2, label=f"half were shorter than {median:.3g}")
    axes.set_ylim(0, float(length.max()) * 1.15 or 1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _format_dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, maxticks=7, interval_multiples=False)  # type: ignore[no-untyped-call]  # of matplotlib
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, tz=UTC, formats=_FORMATS, zero_formats=_ZERO_FORMATS, show_offset=False)  # type: ignore[no-untyped-call]  # of matplotlib
    )


def _title(incidents: pd.DataFrame, what: str) -> str:
    number = len(incidents)
    return f"{what}: {number} incident{'' if number == 1 else 's'}" if number else f"{what}: never in this time"
