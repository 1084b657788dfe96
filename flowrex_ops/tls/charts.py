"""The validity of certificates on a line of days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREY, INK, ORANGE, PAPER, VERMILLION, new_figure
from flowrex_ops.tls.certificates import Certificate
from flowrex_ops.tls.views import day, each_endpoint, pending, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_ROWS = 12
PAST_DAYS, FUTURE_DAYS = 100.0, 120.0
"""The span that is drawn, about a public certificate's life to each side; what goes on beyond it ends with an arrow."""


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    certificate: Certificate | None
    waiting: bool = False
    """On disk and not served."""


def plot_validity(certificates: pd.DataFrame, *, now: datetime, warn_days: float) -> Figure:
    """From when until when each certificate is valid, in days from *now*; takes ``TlsSource.get_certificates``."""
    rows = _rows(certificates, now)
    shown = rows[:SHOWN_ROWS]
    figure, axes = new_figure(1.5 + 0.62 * max(1, len(shown)))
    axes.axvspan(0, warn_days, color=ORANGE, alpha=0.16, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.8)
    for place, row in enumerate(shown):
        _draw(axes, place, row, now, warn_days)
    axes.set_yticks(range(len(shown)), [row.label for row in shown])
    axes.set_xlim(-PAST_DAYS, FUTURE_DAYS)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(f"days from now, {day(now)} UTC (black line); shaded: fewer than {warn_days:g} days left")
    axes.set_title(_title([row for row in rows if not row.waiting], now, len(rows) - len(shown)))
    return figure


def _rows(certificates: pd.DataFrame, now: datetime) -> list[_Row]:
    """The served ones, the first to end first and those without any before them; below each what waits on disk."""
    served = each_endpoint(certificates)
    ordered = sorted(served, key=lambda one: (bool(one.chain), one.chain[0].not_after if one.chain else now))
    rows = []
    for one in ordered:
        rows.append(_Row(one.name.replace(" at ", "\nat "), one.chain[0] if one.chain else None))
        if renewed := pending(one, now):
            rows.append(_Row("on disk, not served", renewed, waiting=True))
    return rows


def _draw(axes: Axes, place: int, row: _Row, now: datetime, warn_days: float) -> None:
    certificate = row.certificate
    if certificate is None:
        axes.text(2, place, "gives no certificate", va="center", color=INK, fontweight="bold")
        return
    begin, end = (_days(moment, now) for moment in (certificate.not_before, certificate.not_after))
    left, right = max(begin, -PAST_DAYS), min(end, FUTURE_DAYS)
    colour, hatch, words = _look(certificate, now, warn_days, waiting=row.waiting)
    if right > left:
        edge = INK if row.waiting else PAPER
        bar = axes.barh([place], [right - left], left=left, color=colour, height=0.5, edgecolor=edge, linewidth=1.2)
        bar[0].set_hatch(hatch)
    if begin < -PAST_DAYS:
        axes.plot([-PAST_DAYS + 1.5], [place], marker="<", color=PAPER, markersize=7)
    if end > FUTURE_DAYS:
        axes.plot([FUTURE_DAYS - 1.5], [place], marker=">", color=PAPER, markersize=7)
    box = {"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": GREY}
    # On the side of today where there is room for words.
    after = 0 < end < FUTURE_DAYS / 2 or end <= 0
    at, align = (max(right, 0) + 2, "left") if after else (max(left, 0) + 3, "left")
    axes.text(at, place, words, va="center", ha=align, color=INK, fontsize=9.5, bbox=box)


def _look(certificate: Certificate, now: datetime, warn_days: float, *, waiting: bool) -> tuple[str, str, str]:
    """Colour, hatch and words for where *now* lies in the validity."""
    until = f"until {certificate.not_after:%Y-%m-%d}"
    if certificate.not_after <= now:
        return VERMILLION, "xx", f"EXPIRED {span(now - certificate.not_after)} ago"
    if certificate.not_before > now:
        return VERMILLION, "..", f"NOT VALID YET: begins in {span(certificate.not_before - now)}"
    if certificate.not_after - now < timedelta(days=warn_days):
        return ORANGE, "//", f"{span(certificate.not_after - now)} left, {until}"
    return ("white" if waiting else BLUE), "", f"{span(certificate.not_after - now)} left, {until}"


def _title(rows: list[_Row], now: datetime, hidden: int) -> str:
    known = [row.certificate for row in rows if row.certificate]
    silent = len(rows) - len(known)
    parts = [f"{silent} of {len(rows)} endpoints give no certificate"] if silent else []
    if known:
        first = min(one.not_after for one in known)
        when = f"ended {span(now - first)} ago" if first <= now else f"ends in {span(first - now)}"
        parts.append(f"the first of {len(known)} certificates {when}" if len(known) > 1 else f"the certificate {when}")
    title = "; ".join(parts) or "no endpoint"
    return title[:1].upper() + title[1:] + (f" ({hidden} rows not drawn)" if hidden else "")


def _days(moment: datetime, now: datetime) -> float:
    return (moment - now) / timedelta(days=1)
