"""Readings on the left, the verdict on the right: what the runbook says of trades that fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from database_examples import silent
from trade_examples import (
    EXPIRED,
    HALTED,
    REFUSED,
    TIMEOUT,
    blocked,
    booked,
    broker,
    counters,
    fills,
    here,
    log,
    orders,
    rates,
    repeated,
    row,
    trades,
)

from flowrex_ops.causes import ranked
from flowrex_ops.model import Severity, Verdict, VerdictKind
from flowrex_ops.trades import checks, views

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
FINE = broker("ok", "ok", "ok")
NO_ADAPTER = silent("broker check inside the backend", "the adapter could not be asked in any replica")
NOT_SET = silent("broker check from here", "the broker's address is not configured", None)
STRANGE = row(9, "flux capacitor is empty")
FILLED, STUCK = ("closed", "filled", 9000, 8000), ("open", "pending", 64, 60)

EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "all trades are written": (
        lambda: checks.check_database(trades(row(20)), log(), counters()),
        RULED_OUT,
        "20 were written",
    ),
    "trades that leave no row are found in the log": (
        lambda: checks.check_database(trades(), log(database=7), counters()),
        CONFIRMED,
        "7 recent trades could not be written (100%)",
    ),
    "and by the counter, where the log cannot be read": (
        lambda: checks.check_database(trades(row(20)), silent("trades in the log"), counters(5, database=5)),
        CONFIRMED,
        "5 recent trades could not be written (50%)",
    ),
    "the table alone cannot tell": (
        lambda: checks.check_database(trades(row(20)), silent("trades in the log"), silent("trade counters")),
        INCONCLUSIVE,
        "no trades in the log",
    ),
    "PostgreSQL does not answer": (
        lambda: checks.check_database(silent("trades by outcome", code="timeout"), log(), counters()),
        CONFIRMED,
        "nothing can be written",
    ),
    "a table that we may not read says nothing": (
        lambda: checks.check_database(silent("trades by outcome", code="42501"), log(), counters()),
        INCONCLUSIVE,
        "no trades by outcome",
    ),
    "one in a thousand is noise": (
        lambda: checks.check_database(trades(row(999)), log(database=1), counters()),
        RULED_OUT,
        "1 recent trades failed",
    ),
    "the token has expired": (
        lambda: checks.check_broker_credentials(trades(row(9, EXPIRED)), broker("credentials"), here("credentials")),
        CONFIRMED,
        "9 of 9 recent trades",
    ),
    "nobody trades, but the adapter is refused": (
        lambda: checks.check_broker_credentials(trades(), broker("credentials", error="HTTP 401"), here()),
        CONFIRMED,
        "HTTP 401",
    ),
    "only the token of our settings is old": (
        lambda: checks.check_broker_credentials(trades(row(9)), FINE, here("credentials")),
        RULED_OUT,
        "from here alone",
    ),
    "the adapter cannot be asked, from here it is refused": (
        lambda: checks.check_broker_credentials(trades(row(9)), NO_ADAPTER, here("credentials")),
        CONFIRMED,
        "it is credentials",
    ),
    "the broker is gone": (
        lambda: checks.check_broker_unreachable(trades(row(9, REFUSED)), broker("unreachable"), here("unreachable")),
        CONFIRMED,
        "Connection refused",
    ),
    "it was gone a moment ago": (
        lambda: checks.check_broker_unreachable(trades(row(9, REFUSED), row(9)), FINE, here()),
        CONFIRMED,
        "the broker answers again now",
    ),
    "it was gone an hour ago": (
        lambda: checks.check_broker_unreachable(trades(row(0, REFUSED, trades=50), row(9)), FINE, here()),
        RULED_OUT,
        "0 of 9 recent trades",
    ),
    "the check from here is optional": (
        lambda: checks.check_broker_unreachable(trades(row(9)), FINE, NOT_SET),
        RULED_OUT,
        "the broker answers in 0.02 s",
    ),
    "nobody could ask the broker": (
        lambda: checks.check_broker_unreachable(trades(row(9)), NO_ADAPTER, NOT_SET),
        INCONCLUSIVE,
        "the adapter could not be asked",
    ),
    "trades that cannot be read": (
        lambda: checks.check_broker_unreachable(silent("trades by outcome"), FINE, here()),
        INCONCLUSIVE,
        "no trades by outcome",
    ),
    "orders run into the time limit": (
        lambda: checks.check_broker_slow(trades(row(9, TIMEOUT)), broker("timeout"), here("timeout")),
        CONFIRMED,
        "no answer in 2 s",
    ),
    "slow and still in time is no cause": (
        lambda: checks.check_broker_slow(trades(row(9)), broker("ok", seconds=1.4), here()),
        RULED_OUT,
        "answers in 1.40 s",
    ),
    "one symbol is halted": (
        lambda: checks.check_rejected_by_broker(trades(row(4, HALTED, symbol="XAUUSD"), row(20)), FINE),
        CONFIRMED,
        "The broker rejects XAUUSD: MARKET_HALTED (4 of 24 recent trades)",
    ),
    "one rejection among many": (
        lambda: checks.check_rejected_by_broker(trades(row(1, HALTED), row(40)), FINE),
        RULED_OUT,
        "1 of 41",
    ),
    "too many requests": (
        lambda: checks.check_rejected_by_broker(
            trades(row(4, "broker rate limit: HTTP 429"), row(4, "broker rate limit: HTTP 429", symbol="XAUUSD")),
            broker("rejected"),
        ),
        CONFIRMED,
        "The broker rejects all symbols: broker rate limit: HTTP 429",
    ),
    "the risk engine holds back every second trade": (
        lambda: checks.check_risk_limit(trades(blocked(10), row(10)), log(risk=10)),
        CONFIRMED,
        "blocks 10 of 20 recent trades (50%), working as meant",
    ),
    "a few blocks are daily work": (
        lambda: checks.check_risk_limit(trades(blocked(2), row(30)), log(risk=2)),
        RULED_OUT,
        "2 of 32",
    ),
    "blocks cannot be counted without the table": (
        lambda: checks.check_risk_limit(silent("trades by outcome"), log(risk=50)),
        INCONCLUSIVE,
        "no trades by outcome",
    ),
    "messages that nobody understands rule nothing out": (
        lambda: checks.check_broker_unreachable(trades(STRANGE), FINE, here()),
        INCONCLUSIVE,
        "flux capacitor",
    ),
    "messages that nobody understands are a finding by themselves": (
        lambda: checks.check_unexplained_failures(trades(STRANGE)),
        CONFIRMED,
        "flux capacitor",
    ),
    "trades that are all filled leave nothing unexplained": (
        lambda: checks.check_unexplained_failures(trades(row(9))),
        RULED_OUT,
        "0 of 9",
    ),
    "where nobody trades nothing can be blocked": (
        lambda: checks.check_risk_limit(trades(), log()),
        INCONCLUSIVE,
        "no trade was attempted",
    ),
    "nor be written, or fail to be": (
        lambda: checks.check_database(trades(), log(), silent("trade counters")),
        INCONCLUSIVE,
        "no trade was attempted",
    ),
    "sixty orders pending for nine minutes": (
        lambda: checks.check_stuck(orders(STUCK, FILLED)),
        CONFIRMED,
        "60 orders are without an outcome, for up to 10 min, of 9064",
    ),
    "orders that wait for a second are on their way": (
        lambda: checks.check_stuck(orders(("open", "pending", 4, 0), FILLED)),
        RULED_OUT,
        "4 of 9004 orders wait for their outcome, none for 60 s",
    ),
    "a status of which nobody knows whether it is an outcome": (
        lambda: checks.check_stuck(orders(("not understood", "parked", 9, 9), FILLED)),
        INCONCLUSIVE,
        "9 orders stand as 'parked'",
    ),
    "where nobody trades none is stuck": (lambda: checks.check_stuck(orders()), INCONCLUSIVE, "no order was placed"),
    "a table of orders that may not be read": (
        lambda: checks.check_stuck(silent("orders by status", code="42501")),
        INCONCLUSIVE,
        "no orders by status",
    ),
    "forty identical orders in one instant": (
        lambda: checks.check_duplicated(repeated((40, 39, 0), (9, 0, 0))),
        CONFIRMED,
        "39 recent orders were placed again: account 2, buy 7.0 EURUSD (3.9% of 1000)",
    ),
    "each order sent twice": (
        lambda: checks.check_duplicated(repeated(*[(2, 1, 0)] * 9, of=18)),
        CONFIRMED,
        "9 recent orders were placed again",
    ),
    "a client's order id again, minutes later": (
        lambda: checks.check_duplicated(repeated((2, 0, 1), account=None)),
        CONFIRMED,
        "under an order id that stood there",
    ),
    "two users, or one, with the same wish": (
        lambda: checks.check_duplicated(repeated((2, 1, 0), (2, 1, 0), (7, 0, 0))),
        RULED_OUT,
        "2 of 1000",
    ),
    "a table without accounts cannot tell who ordered twice": (
        lambda: checks.check_duplicated(repeated((40, 39, 0), account=None)),
        INCONCLUSIVE,
        "does not tell the account",
    ),
    "a program in a loop": (
        lambda: checks.check_runaway_rate(rates((480, 2), (3, 3))),
        CONFIRMED,
        "account 3, SYM0: 480 orders a minute, 2.0 in the hour before; all: 503, and 20.0",
    ),
    "one that never traded before": (lambda: checks.check_runaway_rate(rates((480, 0))), CONFIRMED, "0.0 in the hour"),
    "everybody trades more, for the market moves": (
        lambda: checks.check_runaway_rate(rates((480, 8), others=(400, 6))),
        RULED_OUT,
        "the most are of account 3, SYM0: 480 orders a minute, 8.0 in the hour before",
    ),
    "a market maker is always busy": (
        lambda: checks.check_runaway_rate(rates((480, 400))),
        RULED_OUT,
        "480 orders a minute, 400.0",
    ),
    "one of many is not most of them": (
        lambda: checks.check_runaway_rate(rates((480, 2), others=(900, 800))),
        RULED_OUT,
        "480 orders",
    ),
    "the market has just opened": (
        lambda: checks.check_runaway_rate(rates((480, 0), others=(20, 0))),
        INCONCLUSIVE,
        "nobody traded before",
    ),
    "nobody knows whose orders they are": (
        lambda: checks.check_runaway_rate(rates((480, 2), account=None)),
        INCONCLUSIVE,
        "does not tell the account",
    ),
    "where nobody trades nothing runs away": (lambda: checks.check_runaway_rate(rates()), INCONCLUSIVE, "no order was"),
    "where nobody trades nobody does so twice": (
        lambda: checks.check_duplicated(repeated()),
        INCONCLUSIVE,
        "no order was placed",
    ),
    "nor does an adapter's error that nobody understands": (
        lambda: checks.check_broker_slow(trades(row(9)), broker("other", error="gremlins"), here()),
        INCONCLUSIVE,
        "gremlins",
    ),
    "both books agree": (
        lambda: checks.check_unreconciled(fills("1", "2"), booked(_1="filled", _2="filled", _3="failed")),
        RULED_OUT,
        "filled here and at the broker: 2 of 2 orders",
    ),
    "an answer that never came: filled there, failed here": (
        lambda: checks.check_unreconciled(fills("1", "2"), booked(_1="failed", _2="filled", _3="filled")),
        CONFIRMED,
        "2 of 3 orders differ between the broker and here: filled at the broker, 'failed' here",
    ),
    "filled there, and nobody here knows of it": (
        lambda: checks.check_unreconciled(fills("1", "2"), booked(_2="filled")),
        CONFIRMED,
        "1 of 2 orders differ between the broker and here: filled at the broker, and no order here",
    ),
    "a limit order that was placed yesterday, and filled now": (
        lambda: checks.check_unreconciled(fills("1", "2", reason="LIMIT_ORDER"), booked(_2="filled")),
        INCONCLUSIVE,
        "limit or stop orders that were placed earlier, if they are here: 1; look further back",
    ),
    "the table was restored from last night": (
        lambda: checks.check_unreconciled(fills("1", "2"), booked()),
        CONFIRMED,
        "2 of 2 orders differ",
    ),
    "filled here alone": (
        lambda: checks.check_unreconciled(fills("1", "2"), booked(_1="filled", _2="filled", _3="filled")),
        CONFIRMED,
        "1 of 3 orders differ between the broker and here: filled here, and not at the broker",
    ),
    "by the client's own id": (
        lambda: checks.check_unreconciled(fills("desk-9"), booked(own="desk-9", _1="filled")),
        RULED_OUT,
        "filled here and at the broker: 1 of 1",
    ),
    "an order that was placed just now": (
        lambda: checks.check_unreconciled(fills("1", seconds=4), booked(5, _1="pending")),
        INCONCLUSIVE,
        "no order was filled in that time",
    ),
    "another broker fills most of them": (
        lambda: checks.check_unreconciled(fills("1"), booked(_1="filled", _2="filled", _3="filled")),
        INCONCLUSIVE,
        "2 of 3 orders that are filled here are not at this account of the broker",
    ),
    "ids that are not ours": (
        lambda: checks.check_unreconciled(fills("a1", "a2"), booked(_1="filled", _2="failed")),
        INCONCLUSIVE,
        "none of 2 fills at the broker has the id of an order here",
    ),
    "orders without an id of ours": (
        lambda: checks.check_unreconciled(fills(None, None), booked(_1="filled")),
        INCONCLUSIVE,
        "2 fills at the broker, none with an order id of ours",
    ),
    "a stop was hit at the broker, which is no order of ours": (
        lambda: checks.check_unreconciled(fills("1", None), booked(_1="filled")),
        RULED_OUT,
        "fills that are none of ours (stops, margin, by hand): 1",
    ),
    "the broker's list cannot be read": (
        lambda: checks.check_unreconciled(silent("fills at the broker", "HTTP 401"), booked(_1="filled")),
        INCONCLUSIVE,
        "HTTP 401",
    ),
    "the table cannot be read": (
        lambda: checks.check_unreconciled(fills("1"), silent("orders here")),
        INCONCLUSIVE,
        "no orders here",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    judge, kind, words = EXAMPLES[example]
    verdict = judge()
    assert verdict.kind is kind
    assert words in verdict.reason


class TestSeverity:
    """The playbook: trading blocked is P0, trade failures are P1."""

    @pytest.mark.parametrize(
        ("failed", "filled", "expected"),
        [(9, 0, Severity.P0), (20, 1, Severity.P0), (9, 3, Severity.P1), (1, 9, Severity.P1), (4, 0, Severity.P1)],
    )
    def test_by_how_many_fail(self, failed: int, filled: int, expected: Severity) -> None:
        verdict = checks.check_broker_slow(trades(row(failed, TIMEOUT), row(filled)), FINE, here())
        assert verdict.severity is expected

    def test_what_fails_a_few_of_many_does_not_block_trading(self) -> None:
        """All fail, and one cause has most of it."""
        table = trades(row(9, TIMEOUT), row(2, EXPIRED))
        slow = checks.check_broker_slow(table, broker("timeout"), here())
        expired = checks.check_broker_credentials(table, broker("timeout"), here())
        assert (slow.severity, expired.severity) == (Severity.P0, Severity.P1)

    def test_orders_that_leave_no_row(self) -> None:
        """By the log: nothing was written, everything failed."""
        verdict = checks.check_database(trades(), log(database=12), counters(0, database=3))
        assert verdict.severity is Severity.P0

    @pytest.mark.parametrize(
        ("stuck", "others", "expected"), [(2, 1000, Severity.P2), (12, 9000, Severity.P1), (2, 5, Severity.P1)]
    )
    def test_by_how_many_are_stuck(self, stuck: int, others: int, expected: Severity) -> None:
        """Two that a replica took down with it are no outage; many, or a good part of all, are."""
        table = orders(("open", "pending", stuck, stuck), ("closed", "filled", others, others))
        assert checks.check_stuck(table).severity is expected

    def test_what_fails_most_of_the_trades_comes_first(self) -> None:
        """The broker has just turned from silent to rejecting: four of its last time-outs stand beside eight rejections."""
        table = trades(row(4, TIMEOUT), row(8, HALTED), row(1))
        slow = checks.check_broker_slow(table, NO_ADAPTER, NOT_SET)
        rejected = checks.check_rejected_by_broker(table, NO_ADAPTER)
        assert (slow.kind, rejected.kind) == (CONFIRMED, CONFIRMED)
        assert ranked([slow, rejected]) == [rejected, slow]

    def test_what_is_seen_now_comes_before_what_was(self) -> None:
        """It rejected most, and is gone now."""
        table = trades(row(1, REFUSED), row(8, HALTED), row(2))
        gone = broker("unreachable", "unreachable", "unreachable")
        verdicts = [checks.check_rejected_by_broker(table, gone), checks.check_broker_unreachable(table, gone, NOT_SET)]
        assert ranked(verdicts)[0].cause == "trades.broker-unreachable"

    def test_a_risk_limit_is_no_outage(self) -> None:
        """However many are blocked: it works as meant."""
        assert checks.check_risk_limit(trades(blocked(90)), log()).severity is Severity.P3


class TestViews:
    def test_each_trade_is_attributed_once(self) -> None:
        """A refused credential is no rejection, a rejection no refusal to connect."""
        table = trades(row(1, EXPIRED), row(2, HALTED), row(3, REFUSED), row(4, TIMEOUT), blocked(5), row(6)).require()
        assert views.attributed(table)["kind"].tolist() == ["credentials", "rejected", "unreachable", "timeout", "risk"]

    def test_growth_survives_a_restart(self) -> None:
        """A counter that begins again at zero has not shrunk."""
        frame = counters(10).require()
        frame.loc[frame["at"].eq(frame["at"].max()), "value"] = 3
        assert views.growth(frame)["grown"].tolist() == [0.0, 0.0]

    def test_reasons_with_the_recent_ones_first(self) -> None:
        table = trades(row(0, REFUSED, trades=50), row(2, HALTED)).require()
        assert views.count_reasons(table)[["kind", "recent"]].values.tolist() == [["rejected", 2], ["unreachable", 0]]
