"""The chart of what Prometheus remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from flowrex_ops.charts import plot_history
from flowrex_ops.metrics.charts import MOST_LINES
from flowrex_ops.metrics.prometheus import SERIES_COLUMNS

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)


def history(**series: list[float]) -> pd.DataFrame:
    rows = [
        (NOW + timedelta(seconds=15 * place), name, value)
        for name, values in series.items()
        for place, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=SERIES_COLUMNS).assign(at=lambda frame: pd.to_datetime(frame["at"], utc=True))


def test_a_line_a_series_with_its_unit_and_limit() -> None:
    (axes,) = plot_history(history(a=[1, 2], b=[3, 1]), title="Pools", unit="connections", limit=5).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "limit"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("connections", "UTC")
    assert axes.get_ylim()[1] > 5


def test_only_the_highest_of_many() -> None:
    (axes,) = plot_history(history(**{f"s{n:02}": [float(n)] for n in range(20)}), title="x", unit="y").axes
    assert len(axes.get_lines()) == MOST_LINES
    assert {line.get_label() for line in axes.get_lines()} == {f"s{n:02}" for n in range(12, 20)}


def test_a_single_value_is_seen_at_its_time() -> None:
    """Prometheus that was just started remembers one scrape: a line of one point would show nothing."""
    (axes,) = plot_history(history(a=[3], b=[3, 1]), title="Pools", unit="connections").axes
    assert [str(line.get_marker()) for line in axes.get_lines()] == ["o", ""]
    (axes,) = plot_history(history(a=[3]), title="Pools", unit="connections").axes
    left, right = axes.get_xlim()
    assert (right - left) * 24 * 60 == pytest.approx(1), "a minute in days"


def test_nothing_remembered_says_so() -> None:
    (axes,) = plot_history(history(), title="Pools", unit="connections").axes
    assert "no values" in axes.get_title()
