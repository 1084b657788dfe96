"""Charts of WebSockets, in the one style: how many are open, what ended them when, and how old they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.chart_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINES,
    ORANGE,
    PAPER,
    VERMILLION,
    YELLOW,
    format_times,
    marker_of,
    new_figure,
)
from flowrex_ops.model import Reading
from flowrex_ops.websocket.closings import ConnectionLog
from flowrex_ops.websocket.views import KINDS, TROUBLE, attributed, read_timeouts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "restart": (BLUE, "\\\\"),
    "limit": (YELLOW, "xx"),
    "error": (VERMILLION, "//"),
    "timeout": (ORANGE, ".."),
    "abnormal": (INK, "++"),
    "server": (GREEN, ""),
    "client": ("#d9d9d4", ""),
    "unreported": (GREY, "--"),
}
MOST_BARS = 60
AGE_BINS_SECONDS = (0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 86400)


def plot_websocket_connections(samples: pd.DataFrame, *, history: Reading[pd.DataFrame]) -> Figure:
    """WebSockets open in each replica: over all of the time looked at where Prometheus tells, else over the samples.

    Takes ``BackendSource.sample_websockets`` and ``PrometheusSource.query_range``; the title's number is always the newest sample's.
    """
    reported = samples[samples["error"].isna() & samples["connections"].notna()].sort_values("at")
    past = history.available and not history.require().empty
    lines = history.require().rename(columns={"series": "replica", "value": "connections"}) if past else reported
    figure, axes = new_figure(2.8)
    for (replica, part), (colour, style) in zip(lines.groupby("replica"), LINES * (len(lines) // 6 + 1), strict=False):
        at = part["at"] if past else (part["at"] - lines["at"].min()).dt.total_seconds()
        look: dict[str, Any] = {
            "color": colour,
            "linestyle": style,
            "linewidth": 2,
            "marker": marker_of(part["connections"]),
        }
        axes.step(at, part["connections"], where="post", label=replica, **look)
    newest = reported.groupby("replica")["connections"].last()
    silent = sorted(set(samples["replica"]) - set(newest.index))
    axes.set_title(
        f"{newest.sum():.0f} WebSockets are open on {len(newest)} replicas"
        + (f"; {', '.join(silent[:3])} did not answer" if silent else "")
    )
    if past:
        format_times(axes, lines["at"])
    axes.set_xlabel("UTC" if past else "seconds of sampling, up to now (no history from Prometheus)")
    axes.set_ylabel("connections")
    axes.set_ylim(0, max(4.0, 1.2 * float(lines["connections"].max() if len(lines) else 0)))
    _legend(axes)
    return figure


def plot_closings(
    log: ConnectionLog,
    *,
    locations: Reading[pd.DataFrame],
    replicas: Reading[pd.DataFrame],
    since: timedelta,
    until: datetime | None = None,
) -> Figure:
    """Connections that ended, over all of the time looked at, stacked by what ended them; up to now also where it is quiet."""
    found = attributed(log, locations, replicas)
    found = found[found["at"].notna()]
    minutes = max(1, round(since.total_seconds() / 60 / MOST_BARS))
    end = pd.Timestamp(until or datetime.now(UTC)).floor("min")
    bars = pd.date_range(end=end, start=end - since, freq=pd.Timedelta(minutes=minutes))
    places = bars.searchsorted(pd.DatetimeIndex(pd.to_datetime(found["at"], utc=True)), side="right") - 1
    counts = pd.crosstab(places, found["kind"].to_numpy()).reindex(range(len(bars))).fillna(0)
    figure, axes = new_figure(3.0)
    _stack(axes, list(range(len(bars))), counts, width=0.8)
    ticks = list(range(len(bars) - 1, -1, -max(1, len(bars) // 6)))
    axes.set_xticks(ticks, ["now" if place == len(bars) - 1 else f"{bars[place]:%H:%M}" for place in ticks])
    axes.set_xlim(-0.8, len(bars) - 0.2)
    axes.set_xlabel("UTC")
    axes.set_ylabel("closings per minute" if minutes == 1 else f"closings per {minutes} minutes")
    dropped = found[found["kind"].isin(TROUBLE)]
    axes.set_title(_closings_title(found, dropped))
    if found.empty:
        axes.set_ylim(0, 1)
    _legend(axes)
    return figure


def _closings_title(found: pd.DataFrame, dropped: pd.DataFrame) -> str:
    if dropped.empty and (unreported := int(found["kind"].eq("unreported").sum())):
        return f"{len(found)} connections ended, of {unreported} no log says how"
    if dropped.empty:
        return f"No connection was dropped; {len(found)} were closed by their clients"
    return f"{len(dropped)} of {len(found)} closings were drops; the last at {dropped['at'].max():%H:%M:%S} UTC"


def plot_age_at_close(
    log: ConnectionLog, *, locations: Reading[pd.DataFrame], replicas: Reading[pd.DataFrame]
) -> Figure:
    """How long connections had been open when they ended, by what ended them, with the proxy's read timeouts marked."""
    found = attributed(log, locations, replicas)
    ages = pd.to_numeric(found["age_seconds"], errors="coerce").fillna(found["quiet_seconds"])
    ages = ages.clip(0, AGE_BINS_SECONDS[-1] - 1)
    timeouts = read_timeouts(locations)
    edges = sorted({*AGE_BINS_SECONDS, *_around(timeouts)})
    bins = pd.cut(ages, edges, right=False, labels=False)
    reported = bins.notna()
    counts = (
        pd.crosstab(bins[reported].astype(int), found.loc[reported, "kind"]).reindex(range(len(edges) - 1)).fillna(0)
    )
    figure, axes = new_figure(3.2)
    _stack(axes, list(range(len(edges) - 1)), counts, width=0.85)
    for timeout in timeouts:
        place = next((n for n, upper in enumerate(edges[1:]) if timeout < upper), len(edges) - 2)
        axes.axvline(place, color=INK, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"proxy_read_timeout {_age(timeout)}",
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4 if place < len(edges) / 2 else -4, -12),
            textcoords="offset points",
            ha="left" if place < len(edges) / 2 else "right",
            fontsize=9,
            color=INK,
        )
    axes.set_xticks(range(len(edges) - 1), [_age(edge) for edge in edges[:-1]], fontsize=9)
    axes.set_xlabel("age at close, from")
    axes.set_ylabel("connections")
    axes.set_title(_age_title(found, ages))
    axes.set_ylim(0, max(1.0, 1.3 * float(counts.sum(axis=1).max() or 0)))
    _legend(axes)
    return figure


