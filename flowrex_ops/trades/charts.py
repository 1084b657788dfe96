"""Charts of trades and of the broker, in the one style."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILLION, YELLOW, new_figure
from flowrex_ops.trades.views import KINDS, attributed, count_symbols

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "database": (INK, ""),
    "credentials": (YELLOW, "xx"),
    "unreachable": (VERMILLION, "//"),
    "timeout": (ORANGE, ".."),
    "rejected": (BLUE, "\\\\"),
    "risk": (GREEN, ""),
    "other": (GREY, "++"),
}
MOST_BARS = 60
SHOWN_SYMBOLS = 12


def plot_failed_per_minute(by_minute: pd.DataFrame, *, since: timedelta, until: datetime | None = None) -> Figure:
    """Trades that were not filled over all of the time looked at, stacked by what stopped them.

    Takes ``PostgresSource.get_failed_trades_by_minute``. Up to now also where the last minutes are empty: what reaches the
    right edge goes on. A long time has several minutes to a bar.
    """
    found = attributed(by_minute)
    minutes = max(1, round(since.total_seconds() / 60 / MOST_BARS))
    width = pd.Timedelta(minutes=minutes)
    end = pd.Timestamp(until or datetime.now(UTC)).floor("min")
    bars = pd.date_range(end=end, start=end - since, freq=width)
    places = bars.searchsorted(pd.DatetimeIndex(pd.to_datetime(found["minute"], utc=True)), side="right") - 1
    counts = pd.crosstab(places, found["kind"], values=found["trades"], aggfunc="sum")
    counts = counts.reindex(range(len(bars))).fillna(0)
    figure, axes = new_figure(3.0)
    _stack_kinds(axes, counts)
    ticks = list(range(len(bars) - 1, -1, -max(1, len(bars) // 6)))
    axes.set_xticks(ticks, ["now" if place == len(bars) - 1 else f"{bars[place]:%H:%M}" for place in ticks])
    axes.set_xlim(-0.8, len(bars) - 0.2)
    axes.set_ylabel("trades per minute" if minutes == 1 else f"trades per {minutes} minutes")
    axes.set_xlabel("UTC")
    axes.set_title(_minutes_title(found))
    _legend(axes)
    if found.empty:
        axes.set_ylim(0, 1)
    return figure


def _minutes_title(found: pd.DataFrame) -> str:
    if found.empty:
        return "No trade failed or was blocked"
    blocked = int(found.loc[found["kind"].eq("risk"), "trades"].sum())
    failed = int(found["trades"].sum()) - blocked
    return (
        f"{failed} trades failed, {blocked} blocked by the risk engine; the last at {found['minute'].max():%H:%M} UTC"
    )


def plot_broker_latency(inside: pd.DataFrame, *, broker_slow_seconds: float) -> Figure:
    """How long the broker took to answer each replica, and what was wrong where it did not; takes a broker check."""
    slowest = inside.sort_values("seconds").groupby("place", as_index=False).tail(1).sort_values("place")
    figure, axes = new_figure(1.3 + 0.36 * max(1, len(slowest)))
    good = slowest["kind"].eq("ok")
    colours = [BLUE if fine else VERMILLION for fine in good]
    bars = axes.barh(slowest["place"], slowest["seconds"], color=colours, edgecolor=PAPER, height=0.6)
    for bar, fine in zip(bars, good, strict=True):
        bar.set_hatch("" if fine else "//")
    labels = [
        f"{row.seconds:.2f} s" + ("" if row.kind == "ok" else f"  {KINDS.get(row.kind, row.kind).upper()}")
        for row in slowest.itertuples()
    ]
    axes.bar_label(bars, labels=labels, padding=6, color=INK)
    axes.axvline(broker_slow_seconds, color=INK, linestyle="--", linewidth=1.2)
    axes.set_xlim(0, max(broker_slow_seconds, float(slowest["seconds"].max())) * 1.45)
    axes.set_xlabel(f"seconds until the broker answered (dashed: {broker_slow_seconds:g} s is slow)")
    axes.set_title(f"Broker: {int(good.sum())} of {len(slowest)} replicas are connected")
    axes.invert_yaxis()
    return figure


def plot_symbols(trades: pd.DataFrame) -> Figure:
    """Recent trades by symbol: filled, and what was not, by what stopped it; takes ``PostgresSource.get_trades``."""
    order = count_symbols(trades).groupby("symbol")["recent"].sum().sort_values(ascending=False).index
    shown = [symbol for symbol in order if symbol][:SHOWN_SYMBOLS]
    kinds = trades.join(attributed(trades)["kind"])
    kinds = kinds.assign(kind=kinds["kind"].astype(object).where(kinds["kind"].notna(), kinds["status"]))
    counts = pd.crosstab(kinds["symbol"], kinds["kind"], values=kinds["recent"], aggfunc="sum").fillna(0)
    counts = counts.reindex(shown, fill_value=0)
    figure, axes = new_figure(1.6 + 0.36 * max(1, len(shown)))
    left = pd.Series(0.0, index=counts.index)
    looks = {"filled": ("#d9d9d4", ""), "pending": (PAPER, "||"), **LOOKS}
    for kind, (colour, hatch) in looks.items():
        if kind in counts and counts[kind].sum():
            label = KINDS.get(kind, kind)
            axes.barh(
                counts.index,
                counts[kind],
                left=left,
                color=colour,
                hatch=hatch,
                edgecolor=GREY,
                label=label,
                height=0.62,
            )
            left = left + counts[kind]
    hit = [name for name, part in counts.iterrows() if part.drop(["filled", "pending"], errors="ignore").sum()]
    axes.set_title(
        f"Recent trades: not all filled for {len(hit)} of {len(counts)} symbols" if hit else "Recent trades: all filled"
    )
    axes.set_xlabel("recent trades")
    axes.invert_yaxis()
    _legend(axes)
    return figure


def _stack_kinds(axes: Axes, counts: pd.DataFrame) -> None:
    """Bars by place, since a bar a minute needs no axis of dates."""
    places = list(range(len(counts)))
    bottom = pd.Series(0.0, index=counts.index)
    for kind, (colour, hatch) in LOOKS.items():
        if kind in counts:
            axes.bar(
                places,
                counts[kind],
                bottom=bottom,
                color=colour,
                hatch=hatch,
                edgecolor=PAPER,
                label=KINDS[kind],
                width=0.8,
            )
            bottom = bottom + counts[kind]


def _legend(axes: Axes) -> None:
    """Below the axes, as everywhere: inside them it would hide the bars."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
