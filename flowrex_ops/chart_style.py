"""The one style of all charts.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/); what matters also differs by hatch or by label. The background is
opaque and light: JupyterLab shows it so in the dark too, and the record's page turns it dark (``page.css``), by which blue stays blue
and orange orange. The page shows a chart 800 pixels wide on any screen,
and a phone scrolls it: what has ``SMALLEST_POINTS`` is then 11 pixels high.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILLION, YELLOW, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#F0E442", "#8C8C8C"
INK, PAPER = "#1b1f24", "#fbfbf9"
WIDTH_INCHES, DOTS_PER_INCH, SMALLEST_POINTS = 9, 110, 9
LINES = ((BLUE, "-"), (VERMILLION, "--"), (GREEN, "-."), (ORANGE, ":"), (INK, "-"), (GREY, "--"))
"""How lines are told apart, by colour and by dash."""


def new_figure(height: float) -> tuple[Figure, Axes]:
    """One figure in the one style, without pyplot: nothing global, nothing to close, and a faster import."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    axes.title.set(fontsize=12, fontweight="bold", color=INK)
    return figure, axes


def marker_of(values: pd.Series) -> str:
    """How the points of a line are drawn: not at all, but for one that is alone, of which no line would be seen."""
    return "o" if values.count() == 1 else ""


def format_times(axes: Axes, at: pd.Series) -> None:
    """Label the x axis with times of day in UTC, with seconds where they tell something; one moment has a minute around it."""
    from matplotlib.dates import DateFormatter

    span = at.max() - at.min()
    if not span:
        axes.set_xlim(at.min() - timedelta(seconds=30), at.max() + timedelta(seconds=30))
    short = span < timedelta(minutes=10)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if short else "%H:%M", tz=UTC))  # type: ignore[no-untyped-call]  # of matplotlib
