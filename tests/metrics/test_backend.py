"""The backend source over real sockets: what is said of replicas that are down, slow, or talk nonsense."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flowrex_ops.metrics.backend import BackendSource, parse_websocket_metrics
from flowrex_ops.metrics.names import any_of, own_families, read_pool
from flowrex_ops.settings import MetricsSettings

METRICS = """\
# TYPE flowrex_database_connections gauge
flowrex_database_connections 4
# TYPE flowrex_database_connections_max gauge
flowrex_database_connections_max 5
"""

SERIES_OF_USERS = "".join(f'http_requests_total{{user="{number}",route="/api/prices"}} 1\n' for number in range(25_000))


@contextmanager
def replica(body: str, status: int = 200) -> Iterator[str]:
    """A server that answers everything with *body*."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ask(**replicas: str) -> BackendSource:
    return BackendSource(lambda: replicas, limit_seconds=3.0, limit_rows=100)


def test_gauges_of_every_replica() -> None:
    """One row a replica, with its gauges."""
    with replica(METRICS) as one, replica(METRICS) as two:
        samples = ask(a=one, b=two).sample_pools().require()
    assert samples[["replica", "in_use", "maximum"]].values.tolist() == [["a", 4.0, 5.0], ["b", 4.0, 5.0]]


def test_window_gives_several_samples() -> None:
    """A window lengthens the reading's limit, not only its table; on a busy machine it holds fewer than three."""
    with replica(METRICS) as one:
        samples = ask(a=one).sample_pools(window_seconds=1.2, every_seconds=0.4).require()
    assert len(samples) > 1


def test_dead_replica_beside_a_live_one_is_a_row_with_its_error() -> None:
    """One that is down does not hide the others."""
    with replica(METRICS) as one:
        samples = ask(a=one, b="http://127.0.0.1:1").sample_pools().require().set_index("replica")
    assert samples.loc["a", "in_use"] == 4
    assert "did not answer" in samples.loc["b", "error"]


def test_no_such_page_is_said() -> None:
    """What answers 404 has answered, and its body is no page of metrics."""
    with replica('{"detail":"Not Found"}', 404) as one:
        reading = ask(a=one).sample_pools()
    assert str(reading.error).endswith("/metrics answered HTTP 404")


def test_silent_replica_costs_one_limit() -> None:
    """Accepts and never answers: bounded, and the others are still read."""
    with socket.create_server(("127.0.0.1", 0)) as server, replica(METRICS) as one:
        started = time.monotonic()
        samples = ask(a=one, b=f"http://127.0.0.1:{server.getsockname()[1]}").sample_pools().require()
    assert time.monotonic() - started < 5
    assert samples.set_index("replica")["error"].notna().to_dict() == {"a": False, "b": True}


def test_nonsense_is_not_a_pool_with_room() -> None:
    """A page without the gauge makes the reading unavailable, not zero."""
    with replica("<html>it works</html>") as one:
        reading = ask(a=one).sample_pools()
    assert not reading.available


def test_all_silent_is_unavailable() -> None:
    reading = ask(a="http://127.0.0.1:1").sample_pools()
    assert "no backend replica answered" in str(reading.error)


def test_nobody_known_says_what_to_set() -> None:
    assert "set backend.urls" in str(ask().sample_pools().error)


def test_gauges_are_summed_over_labels() -> None:
    """Several pools in one process are one pool to the runbook."""
    page = 'flowrex_database_connections{pool="a"} 2\nflowrex_database_connections{pool="b"} 3\n'
    assert read_pool(page, MetricsSettings())["in_use"] == 5


