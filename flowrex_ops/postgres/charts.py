"""Sessions, pools, ages and blocking trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREY, INK, PAPER, VERMILLION, YELLOW, new_figure
from flowrex_ops.postgres.sessions import blocking_tree
from flowrex_ops.postgres.source import ConnectionLimits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {
    "active": (BLUE, ""),
    "idle in transaction": (VERMILLION, "//"),
    "idle in transaction (aborted)": (VERMILLION, "xx"),
    "idle": (GREY, ""),
    "other": (YELLOW, ".."),
}
SHOWN_BARS = 12


def plot_connections(sessions: pd.DataFrame, limits: ConnectionLimits) -> Figure:
    """Connections against the limit: one bar a holder (application), split by state, and the slots that are left.

    Takes ``PostgresSource.get_sessions`` and ``get_connection_limits``.
    """
    held = sessions[sessions["backend_type"].eq("client backend")]
    state = held["state"].where(held["state"].isin(list(STATES)), "other")
    holder = held["application"].replace("", pd.NA).fillna(held["role"]).fillna("unknown")
    counts = pd.crosstab(holder, state)
    counts = counts.loc[counts.sum(axis=1).sort_values().index].tail(SHOWN_BARS)
    figure, axes = new_figure(1.9 + 0.34 * (len(counts) + 1))
    _stack(axes, counts)
    free = max(0, limits.for_applications - limits.used)
    used = f"all: {limits.used} of {limits.for_applications}, {free} left"
    axes.barh([used], [limits.used], color=INK, height=0.55)
    axes.axvline(limits.for_applications, color=VERMILLION, linewidth=2)
    axes.set_xlim(0, limits.max_connections * 1.02)
    axes.axvspan(limits.for_applications, limits.max_connections, color=VERMILLION, alpha=0.15)
    axes.set_xlabel("connections (line: what applications may have; shaded: kept for superusers)")
    taken = limits.used / max(1, limits.for_applications)
    axes.set_title(f"PostgreSQL: {limits.used} of {limits.for_applications} connections taken ({taken:.0%})")
    _legend(axes)
    return figure


def plot_pools(samples: pd.DataFrame) -> Figure:
    """Connections in use against the size of each replica's pool, where it tells that; takes ``BackendSource.sample_pools``."""
    latest = samples[samples["error"].isna()].sort_values("at").groupby("replica").tail(1).sort_values("replica")
    used, sizes = (pd.to_numeric(latest[column]) for column in ("in_use", "maximum"))
    full = used.ge(sizes)
    figure, axes = new_figure(1.3 + 0.36 * max(1, len(latest)))
    axes.barh(latest["replica"], sizes.fillna(0), color="#e4e4e0", edgecolor=GREY, height=0.6)
    bars = axes.barh(latest["replica"], used, color=[VERMILLION if f else BLUE for f in full], height=0.6)
    labels = [
        f"{u:.0f}, of how many is unknown" if pd.isna(m) else f"{u:.0f} of {m:.0f}{'  FULL' if f else ''}"
        for u, m, f in zip(used, sizes, full, strict=True)
    ]
    axes.bar_label(bars, labels=labels, padding=6, color=INK)
    axes.set_xlim(0, max(1.0, sizes.fillna(0).max(), used.max()) * 1.25 if len(latest) else 1.0)
    axes.set_xlabel("connections in use (grey: the pool's size)")
    unknown = int(sizes.isna().sum())
    left_out = f"; {unknown} do not tell their size (set backend.pool_size)" if unknown else ""
    axes.set_title(f"Pools: {int(full.sum())} of {len(latest)} replicas have none left{left_out}")
    axes.invert_yaxis()
    return figure


def _shown(shown: int, of: int) -> str:
    return f" ({shown} of {of} are shown)" if shown < of else ""


def plot_session_ages(sessions: pd.DataFrame, *, threshold_seconds: float) -> Figure:
    """How long the oldest open transactions have been open, by state; takes ``PostgresSource.get_sessions``."""
    client = sessions[sessions["backend_type"].eq("client backend") & sessions["xact_age_seconds"].notna()]
    oldest = client.sort_values("xact_age_seconds", ascending=False).head(SHOWN_BARS)
    figure, axes = new_figure(1.7 + 0.32 * max(1, len(oldest)))
    for row in oldest.itertuples():
        colour, hatch = STATES.get(str(row.state), STATES["other"])
        label = f"{row.application or row.role} PID {row.pid}"
        axes.barh([label], [max(row.xact_age_seconds, 0.01)], color=colour, hatch=hatch, edgecolor=PAPER, height=0.65)
    axes.axvline(threshold_seconds, color=INK, linestyle="--", linewidth=1.2)
    axes.set_xlabel(f"transaction open for (seconds; dashed: {threshold_seconds:g} s)")
    axes.set_title(
        "No transaction is open"
        if oldest.empty
        else f"Oldest transaction: {oldest['xact_age_seconds'].max():.0f} s{_shown(len(oldest), len(client))}"
    )
    axes.invert_yaxis()
    _legend(axes, {str(state) for state in oldest["state"]})
    return figure


