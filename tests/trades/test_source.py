"""Trades as the sources tell them: the table, the log, the counters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psycopg
import pytest

from flowrex_ops.logs.trade_failures import count_trade_failures
from flowrex_ops.metrics.backend import BackendSource, parse_trade_counters
from flowrex_ops.model import LogLine
from flowrex_ops.postgres.source import PostgresSource
from flowrex_sandbox.sandbox import Sandbox

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def postgres(supervisor_sandbox: Sandbox) -> Iterator[PostgresSource]:
    """The table with a few failures of its own, and none that earlier drills left: the list holds a hundred."""
    supervisor_sandbox.execute("DELETE FROM trades WHERE status IN ('failed', 'blocked')")
    supervisor_sandbox.execute(
        "INSERT INTO trades (account_id, symbol, side, quantity, status, error_message, created_at) VALUES"
        " (1, 'TEST', 'buy', 1, 'failed', 'odd error worth 4711.00', now() - interval '20 minutes'),"
        " (1, 'TEST', 'buy', 1, 'failed', 'odd error worth 815.50', now() - interval '1 second'),"
        " (1, 'TEST', 'sell', 1, 'failed', NULL, now() - interval '1 second'),"
        " (1, 'TEST', 'buy', 1, 'pending', NULL, now() - interval '1 minute'),"
        " (1, 'TEST', 'buy', 1, 'failed', 'ancient', now() - interval '2 days')"
    )
    source = PostgresSource(supervisor_sandbox.app_dsn, limit_seconds=5, limit_rows=100)
    yield source
    source.close()
    supervisor_sandbox.execute("DELETE FROM trades WHERE symbol = 'TEST'")


class TestTable:
    def test_reasons_that_differ_in_numbers_are_one(self, postgres: PostgresSource) -> None:
        found = postgres.get_trades(since=HOUR, recent_minutes=5).require()
        mine = found[found["symbol"].eq("TEST") & found["reason"].ne("")]
        assert mine[["reason", "side", "trades", "recent"]].values.tolist() == [["odd error worth #", "buy", 2, 1]]

    def test_totals_are_of_all_trades(self, postgres: PostgresSource) -> None:
        """Also where the limit cuts rows off; failures come first."""
        postgres.limit_rows = 1
        reading = postgres.get_trades(since=HOUR, recent_minutes=60)
        first = reading.require().iloc[0]
        assert reading.truncated
        assert first["status"] in ("failed", "blocked")
        assert first["all_recent"] > first["recent"]

    def test_per_minute(self, postgres: PostgresSource) -> None:
        found = postgres.get_failed_trades_by_minute(since=HOUR).require()
        mine = found[found["reason"].eq("odd error worth #")]
        assert mine["trades"].tolist() == [1, 1]
        assert mine["minute"].is_monotonic_decreasing

    def test_list_holds_what_was_never_booked(self, postgres: PostgresSource) -> None:
        found = postgres.get_failed_trades(since=HOUR).require()
        mine = found[found["symbol"].eq("TEST")]
        assert sorted(mine["status"]) == ["failed", "failed", "failed", "pending"]

    def test_orders_without_an_outcome(self, postgres: PostgresSource) -> None:
        """By what their status means; one is old enough to be late, one is not."""
        rows = postgres.get_orders(since=HOUR, late_seconds=30).require().set_index("state")
        assert rows.loc["open", "late"] >= 1
        assert "TEST" in rows.loc["open", "symbols"]
        assert rows.loc["open", "oldest_seconds"] >= 60
        later = postgres.get_orders(since=HOUR, late_seconds=600).require().set_index("state")
        assert "TEST" not in str(later.loc["open", "symbols"])

    def test_orders_that_are_placed_again(self, postgres: PostgresSource, supervisor_sandbox: Sandbox) -> None:
        """Forty in one instant; five of the same kind, ten seconds apart; and those that failed, which do not count."""
        supervisor_sandbox.execute(
            "INSERT INTO trades (account_id, symbol, side, quantity, status, created_at)"
            " SELECT 3, 'TEST', 'buy', 3, 'filled', now() - interval '20 seconds' FROM generate_series(1, 40)"
            " UNION ALL SELECT 4, 'TEST', 'buy', 3, 'filled', now() - n * interval '10 seconds' FROM generate_series(1, 5) n"
            " UNION ALL SELECT 5, 'TEST', 'buy', 3, 'failed', now() FROM generate_series(1, 9)"
        )
        rows = postgres.get_repeated_orders(recent_minutes=5).require()
        mine = rows[rows["symbol"].eq("TEST")].set_index("account")[["orders", "again", "same_id"]]
        assert mine.loc["3"].tolist() == [40, 39, 0]
        assert mine.drop("3")["again"].eq(0).all()
        assert mine.loc["5"].tolist() == [9, 0, 0]
        assert rows["all_orders"].iloc[0] >= 45

    def test_orders_one_by_one(self, postgres: PostgresSource) -> None:
        """By the row's own id where the table has no other; the newest first."""
        rows = postgres.get_booked_orders(minutes=5).require()
        mine = rows[rows["symbol"].eq("TEST")]
        assert mine["created_at"].is_monotonic_decreasing
        assert set(mine["state"]) == {"not filled"}
        assert mine["id"].str.isdigit().all()
        assert mine["client_order"].isna().all()

    def test_table_of_another_platform(self, supervisor_sandbox: Sandbox) -> None:
        """An enum for the status, no account, and a client's order id."""
        supervisor_sandbox.execute("CREATE DATABASE desk")
        dsn = supervisor_sandbox.admin_dsn.rpartition("/")[0] + "/desk"
        try:
            with psycopg.connect(dsn, autocommit=True) as desk:
                desk.execute("CREATE TYPE state AS ENUM ('SENT', 'FILLED', 'PARKED')")
                desk.execute(
                    "CREATE TABLE trades (cl_ord_id text, symbol text, side text, status state, created_at timestamptz)"
                )
                desk.execute(
                    "INSERT INTO trades SELECT 'a' || n % 3, 'X', 'buy', 'FILLED', now() FROM generate_series(1, 4) n"
                )
                desk.execute("INSERT INTO trades VALUES ('b', 'X', 'buy', 'SENT', now() - interval '1 minute')")
                desk.execute("INSERT INTO trades VALUES ('c', 'X', 'buy', 'PARKED', now() - interval '1 minute')")
            source = PostgresSource(dsn, limit_seconds=5, limit_rows=100)
            again = source.get_repeated_orders(recent_minutes=5).require()
            orders = source.get_orders(since=HOUR, late_seconds=30).require()
            booked = source.get_booked_orders(minutes=5).require()
            source.close()
        finally:
            supervisor_sandbox.execute("DROP DATABASE desk WITH (FORCE)")
        assert set(booked[["client_order", "state"]].itertuples(index=False, name=None)) >= {
            ("a1", "filled"),
            ("b", "not filled"),
        }
        assert again[["account", "quantity", "same_id"]].to_numpy().tolist() == [[None, None, 1]]
        assert orders[["state", "status", "late"]].to_numpy().tolist() == [
            ["not understood", "parked", 1],
            ["open", "sent", 1],
            ["closed", "filled", 0],
        ]

    def test_silent_database(self) -> None:
        source = PostgresSource("postgresql://x@127.0.0.1:1/x", limit_seconds=2, limit_rows=10)
        assert not source.get_trades(since=HOUR, recent_minutes=5).available


