"""What the charts and tables of slow requests show."""

from __future__ import annotations

import pytest
from error_examples import ago
from latency_examples import access, everywhere, took

from flowrex_ops import charts
from flowrex_ops.latency import views


def test_percentiles_over_time_and_the_limit() -> None:
    log = access(*everywhere(20, seconds=3)).require()
    axes = charts.plot_latency(log, slow_seconds=1.0).axes[0]
    assert axes.get_title() == "95 % of requests took 3 s or less lately, 20 ms or less before"
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert list(lines) == ["p50", "p95", "p99", "slow from 1 s on"]
    assert lines["p95"][-1] == 3
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "seconds a request (log scale)")


def test_parts_by_route() -> None:
    log = access(took(20, 4, "client", route="/api/trades"), took(20, 2, route="/api/prices")).require()
    axes = charts.plot_request_parts(log).axes[0]
    assert axes.get_title() == "Where the time goes, by route: the longest is /api/trades"
    assert [bars.get_label() for bars in axes.containers] == ["client", "connect", "first byte", "body"]


@pytest.mark.parametrize("rows", [[], everywhere(5, slow_in="untimed", took=None)])
def test_a_log_without_times_is_drawn_too(rows: list[dict[str, object]]) -> None:
    log = access(usual=rows).require()
    assert "an unknown time" in charts.plot_latency(log, slow_seconds=1.0).axes[0].get_title()
    assert charts.plot_request_parts(log).axes


def test_tables() -> None:
    """The slowest first, now beside before."""
    log = access(took(40, 4, replica="backend-2"), took(5, at=ago(8))).require()
    first = views.times_by_replica(log).iloc[0]
    assert first.to_dict() == {
        "replica": "backend-2",
        "requests": 100,
        "slow": 40,
        "p50_ms": 20,
        "p95_ms": 4000,
        "p95_before_ms": 20,
        "client_ms": 0,
        "connect_ms": 0,
        "first_byte_ms": 1612,
        "body_ms": 0,
    }
    assert views.times_by_route(log)["route"].tolist()[0] == "/api/prices"
    assert views.times_by_release(log)["release"].tolist() == ["1.4.2"]