def plot_blocking_tree(sessions: pd.DataFrame) -> Figure:
    """Who waits for whom, the roots at the left; takes ``PostgresSource.get_sessions``."""
    tree = blocking_tree(sessions).head(2 * SHOWN_BARS)
    figure, axes = new_figure(1.2 + 0.3 * max(1, len(tree)))
    places = {int(row.pid): (int(row.depth), -place) for place, row in enumerate(_in_tree_order(tree))}
    for row in tree.itertuples():
        depth, y = places[int(row.pid)]
        _tree_node(axes, row, depth, y)
        if row.blocker is not None and row.blocker == row.blocker and int(row.blocker) in places:
            up, above = places[int(row.blocker)]
            axes.plot([up + 0.03, up + 0.03, depth], [above - 0.3, y, y], color=GREY, linewidth=1.4, zorder=0)
    deepest = int(tree["depth"].max()) if len(tree) else 0
    axes.set_xlim(-0.1, deepest + 1.6)
    axes.set_ylim(-len(tree) + 0.4, 0.6)
    axes.set_axis_off()
    waiting = int(tree["depth"].gt(0).sum()) if len(tree) else 0
    roots = int(tree["depth"].eq(0).sum()) if len(tree) else 0
    axes.set_title(
        f"{waiting} sessions wait behind {roots} root blocker{'s' * (roots != 1)}"
        if waiting
        else "Nobody waits for a lock"
    )
    return figure


def _in_tree_order(tree: pd.DataFrame) -> list[Any]:
    """Each node right below its blocker, the way a directory tree is printed."""
    rows = list(tree.itertuples())
    children: dict[int, list[Any]] = {}
    for row in rows:
        has_blocker = row.blocker is not None and row.blocker == row.blocker
        children.setdefault(int(row.blocker) if has_blocker else -1, []).append(row)
    ordered: list[Any] = []
    seen: set[int] = set()

    def visit(key: int) -> None:
        for row in children.get(key, []):
            if int(row.pid) not in seen:
                seen.add(int(row.pid))
                ordered.append(row)
                visit(int(row.pid))

    visit(-1)
    return ordered + [row for row in rows if int(row.pid) not in seen]


def _tree_node(axes: Axes, row: Any, depth: int, y: int) -> None:
    root = depth == 0
    wait = (
        f", waits {row.wait_seconds:.0f} s"
        if row.wait_seconds == row.wait_seconds and row.wait_seconds is not None
        else ""
    )
    who = f"PID {row.pid}" if row.pid else "no session"
    text = f"{'ROOT  ' if root else ''}{who}  {row.application}  ({row.state}{wait})"
    box = {
        "boxstyle": "round,pad=0.3",
        "facecolor": "#fde7d9" if root else "white",
        "edgecolor": VERMILLION if root else BLUE,
    }
    axes.text(
        depth + 0.02, y, text, va="center", fontsize=9, color=INK, fontweight="bold" if root else "normal", bbox=box
    )


def _stack(axes: Axes, counts: pd.DataFrame) -> None:
    left = pd.Series(0, index=counts.index)
    for state, (colour, hatch) in STATES.items():
        if state in counts:
            axes.barh(
                counts.index,
                counts[state],
                left=left,
                color=colour,
                hatch=hatch,
                edgecolor=PAPER,
                label=state,
                height=0.65,
            )
            left = left + counts[state]


def _legend(axes: Axes, states: set[str] | None = None) -> None:
    from matplotlib.patches import Patch

    handles, _ = axes.get_legend_handles_labels()
    if states is not None:
        known = [(state, look) for state, look in STATES.items() if state in states]
        handles = [Patch(facecolor=c, hatch=h, edgecolor=PAPER, label=state) for state, (c, h) in known]
    if handles:
        # Below the axes: inside them it would hide the bars, or the line that matters.
        axes.figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