def _around(timeouts: Sequence[float]) -> list[float]:
    """A bin of its own for each timeout, so that a bunch stands out."""
    return [edge for timeout in timeouts if timeout >= 1 for edge in (timeout * 0.9, timeout * 1.2)]


def _age_title(found: pd.DataFrame, ages: pd.Series) -> str:
    dropped = ages[found["kind"].isin(TROUBLE)].dropna()
    if dropped.empty and ages.isna().all() and len(found):
        return f"No log says how old the {len(found)} connections that ended were"
    if dropped.empty:
        return "No connection was dropped" if len(found) else "No connection ended"
    return f"Connections that were dropped were {_age(float(dropped.median()))} old, half of them younger"


def _age(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:.3g} s"


def plot_websocket_memory(samples: pd.DataFrame) -> Figure:
    """Resident memory of each replica over the samples, as it changed since the first."""
    reported = samples[samples["error"].isna() & samples["memory_bytes"].notna()].sort_values("at")
    figure, axes = new_figure(2.8)
    first = reported["at"].min()
    grown = {}
    for (replica, part), (colour, style) in zip(
        reported.groupby("replica"), LINES * (len(reported) // 6 + 1), strict=False
    ):
        megabytes = part["memory_bytes"].astype(float) / 2**20
        grown[replica] = float(megabytes.iloc[-1] - megabytes.iloc[0])
        seconds = (part["at"] - first).dt.total_seconds()
        label = f"{replica} ({megabytes.iloc[-1]:.0f} MB)"
        axes.plot(seconds, megabytes - megabytes.iloc[0], color=colour, linestyle=style, linewidth=2, label=label)
    most = max(grown.values(), default=0.0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_title(f"Memory of the replicas: {most:+.1f} MB at most while it was watched")
    axes.set_xlabel("seconds of sampling, up to now")
    axes.set_ylabel("MB since the first sample")
    axes.set_ylim(min(-1.0, 1.2 * min(grown.values(), default=0.0)), max(5.0, 1.2 * most))
    _legend(axes)
    return figure


def _stack(axes: Axes, places: list[int], counts: pd.DataFrame, *, width: float) -> None:
    bottom = pd.Series(0.0, index=counts.index)
    for kind, (colour, hatch) in LOOKS.items():
        if kind in counts and counts[kind].sum():
            values = counts[kind]
            axes.bar(
                places,
                values,
                bottom=bottom,
                color=colour,
                hatch=hatch,
                edgecolor=PAPER if kind != "client" else GREY,
                label=KINDS[kind],
                width=width,
            )
            bottom = bottom + values


def _legend(axes: Axes) -> None:
    """Below the axes, as everywhere: inside them it would hide the bars."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(
            handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False, fontsize=9
        )
