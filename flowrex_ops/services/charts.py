"""Charts of triage, in the one style."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, INK, ORANGE, PAPER, VERMILLION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = {"healthy": (GREEN, "", "●"), "unhealthy": (VERMILLION, "//", "✖"), "unknown": (ORANGE, "..", "?")}


def plot_checklist(checklist: pd.DataFrame) -> Figure:
    """The whole platform in one picture: each item of the checklist healthy, unhealthy or unknown."""
    figure, axes = new_figure(0.7 + 0.3 * max(1, len(checklist)))
    for place, row in enumerate(checklist.iloc[::-1].itertuples()):
        colour, hatch, mark = _LOOKS[str(row.state)]
        axes.barh(place, 1, color=colour, hatch=hatch, edgecolor=PAPER, height=0.8)
        axes.text(1.03, place, _short(f"{mark} {row.answer}"), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(checklist)), list(checklist["item"])[::-1])
    axes.set_xlim(0, 12)
    axes.set_ylim(-0.6, len(checklist) - 0.4)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(_title(checklist))
    return figure


def plot_memory(usage: pd.DataFrame) -> Figure:
    """Memory of every replica beside its limit, the fullest on top."""
    shown = usage.sort_values(["memory_share", "memory_bytes"], na_position="first").tail(14)
    figure, axes = new_figure(1.1 + 0.27 * max(1, len(shown)))
    limits = shown["memory_limit_bytes"].fillna(0) / 2**20
    used = shown["memory_bytes"] / 2**20
    high = shown["memory_share"].fillna(0).ge(0.85)
    axes.barh(shown["name"], limits, color="#e3e3dd", height=0.7, label="limit")
    bars = axes.barh(shown["name"], used, color=[VERMILLION if one else BLUE for one in high], height=0.4, label="used")
    for bar, one in zip(bars, high, strict=True):
        bar.set_hatch("//" if one else "")
    axes.set_xlabel("MiB")
    over = int(high.sum())
    axes.set_title(f"{over} replicas use more than 85 % of their memory" if over else "Every replica has memory left")
    if limits.any():
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def _title(checklist: pd.DataFrame) -> str:
    unhealthy, unknown = (int(checklist["state"].eq(state).sum()) for state in ("unhealthy", "unknown"))
    if not unhealthy and not unknown:
        return f"All {len(checklist)} items are healthy"
    return f"{unhealthy} of {len(checklist)} items are unhealthy" + (f", {unknown} unknown" if unknown else "")


def _short(text: str) -> str:
    return text if len(text) <= 96 else text[:95] + "…"  # noqa: PLR2004  # what fits beside the bars
