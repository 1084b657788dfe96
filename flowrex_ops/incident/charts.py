"""The course of an incident in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, format_times, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = {
    "alert": (VERMILLION, "X"),
    "finding": (BLUE, "o"),
    "mitigation": (GREEN, "s"),
    "message": (ORANGE, "^"),
    "deploy": (INK, "D"),
    "people": (GREY, "P"),
}


def plot_course(events: pd.DataFrame, milestones: pd.DataFrame) -> Figure:
    """Each kind of event on a line of its own over time (UTC), the milestones as dashed lines with their names.

    *events* has the columns of ``EVENT_COLUMNS``; *milestones* has ``milestone`` and ``at``.
    """
    kinds = [kind for kind in _LOOKS if events["what"].eq(kind).any()]
    figure, axes = new_figure(1.6 + 0.38 * max(1, len(kinds)))
    for place, kind in enumerate(reversed(kinds)):
        colour, mark = _LOOKS[kind]
        at = events.loc[events["what"].eq(kind), "at"]
        axes.scatter(
            at, [place] * len(at), color=colour, marker=mark, s=70, zorder=3, edgecolors="white", linewidths=0.6
        )
    axes.set_yticks(range(len(kinds)), kinds[::-1])
    axes.set_ylim(-0.6, len(kinds) - 0.4)
    axes.grid(axis="y", color="#e3e3dd", zorder=0)
    for place, row in enumerate(milestones.itertuples()):
        axes.axvline(row.at, color=INK, linestyle="--", linewidth=1, zorder=1)
        axes.annotate(
            str(row.milestone),
            (row.at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3 + 11 * (place % 3)),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    moments = pd.concat([events["at"], pd.to_datetime(milestones["at"], utc=True)])
    if len(moments):
        format_times(axes, moments)
    axes.set_xlabel("time of day, UTC")
    axes.set_title(_title(milestones), pad=40)
    return figure


def _title(milestones: pd.DataFrame) -> str:
    at = dict(zip(milestones["milestone"], milestones["at"], strict=True))
    if "resolved" not in at or "started" not in at:
        return "Not resolved yet"
    minutes = (at["resolved"] - at["started"]).total_seconds() / 60
    return f"Over after {minutes:.0f} minutes"
