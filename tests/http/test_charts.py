"""What the charts of failed requests show, by what is drawn in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from flowrex_ops import charts
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.logs.access_log import ACCESS_COLUMNS, CLIENT_COLUMNS, SLOW_COLUMNS, AccessLog

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)


def log(*rows: tuple[float, str, int, str, str, int]) -> AccessLog:
    """Rows of (minutes ago, route, status, made by, replica, requests)."""
    table = [
        (NOW - timedelta(minutes=minutes), route, status, maker, replica, "1.4.2", number, 0.1)
        for minutes, route, status, maker, replica, number in rows
    ]
    return AccessLog(
        pd.DataFrame(table, columns=ACCESS_COLUMNS),
        pd.DataFrame(columns=CLIENT_COLUMNS),
        pd.DataFrame(columns=SLOW_COLUMNS),
        NOW,
        NOW - timedelta(minutes=5),
        1,
    )


def services(started_minutes_ago: float) -> pd.DataFrame:
    facts: dict[str, Any] = dict.fromkeys(REPLICA_COLUMNS)
    facts |= {"name": "backend-1", "version": "1.5.0", "started_at": NOW - timedelta(minutes=started_minutes_ago)}
    return pd.DataFrame([facts], columns=REPLICA_COLUMNS)


FINE = [(minutes, "/api/prices", 200, "backend", "backend-1", 90) for minutes in range(1, 30)]


class TestErrorShare:
    def test_a_bar_for_each_who_made_failures_and_the_alerts_line(self) -> None:
        rows = log(*FINE, (1, "/", 500, "backend", "backend-1", 10), (1, "/", 502, "proxy", "", 20))
        axes = charts.plot_error_share(rows, services(90), alert_ratio=0.05).axes[0]
        assert [round(bar.get_height(), 1) for group in axes.containers for bar in group] == [8.3, 16.7]
        assert axes.get_title() == "30 of 480 recent requests failed (6.2%)"
        assert [line.get_ydata()[0] for line in axes.get_lines()] == [5.0]

    def test_lines_that_were_not_understood_are_told(self) -> None:
        """What is not read may have failed as well."""
        rows = replace(log(*FINE), lines=450, unread=50, example="?")
        axes = charts.plot_error_share(rows, services(90), alert_ratio=0.05).axes[0]
        assert axes.get_title() == "0 of 450 recent requests failed (0.0%); 50 lines not understood"

    def test_a_start_within_the_time_shown_is_marked(self) -> None:
        axes = charts.plot_error_share(log(*FINE), services(10), alert_ratio=0.05).axes[0]
        assert [text.get_text() for text in axes.texts] == ["1.5.0 started"]
        assert axes.get_lines()[-1].get_xdata()[0] == -600

    def test_one_before_it_is_not(self) -> None:
        assert list(charts.plot_error_share(log(*FINE), services(90), alert_ratio=0.05).axes[0].texts) == []

    @pytest.mark.parametrize("rows", [[], FINE[:1]])
    def test_hardly_anything_to_draw(self, rows: list[Any]) -> None:
        """An empty log, or one of a second, is a chart all the same."""
        assert charts.plot_error_share(log(*rows), services(1), alert_ratio=0.05).axes[0].get_title()


class TestErrorHistory:
    def test_its_line_and_the_alerts(self) -> None:
        times = [NOW - timedelta(minutes=minutes) for minutes in (2, 1, 0)]
        history = pd.DataFrame({"at": times, "series": "", "value": [0.0, 0.5, 0.2]})
        axes = charts.plot_error_history(history, alert_ratio=0.05).axes[0]
        assert axes.get_lines()[0].get_xydata().tolist() == [[-120.0, 0.0], [-60.0, 50.0], [0.0, 20.0]]
        assert "20.0% now, 50.0% at worst" in axes.get_title()

    def test_no_request_was_counted(self) -> None:
        """Zero of zero is not a number."""
        history = pd.DataFrame({"at": [NOW], "series": "", "value": [float("nan")]})
        title = charts.plot_error_history(history, alert_ratio=0.05).axes[0].get_title()
        assert "has counted no request" in title


class TestRouteReplicas:
    def test_failed_of_all_in_each_cell(self) -> None:
        rows = log(
            (1, "/api/prices", 500, "backend", "backend-1", 4),
            (1, "/api/prices", 200, "backend", "backend-1", 6),
            (1, "/api/prices", 200, "backend", "backend-2", 9),
            (1, "/api/trades", 201, "backend", "backend-2", 5),
            (20, "/api/trades", 500, "backend", "backend-2", 5),
        )
        axes = charts.plot_route_replicas(rows).axes[0]
        assert [text.get_text() for text in axes.texts] == ["4 of 10", "0 of 9", "not asked", "0 of 5"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["/api/prices", "/api/trades"]
        assert axes.get_title() == "Failures on 1 route, 1 of 2 places that were asked"

    def test_nothing_asked(self) -> None:
        assert charts.plot_route_replicas(log()).axes[0].get_title() == "No recent request failed"
