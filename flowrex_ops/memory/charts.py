"""Charts of memory: how it moved against its limit, and what holds Redis'."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILLION, new_figure
from flowrex_ops.memory.source import PROMETHEUS, SAMPLED
from flowrex_ops.memory.views import get_trends, minutes_text, reported_prefixes, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (INK, "D"), (GREY, "v"))
MOST_LINES = len(_LOOKS)
MOST_BARS = 8
_MIB = 2**20


def plot_memory_trend(memory: pd.DataFrame, *, trend_minutes: float = 30.0, limit_share: float = 0.85) -> Figure:
    """Memory of the fullest replicas over time against their limit, dashed on to where it leads; takes ``get_memory``."""
    trends = get_trends(memory, trend_minutes=trend_minutes)
    points = memory.groupby("replica")["at"].nunique()
    lines = trends[trends["replica"].map(points).gt(1)]
    trends = lines if len(lines) else trends  # a single point beside lines says nothing here
    grow = trends["grows"].astype(bool)
    shown = trends.assign(first=grow).sort_values(["first", "share"], ascending=False, kind="stable").head(MOST_LINES)
    end = memory["at"].max()
    figure, axes = new_figure(3.6)
    for row, (colour, marker) in zip(shown.itertuples(), _LOOKS, strict=False):
        part = memory[memory["replica"].eq(row.replica)]
        part = part[part["origin"].eq(PROMETHEUS if part["origin"].eq(PROMETHEUS).any() else SAMPLED)].sort_values("at")
        used = (part["used_bytes"] - part["cache_bytes"]) / _MIB
        ago = (part["at"] - end).dt.total_seconds() / 60
        every = max(1, len(part) // 12)
        axes.plot(
            ago, used, color=colour, marker=marker, markevery=every, markersize=5, linewidth=1.8, label=row.replica
        )
        if row.grows:
            _project(axes, float(used.iloc[-1]), row.bytes_per_minute / _MIB, abs(float(ago.min())), colour)
    limits = sorted(set(shown["limit_bytes"].dropna()))
    for limit in limits[:2]:
        axes.axhline(limit / _MIB, color=VERMILLION, linewidth=1.6)
        axes.annotate(f"limit {size(limit)}", (0.005, limit / _MIB), xycoords=("axes fraction", "data"), va="bottom")
        axes.axhline(limit_share * limit / _MIB, color=VERMILLION, linewidth=1, linestyle=":")
    axes.set_ylim(0, max([*(limit / _MIB for limit in limits), float(memory["used_bytes"].max()) / _MIB]) * 1.12)
    axes.set_ylabel("MiB")
    axes.set_xlabel(
        f"minutes (0 is {end:%H:%M:%S} UTC); dotted: {limit_share:.0%} of the limit, dashed: where it leads"
    )
    axes.set_title(_trend_title(trends, limit_share))
    axes.figure.legend(loc="outside lower center", ncols=MOST_LINES, frameon=False, fontsize=9)
    return figure


def _project(axes: Axes, used: float, per_minute: float, span: float, colour: str) -> None:
    """On for as long again as was looked at."""
    axes.plot([0, span], [used, used + per_minute * span], color=colour, linestyle="--", linewidth=1.4)
    axes.axvline(0, color=GREY, linewidth=0.8)


def _trend_title(trends: pd.DataFrame, limit_share: float) -> str:
    growing = trends[trends["grows"].astype(bool)].sort_values("minutes_to_limit")
    if len(growing):
        first = growing.iloc[0]
        return f"{_replicas(len(growing), 'grow')} all the time; {first['replica']} is full in {minutes_text(first['minutes_to_limit'])}"
    near = int(trends["share"].ge(limit_share).sum())
    if near:
        return f"{_replicas(near, 'stand')} above {limit_share:.0%} of their limit"
    fullest = trends["share"].max()
    return "No replica grows all the time" + ("" if math.isnan(fullest) else f"; the fullest is at {fullest:.0%}")


def _replicas(number: int, verb: str) -> str:
    return f"1 replica {verb}s" if number == 1 else f"{number} replicas {verb}"


def plot_redis_prefixes(keys: pd.DataFrame) -> Figure:
    """Redis' memory by prefix (and database, where there are several), the part without an expiry hatched; takes ``RedisSource.sample_keys``."""
    keys = keys.assign(kept=keys["bytes"] * keys["without_expiry"], prefix=reported_prefixes(keys))
    total = (
        keys.groupby("prefix")[["bytes", "kept", "keys"]].sum().sort_values("bytes", ascending=False).head(MOST_BARS)
    )
    figure, axes = new_figure(1.5 + 0.36 * max(1, len(total)))
    names = [name if len(name) <= 32 else name[:31] + "…" for name in map(str, total.index)]  # noqa: PLR2004  # what fits
    bars = axes.barh(names, total["bytes"] / _MIB, color=BLUE, edgecolor=PAPER, height=0.62, label="expires")
    axes.barh(
        names, total["kept"] / _MIB, color=ORANGE, hatch="//", edgecolor=PAPER, height=0.62, label="without an expiry"
    )
    labels = [f"{size(row.bytes)} in {row.keys:,.0f} keys" for row in total.itertuples()]
    axes.bar_label(bars, labels=labels, padding=6, color=INK)
    axes.set_xlim(0, max(float(total["bytes"].max() or 0) / _MIB, 0.001) * 1.45 if len(total) else 1)
    axes.set_xlabel("MiB")
    axes.invert_yaxis()
    if total.empty:
        axes.set_yticks([])
        axes.set_title("Redis holds no keys")
        return figure
    whole = float(keys["bytes"].sum())
    share = float(total["bytes"].iloc[0]) / whole if whole else 0.0
    axes.set_title(f"Redis: {names[0]} holds {share:.0%} of the keys' memory")
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