def test_readiness_carries_the_status() -> None:
    with replica("no", status=503) as one:
        assert ask(a=one).get_readiness().require()["status"].tolist() == [503]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("sqlalchemy_pool_size 5\nsqlalchemy_pool_checked_out 7\nsqlalchemy_pool_overflow 2\n", (7, None, None)),
        ("sqlalchemy_pool_size 5\nsqlalchemy_pool_max_overflow 10\nsqlalchemy_pool_checkedout 7\n", (7, 15, None)),
        (
            "psycopg_pool_pool_size 8\npsycopg_pool_pool_available 3\npsycopg_pool_pool_max 10\npsycopg_pool_requests_waiting 4\n",
            (5, 10, 4),
        ),
        ("asyncpg_pool_size 6\nasyncpg_pool_idle 6\nasyncpg_pool_max_size 10\n", (0, 10, None)),
        (
            'db_client_connections_usage{state="used"} 3\ndb_client_connections_usage{state="idle"} 2\ndb_client_connections_max 9\n',
            (3, 9, None),
        ),
    ],
    ids=["SQLAlchemy", "with overflow", "psycopg_pool", "asyncpg", "OpenTelemetry"],
)
def test_pool_by_other_collectors_names(page: str, expected: tuple[float | None, ...]) -> None:
    """In use, the most there may be, waiting; SQLAlchemy's size without its overflow is no most."""
    for text in (page, SERIES_OF_USERS + page):
        found = read_pool(text, MetricsSettings())
        assert tuple(found.get(name) for name in ("in_use", "maximum", "waiting")) == expected


def test_a_series_for_each_user() -> None:
    """Of a long page only our own lines are parsed: the others cost a second for five megabytes, and each replica's reading."""
    page = f'# TYPE trades counter\ntrades{{side="buy"}} 3\ntrades_failed_total 1\n{SERIES_OF_USERS}trades_of_all 1\n'
    families = list(own_families(page, any_of(["trades_total", 'trades_failed_total{kind="risk"}'])))
    assert [sample.name for family in families for sample in family.samples] == ["trades_total", "trades_failed_total"]


def test_names_of_ones_own() -> None:
    """What a setting names is read, with a label where that tells one pool from another."""
    own = MetricsSettings(pool_in_use=('shop_pool{db="main"}',), websocket_connections=("shop_tabs",))
    page = 'shop_pool{db="main"} 4\nshop_pool{db="other"} 9\nshop_tabs 12\n'
    assert read_pool(page, own) == {"in_use": 4}
    assert parse_websocket_metrics(page, own) == {"connections": 12}


def test_open_files_of_every_replica() -> None:
    """As the process collector tells them; a page without them is a row without them, and all silent is no reading."""
    with replica("process_open_fds 31.0\nprocess_max_fds 1024.0\n") as one, replica(METRICS) as two:
        files = ask(a=one, b=two, c="http://127.0.0.1:1").get_open_files().require().set_index("replica")
    assert files.loc["a", ["open_files", "limit"]].tolist() == [31.0, 1024.0]
    assert files.loc["b", ["open_files", "limit", "error"]].isna().all()
    assert "did not answer" in files.loc["c", "error"]
    assert "no backend replica told" in str(ask(a="http://127.0.0.1:1").get_open_files().error)


def test_newest_prices_of_every_replica() -> None:
    """By whatever gauge there is, and by the replica's own clock; one without such a gauge says what to expose."""
    with replica('quote_timestamp_seconds{pair="EURUSD"} 1.7e9\n') as one, replica(METRICS) as two:
        prices = ask(a=one, b=two, c="http://127.0.0.1:1").sample_prices(window_seconds=0.1).require()
        nobody = ask(b=two).sample_prices(window_seconds=0.1)
    (told,) = prices[prices["symbol"].notna()].to_dict("records")
    assert (told["replica"], told["symbol"], told["moved_at"].timestamp()) == ("a", "EURUSD", 1.7e9)
    assert told["moved_at"] == told["moved_before"]
    assert abs(told["asked_at"].timestamp() - time.time()) < 60
    silent = prices.set_index("replica")["error"]
    assert "did not answer" in silent["c"]
    assert "expose its unix time" in silent["b"]
    assert "metrics.market_data" in str(nobody.error)
