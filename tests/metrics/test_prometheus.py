"""The Prometheus source against a real Prometheus, and against things that only look like one."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pandas as pd
import pytest
from conftest import missing_part

from flowrex_ops.discovery.endpoints import ReplicaFinder, discover
from flowrex_ops.metrics.market_data import PRICE_COLUMNS
from flowrex_ops.metrics.prometheus import (
    ALERT_COLUMNS,
    ALERTING,
    ALERTMANAGER,
    BY_ALERTMANAGER,
    BY_PROMETHEUS,
    PrometheusSource,
)
from flowrex_ops.settings import load
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

MINUTE = timedelta(minutes=1)


def source(url: str | None, limit_seconds: float = 2.0) -> PrometheusSource:
    return PrometheusSource(url, limit_seconds=limit_seconds, limit_rows=1000)


@pytest.fixture
def real(any_sandbox: Sandbox) -> PrometheusSource:
    if "prometheus" not in any_sandbox.state.ports:
        missing_part("Prometheus")
    settings = load(any_sandbox.settings_file)
    endpoints = discover(settings)
    finder = ReplicaFinder(settings, endpoints.stack, endpoints.replicas)
    url = f"http://127.0.0.1:{any_sandbox.state.ports['prometheus']}"
    # Triage's limit: four fifths of it, which Prometheus is told, are no whole number of seconds.
    return PrometheusSource(url, limit_seconds=3, limit_rows=1000, find_names=finder.names)


class TestReal:
    def test_targets_are_up(self, real: PrometheusSource) -> None:
        """``unknown`` until each was scraped once."""
        await_condition(
            lambda: set(real.get_targets().require()["health"]) == {"up"}, "every target was up", timeout_seconds=20
        )
        assert {"backend", "postgres", "redis", "front-door"} <= set(real.get_targets().require()["job"])

    def test_series_have_the_replicas_names(self, real: PrometheusSource) -> None:
        series = real.query("flowrex_database_connections_max").require()
        assert sorted(series["series"]) == ["backend-1", "backend-2", "backend-3"]
        assert (series["value"] == 5).all()

    def test_newest_prices(self, real: PrometheusSource) -> None:
        """Of each replica and symbol, with what was scraped before, once there were two scrapes."""

        def told() -> pd.DataFrame:
            found = real.get_prices()
            return found.require() if found.available else pd.DataFrame(columns=PRICE_COLUMNS)

        await_condition(lambda: told()["moved_before"].notna().sum() >= 15, "prices were scraped", timeout_seconds=30)
        prices = told()
        assert len(prices) == 15
        assert set(prices["replica"]) == {"backend-1", "backend-2", "backend-3"}
        assert (prices["asked_at"] - prices["moved_at"]).dt.total_seconds().between(-1, 30).all()

    def test_history(self, real: PrometheusSource) -> None:
        history = real.query_range("sum(up)", since=MINUTE, points=10).require()
        assert set(history["series"]) == {"all"}
        assert len(history) <= 11
        assert history["at"].is_monotonic_increasing

    def test_share_of_errors_by_whichever_counter_there_is(self, real: PrometheusSource) -> None:
        """One name that nobody has, then ours. Where there is none, there are no rows."""

        def reported() -> list[float]:
            share = real.query_error_share(("nobody_has_this_total", "flowrex_http_requests_total"), since=MINUTE)
            return [value for value in share.require()["value"] if value == value]  # noqa: PLR0124  # NaN: no request yet

        await_condition(lambda: bool(reported()), "requests were counted", timeout_seconds=30)
        assert all(0 <= share <= 1 for share in reported())
        assert real.query_error_share(("nobody_has_this_total",), since=MINUTE).require().empty

    def test_increase_by_label(self, real: PrometheusSource) -> None:
        names = ("nobody_has_this_total", "flowrex_trades_total")
        await_condition(
            lambda: len(real.query_increase(names, by="status", since=MINUTE).require()) > 0,
            "trades were counted",
            timeout_seconds=30,
        )
        assert set(real.query_increase(names, by="status", since=MINUTE).require()["series"]) >= {"status=filled"}

    def test_rules_and_notifications(self, real: PrometheusSource) -> None:
        """A rule's health is unknown until it was evaluated once; Prometheus and Alertmanager tell what they could not deliver."""

        def told() -> pd.DataFrame:
            return real.get_monitoring(since=MINUTE).require()

        await_condition(
            lambda: {"ok"} == set(told().loc[told()["part"].eq(ALERTING), "health"]),
            "the rules were evaluated",
            timeout_seconds=20,
        )
        await_condition(
            lambda: {ALERTMANAGER, BY_PROMETHEUS, BY_ALERTMANAGER} <= set(told()["part"]),
            "all was scraped",
            timeout_seconds=20,
        )
        counted = told()[told()["part"].isin([BY_PROMETHEUS, BY_ALERTMANAGER])]
        assert (counted["failed"] == 0).all()
        assert {"prometheus-1", "backend-1"} <= set(real.get_targets().require()["replica"])

    def test_healthy_platform_has_no_alert(self, real: PrometheusSource) -> None:
        assert list(real.get_alerts().require().columns) == ALERT_COLUMNS

    def test_wrong_expression_is_told(self, real: PrometheusSource) -> None:
        assert "parse error" in str(real.query("sum(").error)

    def test_expression_without_series(self, real: PrometheusSource) -> None:
        assert real.query_range("no_such_metric", since=MINUTE).require().empty


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_million_samples() -> None:
    """Refused after eight megabytes, in these words: it took half a gigabyte, and Prometheus was blamed for our time."""
    values = [[1764595080 + number, "0.25"] for number in range(1000)]
    series = [{"metric": {"pod": str(number)}, "values": values} for number in range(1000)]
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
    with answering(body) as url:
        reading = source(url, limit_seconds=20.0).query_range("up", since=MINUTE)
    assert "its answer is longer than 8 MiB" in str(reading.error)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>Grafana</html>", 200, "no JSON"),
        (b"[]", 200, "no reason given"),
        (b'{"status": "success"}', 200, "can be understood"),
        (b'{"status": "success", "data": {"alerts": ["x"]}}', 200, "can be understood"),
        (b'{"status": "error", "error": "query timed out"}', 503, "query timed out"),
        (b"unauthorized", 401, "HTTP 401"),
    ],
)
def test_nonsense_is_an_unknown(body: bytes, status: int, said: str) -> None:
    with answering(body, status) as url:
        reading = source(url).get_alerts()
    assert said in str(reading.error)


@pytest.mark.parametrize(("minutes", "said"), [(0, "has just started"), (9, "None")])
def test_who_has_just_started_knows_nobody_yet(minutes: int, said: str) -> None:
    """Prometheus looks for its Alertmanagers some seconds after it has started; later none is none."""
    started = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    nobody = {"groups": [], "activeAlertmanagers": [], "startTime": started, "resultType": "vector", "result": []}
    with answering(json.dumps({"status": "success", "data": nobody}).encode()) as url:
        assert said in str(source(url).get_monitoring().error)


def test_empty_answer_is_an_answer() -> None:
    with answering(json.dumps({"status": "success", "data": {"alerts": []}}).encode()) as url:
        assert source(url).get_alerts().require().empty


def test_hanging_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        reading = source(f"http://127.0.0.1:{server.getsockname()[1]}").query_range("up", since=MINUTE)
        assert time.monotonic() - started < 3
    assert not reading.available


def test_not_configured_says_what_to_set() -> None:
    assert "set prometheus.url" in str(source(None).get_alerts().error)
