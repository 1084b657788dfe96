"""How old the backups are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowrex_ops.chart_style import BLUE, INK, PAPER, VERMILLION, new_figure
from flowrex_ops.durations import format_seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN_BACKUPS = 10
_HOUR, _DAY = 3600.0, 86400.0
_BAD_CHECKSUM = "differs"


def plot_backups(backups: pd.DataFrame) -> Figure:
    """A bar a backup, as long as it is old; takes ``BackupsSource.get_backups``. Hatched: it cannot be restored."""
    shown = backups.head(SHOWN_BACKUPS)
    figure, axes = new_figure(1.4 + 0.42 * max(1, len(shown)))
    oldest = float(shown["age_seconds"].max()) if len(shown) else 0.0
    unit, seconds = (
        ("days", _DAY) if oldest >= 2 * _DAY else ("hours", _HOUR) if oldest >= 2 * _HOUR else ("minutes", 60.0)
    )
    for place, (_, row) in enumerate(shown.iterrows()):
        good = bool(row["readable"] is True) and row["checksum"] != _BAD_CHECKSUM
        age = row["age_seconds"] / seconds
        axes.barh(
            place,
            age,
            0.6,
            color=BLUE if good else PAPER,
            edgecolor=BLUE if good else VERMILLION,
            hatch="" if good else "///",
        )
        axes.text(
            age,
            place,
            f"  {format_seconds(row['age_seconds'])}{'' if good else ': not known to be good'}",
            va="center",
            color=INK,
        )
    axes.set_yticks(range(len(shown)), list(shown["name"]))
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    axes.set_xlim(0, max(1.0, 1.35 * oldest / seconds))
    axes.set_xlabel(f"age in {unit}: what users did in that time is not in the backup")
    more = len(backups) - len(shown)
    title = f"{len(backups)} backup{'s' if len(backups) > 1 else ''}, the newest first{f' ({more} older ones not shown)' if more > 0 else ''}"
    axes.set_title(title if len(backups) else "There is no backup")
    return figure
