"""Charts of memory say in their title what there is to see, also where there is nothing."""

from __future__ import annotations

import pandas as pd
from memory_examples import keys, memory, replica, steadily

from flowrex_ops import charts
from flowrex_ops.memory.redis import KEY_COLUMNS
from flowrex_ops.memory.source import SAMPLED


def title(figure: object) -> str:
    return str(figure.axes[0].get_title())  # type: ignore[attr-defined]  # matplotlib has no types


def test_a_leak_is_drawn_on_to_where_it_leads() -> None:
    figure = charts.plot_memory_trend(
        memory(*replica("backend-1", steadily(60, 160)), *replica("backend-2", [90.0] * 30)).require()
    )
    assert title(figure) == "1 replica grows all the time; backend-1 is full in 29 min"
    assert [line.get_linestyle() for line in figure.axes[0].lines].count("--") == 1
    assert figure.axes[0].get_ylabel() == "MiB"


def test_replicas_near_their_limit() -> None:
    figure = charts.plot_memory_trend(memory(*replica("backend-1", [230.0] * 30)).require())
    assert title(figure) == "1 replica stands above 85% of their limit"


def test_one_sample_without_a_limit() -> None:
    figure = charts.plot_memory_trend(
        memory(*replica("backend-1", [90.0], limit=float("nan"), origin=SAMPLED)).require()
    )
    assert title(figure) == "No replica grows all the time"


def test_prefixes() -> None:
    figure = charts.plot_redis_prefixes(keys(session=30.0, price=10.0).require())
    assert title(figure) == "Redis: session: holds 75% of the keys' memory"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["session:", "price:"]


def test_no_keys() -> None:
    assert title(charts.plot_redis_prefixes(pd.DataFrame(columns=KEY_COLUMNS))) == "Redis holds no keys"