def line(text: str, minutes_ago: float = 0) -> LogLine:
    return LogLine("backend", "backend-1", text, NOW - timedelta(minutes=minutes_ago))


class TestLog:
    def test_told_apart(self) -> None:
        """The playbook's grep throws these together."""
        lines = [
            line("ERROR trade failed id=1 symbol=EURUSD side=buy reason=broker-rejected: rejected by broker: X", 9),
            line("ERROR trade failed id=0 symbol=EURUSD side=buy reason=database: permission denied for table trades"),
            line("WARNING trade blocked id=3 symbol=BTCUSD side=buy: risk limit max_notional: …"),
            line("WARNING trade blocked id=4 symbol=BTCUSD side=buy: risk limit max_notional: …", 9),
            line("INFO request method=POST route=/api/trades status=422 duration_ms=2 client=risk"),
            line("INFO websocket closed by client"),
            line("    trade, blocked = _open_trade(database, account, symbol, side, quantity)"),
            line("    raise Refused('order failed')"),
        ]
        found = count_trade_failures(lines, recent_since=NOW - timedelta(minutes=5)).set_index("kind")
        assert found[["lines", "recent"]].T.to_dict() == {
            "risk": {"lines": 2, "recent": 1},
            "rejected": {"lines": 1, "recent": 0},
            "database": {"lines": 1, "recent": 1},
        }

    def test_line_without_a_time_is_not_recent(self) -> None:
        lines = [LogLine("backend", "backend-1", "trade failed: gremlins", None)]
        assert count_trade_failures(lines, recent_since=NOW)["recent"].tolist() == [0]

    def test_empty(self) -> None:
        assert count_trade_failures([], recent_since=NOW).empty


PAGE = """\
# TYPE flowrex_trades_failed_total counter
flowrex_trades_failed_total{reason="database"} %d
# TYPE flowrex_trades_total counter
flowrex_trades_total{status="filled"} 7
"""


class TestCounters:
    def test_sampled_over_a_window(self) -> None:
        """Each answer counts one more, and so does the table of samples."""
        numbers = iter(range(100))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write((PAGE % next(numbers)).encode())

            def log_message(self, *_args: object) -> None:
                """Say nothing on the terminal."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        replicas = {"a": f"http://127.0.0.1:{server.server_port}", "b": "http://127.0.0.1:1"}
        source = BackendSource(lambda: replicas, limit_seconds=10, limit_rows=100)
        samples = source.sample_trades(window_seconds=0.6, every_seconds=0.2).require()
        server.shutdown()
        server.server_close()
        failed = samples[samples["counter"].eq("trades failed")]["value"].tolist()
        assert failed == [float(number) for number in range(len(failed))]
        assert len(failed) >= 2
        assert samples[samples["replica"].eq("b")]["error"].str.contains("did not answer").all()

    def test_nobody_answers(self) -> None:
        source = BackendSource(lambda: {"b": "http://127.0.0.1:1"}, limit_seconds=1, limit_rows=100)
        assert "no backend replica told its trades" in str(source.sample_trades(window_seconds=0.1).error)

    def test_counter_without_a_label(self) -> None:
        """An older backend counts without saying why."""
        found = parse_trade_counters("flowrex_trades_failed_total 3\n")
        assert found == [{"counter": "trades failed", "label": "", "value": 3.0}]

    def test_page_without_the_counter(self) -> None:
        """That is no evidence that nothing failed."""
        with pytest.raises(ValueError, match=r"no counter of failed trades .* set metrics\.trades_failed"):
            parse_trade_counters("flowrex_database_connections 3\n")
