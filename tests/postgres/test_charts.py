"""What the chart of the pools shows, by what is drawn in it."""

from __future__ import annotations

import pandas as pd
import pytest
from database_examples import pools
from matplotlib.figure import Figure

from flowrex_ops import charts


def texts(figure: Figure) -> list[str]:
    return [figure.axes[0].get_title(), *(text.get_text() for text in figure.axes[0].texts)]


def test_full_pools_are_marked() -> None:
    assert texts(charts.plot_pools(pools(5, 2).require())) == [
        "Pools: 1 of 2 replicas have none left",
        "5 of 5  FULL",
        "2 of 5",
    ]


def test_a_pool_without_a_size_says_so() -> None:
    """The gauge of the maximum is our own; a foreign backend has none."""
    title, *labels = texts(charts.plot_pools(pools(4, maximum=None).require()))
    assert labels == ["4, of how many is unknown"]
    assert "1 do not tell their size (set backend.pool_size)" in title


def test_one_of_two_without_a_size() -> None:
    both = pd.concat([pools(5).require(), pools(4, 4, maximum=None).require().query("replica == 'backend-2'")])
    assert texts(charts.plot_pools(both))[1:] == ["5 of 5  FULL", "4, of how many is unknown"]


@pytest.mark.parametrize("kind", ["no rows", "no answer"])
def test_nothing_to_draw_is_still_a_chart(kind: str) -> None:
    samples = pools(4).require()
    samples = samples.head(0) if kind == "no rows" else samples.assign(error="did not answer")
    assert texts(charts.plot_pools(samples)) == ["Pools: 0 of 0 replicas have none left"]
