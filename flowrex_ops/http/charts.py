"""Charts of failed requests, in the one style."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREY, INK, ORANGE, PAPER, VERMILLION, marker_of, new_figure
from flowrex_ops.logs.access_log import SERVER_ERROR, AccessLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 60
SHOWN_ROUTES = 10
_NICE_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_LEGIBLE = 0.5


def plot_error_share(log: AccessLog, services: pd.DataFrame, *, alert_ratio: float) -> Figure:
    """The share of requests that failed over time, by who made the answer, with replicas' starts and the alert's threshold.

    Takes ``AccessLogSource.get_requests`` and ``ServicesSource.get_replicas``. Time without any request is left empty.
    """
    rows = log.requests
    begin, end = pd.Timestamp(rows["at"].min()), pd.Timestamp(log.until)
    width = _bar_seconds((end - begin).total_seconds(), log.bucket_seconds)
    bars = rows["at"].map(lambda at: int((end - pd.Timestamp(at)).total_seconds() // width))
    total = rows.groupby(bars)["requests"].sum()
    figure, axes = new_figure(3.2)
    bottom = pd.Series(0.0, index=total.index)
    for maker, colour, hatch, label in (
        ("backend", VERMILLION, "", "made by the backend"),
        ("proxy", BLUE, "//", "made by the proxy (502, 504 …)"),
        ("unknown", GREY, "..", "maker not logged"),
    ):
        chosen = rows["status"].ge(SERVER_ERROR) & rows["made_by"].eq(maker)
        if not chosen.any():
            continue
        share = 100 * rows[chosen].groupby(bars[chosen])["requests"].sum()
        share = share / total[share.index]
        axes.bar(
            [-(bar + 0.5) * width for bar in share.index],
            share,
            bottom=bottom[share.index],
            width=0.9 * width,
            color=colour,
            hatch=hatch,
            edgecolor=PAPER,
            label=label,
        )
        bottom = bottom.add(share, fill_value=0)
    axes.axhline(alert_ratio * 100, color=INK, linestyle="--", linewidth=1.2, label=f"alert above {alert_ratio:.0%}")
    span = max(width, (end - begin).total_seconds())
    _mark_starts(axes, services, end, span)
    _time_axis(axes, span)
    highest = float(bottom.max()) if len(bottom) else 0.0
    axes.set_ylim(0, max(100 * alert_ratio * 2, min(108.0, highest * 1.25)))
    axes.set_ylabel(f"% of requests, each {_span(width)}")
    axes.set_title(_share_title(log))
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def plot_error_history(history: pd.DataFrame, *, alert_ratio: float) -> Figure:
    """The share of requests that the backend failed, as Prometheus has it, with the alert's threshold.

    Takes ``PrometheusSource.query_range`` of that share. It outlives containers and their logs, and knows nothing of what
    the proxy made itself.
    """
    figure, axes = new_figure(2.4)
    known = history[history["value"].notna()].sort_values("at")
    end = pd.Timestamp(known["at"].max()) if len(known) else pd.Timestamp(0, tz="UTC")
    ages = [-(end - pd.Timestamp(at)).total_seconds() for at in known["at"]]
    axes.plot(ages, known["value"] * 100, color=VERMILLION, linewidth=2, marker=marker_of(known["value"]))
    axes.axhline(alert_ratio * 100, color=INK, linestyle="--", linewidth=1.2)
    _time_axis(axes, max(1.0, -min(ages, default=0.0)))
    highest = float(known["value"].max()) if len(known) else 0.0
    axes.set_ylim(0, max(200 * alert_ratio, min(108.0, 125 * highest)))
    axes.set_ylabel("% of requests")
    now = float(known["value"].iloc[-1]) if len(known) else None
    title = "Prometheus has counted no request" if now is None else f"{now:.1%} now, {highest:.1%} at worst"
    axes.set_title(f"By the backend's counters: {title} (dashed: alert above {alert_ratio:.0%})")
    return figure


def plot_route_replicas(log: AccessLog) -> Figure:
    """Recent failures by route and replica: the number that failed, of how many, darker with the share.

    Takes ``AccessLogSource.get_requests``. A dark row is a route, a dark column a replica.
    """
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    rows = rows.assign(replica=rows["replica"].replace("", "no replica"))
    failed = rows[rows["status"].ge(SERVER_ERROR)]
    order = rows.assign(bad=rows["requests"].where(rows["status"].ge(SERVER_ERROR), 0)).groupby("route")[
        ["bad", "requests"]
    ]
    routes = list(order.sum().sort_values(["bad", "requests"], ascending=False).index)[:SHOWN_ROUTES]
    replicas = sorted({str(name) for name in rows["replica"]})
    all_counts = _counts(rows, routes, replicas)
    bad_counts = _counts(failed, routes, replicas)
    figure, axes = new_figure(1.7 + 0.42 * max(1, len(routes)))
    shares = bad_counts / all_counts.where(all_counts > 0)  # not a number, and left blank, where nothing was asked
    if len(routes) and replicas:
        axes.imshow(shares.to_numpy(dtype=float), cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    for y, route in enumerate(routes):
        for x, replica in enumerate(replicas):
            number, of = int(bad_counts.loc[route, replica]), int(all_counts.loc[route, replica])
            text = "not asked" if not of else f"{number} of {of}" if number else f"0 of {of}"
            colour = GREY if not of else "white" if number / of > _LEGIBLE else INK
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(replicas)), replicas)
    axes.set_yticks(range(len(routes)), routes)
    axes.set_xlabel("failed requests (5xx) of all, in the recent minutes, by replica that was asked")
    axes.set_title(_spread_title(failed, replicas))
    return figure


def _counts(rows: pd.DataFrame, routes: list[str], replicas: list[str]) -> pd.DataFrame:
    table = rows.pivot_table(index="route", columns="replica", values="requests", aggfunc="sum", fill_value=0)
    return table.reindex(index=routes, columns=replicas, fill_value=0)


def _mark_starts(axes: Axes, services: pd.DataFrame, end: pd.Timestamp, span: float) -> None:
    """A line where replicas of a release started within the time shown; each label on a row of its own, for they may start together."""
    rows = services[services["version"].astype(str).ne("") & services["started_at"].notna()]
    for number, (version, started) in enumerate(rows.groupby("version")["started_at"].min().items(), start=1):
        seconds = (end - pd.Timestamp(started)).total_seconds()
        if 0 <= seconds <= span:
            axes.axvline(-seconds, color=ORANGE, linewidth=2)
            axes.annotate(
                f"{version} started",
                (-seconds, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -12 * number),
                textcoords="offset points",
                color=INK,
                fontsize=9,
            )


def _time_axis(axes: Axes, span: float) -> None:
    step = next((nice for nice in _NICE_SECONDS if span / nice <= 8), _NICE_SECONDS[-1])  # noqa: PLR2004  # as many labels fit
    ticks = [-step * number for number in range(int(span // step) + 1)]
    axes.set_xticks(ticks, ["now" if tick == 0 else f"-{_span(-tick)}" for tick in ticks])
    axes.set_xlim(-span * 1.01, span * 0.01)
    axes.set_xlabel("time before this run")


def _bar_seconds(span: float, bucket: int) -> int:
    return next((nice for nice in _NICE_SECONDS if nice >= bucket and span / nice <= MOST_BARS), _NICE_SECONDS[-1])


def _span(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:g} s"
    return f"{timedelta(seconds=seconds).total_seconds() / 60:.3g} min"


def _share_title(log: AccessLog) -> str:
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    total = int(rows["requests"].sum())
    failed = int(rows.loc[rows["status"].ge(SERVER_ERROR), "requests"].sum())
    unread = f"; {log.unread} lines not understood" if log.gap else ""
    return f"{failed} of {total} recent requests failed ({failed / max(1, total):.1%}){unread}"


def _spread_title(failed: pd.DataFrame, replicas: list[str]) -> str:
    if failed.empty:
        return "No recent request failed"
    routes = failed["route"].nunique()
    hit = failed["replica"].nunique()
    return f"Failures on {routes} route{'s' * (routes > 1)}, {hit} of {len(replicas)} places that were asked"
