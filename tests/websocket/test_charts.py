"""Charts of WebSockets say in their title what a tired person must know, and draw what there is, also nothing."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from database_examples import NOW, silent
from websocket_examples import closing, locations, log, replicas, samples

from flowrex_ops.charts import plot_age_at_close, plot_closings, plot_websocket_connections, plot_websocket_memory
from flowrex_ops.model import Reading

NO_HISTORY = silent("history", "prometheus did not answer", None)
SINCE = timedelta(minutes=30)


def test_connections_by_sampling() -> None:
    """Without Prometheus the axis says so."""
    axes = plot_websocket_connections(samples(60, 60, 60).require(), history=NO_HISTORY).axes[0]
    assert axes.get_title() == "5 WebSockets are open on 1 replicas"
    assert "no history" in axes.get_xlabel()


def test_connections_by_history() -> None:
    """With it they reach back, on an axis of times."""
    past = pd.DataFrame([(NOW, "backend-1", 5.0), (NOW + SINCE, "backend-1", 0.0)], columns=["at", "series", "value"])
    history = Reading("prometheus", "history", past)
    assert plot_websocket_connections(samples(60).require(), history=history).axes[0].get_xlabel() == "UTC"


def test_closings_by_cause() -> None:
    """Users who leave are no drops."""
    found = log(closing(1011), closing(1001), closing(1006, age=60.0)).require()
    axes = plot_closings(found, locations=locations(), replicas=replicas(), since=SINCE, until=NOW).axes[0]
    assert axes.get_title() == "2 of 3 closings were drops; the last at 04:11:50 UTC"


def test_age_with_the_timeout_marked() -> None:
    found = log(*[closing(1006, age=60.0)] * 3).require()
    axes = plot_age_at_close(found, locations=locations(), replicas=replicas()).axes[0]
    assert [text.get_text() for text in axes.texts] == ["proxy_read_timeout 1 min"]


def test_memory() -> None:
    axes = plot_websocket_memory(samples(60, 64, 68).require()).axes[0]
    assert axes.get_title() == "Memory of the replicas: +8.0 MB at most while it was watched"


def test_nothing_happened() -> None:
    """Is drawn too."""
    nothing = {"locations": silent(), "replicas": silent()}
    assert plot_closings(log().require(), since=SINCE, **nothing).axes[0].get_title().startswith("No connection")
    assert plot_age_at_close(log().require(), **nothing).axes[0].get_title() == "No connection ended"
    plot_websocket_memory(samples(None).require())
