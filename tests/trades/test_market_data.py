"""Prices that stand still, told from a market that is closed, a clock that is wrong, and a symbol that is quiet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from database_examples import NOW, silent
from hypothesis import given
from hypothesis import strategies as st
from trade_examples import HALTED, booked, counters, pages, prices, row, together, trades

from flowrex_ops.metrics.market_data import PRICE_COLUMNS, prices_of_answers, prices_of_series, read_price_times
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.trades import checks

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
NONE = silent("newest prices", "no gauge tells when the price of a symbol last moved", None)
MONDAY, SATURDAY = (NOW + timedelta(days=(day - NOW.weekday()) % 7) for day in (0, 5))
STOPPED = {"EURUSD": 90.0, "XAUUSD": 92.0}


def placed(
    at: datetime = MONDAY, seconds: float = 20, symbol: str = "EURUSD", **statuses: str
) -> Reading[pd.DataFrame]:
    """Orders of so many seconds before *at*."""
    found = booked(seconds - (at - NOW).total_seconds(), **statuses)
    return Reading(found.source, found.what, found.require().assign(symbol=symbol))


def judge(told: Reading[pd.DataFrame], **given: Any) -> Verdict:
    readings = {
        "scraped": NONE,
        "booked": placed(_1="filled"),
        "counters": counters(10),
        "trades": trades(row(20)),
        "pages": pages(),
    } | given
    return checks.check_stale(told, *(readings[name] for name in ("scraped", "booked", "counters", "trades", "pages")))


def seen(*replicas: str, **ages: float | None) -> Reading[pd.DataFrame]:
    return prices(*replicas, at=MONDAY, **ages)


EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "prices come": (
        lambda: judge(seen(EURUSD=0.4, XAUUSD=2)),
        RULED_OUT,
        "the prices of all 2 symbols move; the oldest newest price, of XAUUSD, is 2.0 s old",
    ),
    "a clock is a little ahead": (lambda: judge(seen(EURUSD=-0.9, XAUUSD=2)), RULED_OUT, "all 2 symbols move"),
    "the feed has stopped, and orders are filled at the old prices": (
        lambda: judge(seen(**STOPPED)),
        CONFIRMED,
        "2 of 2 prices stand still since 20",
    ),
    "one symbol has": (
        lambda: judge(seen(EURUSD=1, XAUUSD=90, BTCUSD=0.1)),
        CONFIRMED,
        "XAUUSD (those symbols, not the feed); no status page tells of trouble",
    ),
    "on one replica alone": (
        lambda: judge(together(seen("backend-1", EURUSD=1, XAUUSD=1), seen("backend-2", **STOPPED))),
        CONFIRMED,
        "2 of 2 prices stand still on backend-2 alone since",
    ),
    "and its service says so": (
        lambda: judge(seen(**STOPPED), pages=pages("major")),
        CONFIRMED,
        "TwelveData says: Partial System Outage",
    ),
    "what its service says cannot be read": (
        lambda: judge(seen(**STOPPED), pages=silent("status pages")),
        CONFIRMED,
        "what the feed's service says is not known",
    ),
    "orders come in, and none is filled": (
        lambda: judge(seen(**STOPPED), booked=placed(_1="failed")),
        CONFIRMED,
        "the feed itself",
    ),
    "nothing moves, and nobody trades": (
        lambda: judge(seen(**STOPPED), booked=placed(), counters=counters(0)),
        INCONCLUSIVE,
        "EURUSD, XAUUSD: no price since 20",
    ),
    "the last order was placed while prices came": (
        lambda: judge(seen(**STOPPED), booked=placed(seconds=95, _1="filled"), counters=counters(0)),
        INCONCLUSIVE,
        "the market may be closed",
    ),
    "nothing moves, and whether anybody trades is not known": (
        lambda: judge(seen(**STOPPED), booked=silent("orders here"), counters=silent("trade counters")),
        INCONCLUSIVE,
        "whether orders are placed is not known",
    ),
    "a Saturday": (
        lambda: judge(prices(at=SATURDAY, BTCUSD=1, EURUSD=60_000), booked=placed(SATURDAY, _1="failed")),
        INCONCLUSIVE,
        "currencies and metals are not traded from Friday 22:00 to Sunday 22:00 UTC: the market may be closed",
    ),
    "a Saturday, and its orders are filled": (
        lambda: judge(prices(at=SATURDAY, EURUSD=60_000), booked=placed(SATURDAY, _1="filled")),
        CONFIRMED,
        "prices stand still",
    ),
    "a Saturday, and another replica has prices": (
        lambda: judge(
            together(prices("backend-1", at=SATURDAY, EURUSD=1), prices("backend-2", at=SATURDAY, EURUSD=900)),
            booked=placed(SATURDAY, _1="failed"),
        ),
        CONFIRMED,
        "on backend-2 alone",
    ),
    "the broker has halted that symbol": (
        lambda: judge(
            seen(XAUUSD=1, EURUSD=90), booked=placed(_1="failed"), trades=trades(row(9, HALTED), row(20, symbol="X"))
        ),
        INCONCLUSIVE,
        "the broker refuses them, 'rejected by broker: MARKET_HALTED': the market is closed",
    ),
    "the broker has halted another one": (
        lambda: judge(
            seen(XAUUSD=1, EURUSD=90), booked=placed(_1="failed"), trades=trades(row(9, HALTED, symbol="XAUUSD"))
        ),
        CONFIRMED,
        "1 of 2 prices",
    ),
    "prices come in, and are old: a clock, or a feed that is late": (
        lambda: judge(prices(moves=True, EURUSD=90, XAUUSD=90)),
        INCONCLUSIVE,
        "prices come in late, or a clock is wrong",
    ),
    "the replica's clock is behind the feed's": (
        lambda: judge(seen(EURUSD=-40, XAUUSD=1)),
        INCONCLUSIVE,
        "EURUSD is 40 s ahead of the clock of backend-1",
    ),
    "a symbol without a price yet": (
        lambda: judge(seen(EURUSD=1, XAUUSD=None)),
        INCONCLUSIVE,
        "XAUUSD has no price there yet",
    ),
    "one replica is silent": (
        lambda: judge(together(seen("backend-1", EURUSD=1), answers(("backend-2", None)))),
        INCONCLUSIVE,
        "backend-2 does not tell when each price moved last: it is dead",
    ),
    "the replicas do not tell, and Prometheus does": (
        lambda: judge(NONE, scraped=seen("feed-1", EURUSD=1, XAUUSD=70)),
        CONFIRMED,
        "1 of 2 prices stand still",
    ),
    "nobody tells": (lambda: judge(NONE), INCONCLUSIVE, "no gauge tells when the price of a symbol last moved"),
    "an empty answer": (lambda: judge(seen()), INCONCLUSIVE, "nobody tells when a price moved last"),
}


def answers(*replicas: tuple[str, dict[str, float] | None]) -> Reading[pd.DataFrame]:
    """What replicas answered twice; one that told nothing is dead."""
    told = [
        {"replica": name, "prices": found, "asked_at": NOW.timestamp(), "error": None if found else "it is dead"}
        for name, found in replicas
    ]
    return Reading("backend", "newest prices", prices_of_answers(told, told))


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    ask, kind, words = EXAMPLES[example]
    verdict = ask()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason


def test_severity_by_how_many_stand() -> None:
    """All of them is P1, some are P2."""
    found = [judge(seen(**STOPPED)).severity, judge(seen(EURUSD=1, XAUUSD=90)).severity]
    assert found == [Severity.P1, Severity.P2]


def test_evidence_names_each_symbol_and_the_orders() -> None:
    verdict = judge(seen(EURUSD=1, XAU_USD=90), booked=placed(symbol="XAU/USD", _1="filled"))
    found = {one.name: one.value for one in verdict.evidence}
    assert found["XAU_USD"].endswith("1 min 30 s, on backend-1, backend-2")
    assert found["orders of them since then"] == "1, of which 1 filled"


@pytest.mark.parametrize(
    ("moment", "closed"),
    [
        ("2026-11-27 21:59", False),
        ("2026-11-27 22:00", True),
        ("2026-11-28 12:00", True),
        ("2026-11-29 21:59", True),
        ("2026-11-29 22:00", False),
        ("2026-11-30 12:00", False),
    ],
)
def test_weekend(moment: str, closed: bool) -> None:
    at = datetime.fromisoformat(f"{moment}+00:00")
    assert judge(prices(at=at, EURUSD=90), booked=placed(at, _1="failed")).confirmed is not closed


AGE = st.floats(-4, 100_000) | st.none()
TABLE = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("XY"), AGE, st.booleans()),
    max_size=6,
    unique_by=lambda row: row[:2],
)


@given(TABLE, st.sampled_from([MONDAY, SATURDAY]), st.booleans(), st.booleans())
def test_only_young_prices_rule_it_out(
    rows: list[tuple[str, str, float | None, bool]], at: datetime, trading: bool, known: bool
) -> None:
    """Whatever is told, in any order, at any time: ruled out is that each price is there and young; what moves is never confirmed."""
    frame = pd.DataFrame([stamped(at, *row) for row in rows], columns=PRICE_COLUMNS)
    orders = placed(at) if known else silent("orders here")
    kinds = set()
    for told in (frame, frame.iloc[::-1]):
        reading = Reading("backend", "newest prices", told, taken_at=at)
        verdict = judge(reading, booked=orders, counters=counters(1 if trading else 0))
        kinds.add(verdict.kind)
    young = bool(rows) and all(age is not None and age < 30 for *_, age, _ in rows)
    stands = any(age is not None and age >= 30 and not moved for *_, age, moved in rows)
    assert len(kinds) == 1
    assert (RULED_OUT in kinds) == young
    assert stands or CONFIRMED not in kinds


def stamped(at: datetime, replica: str, symbol: str, age: float | None, moved: bool) -> tuple[Any, ...]:
    newest = None if age is None else at - timedelta(seconds=age)
    return replica, symbol, newest, newest and newest - timedelta(seconds=moved), at, None


class TestGauges:
    """Whatever a platform calls them."""

    @pytest.mark.parametrize(
        "line",
        [
            'flowrex_market_data_timestamp_seconds{symbol="EURUSD"} 1.7e9',
            'price_timestamp_seconds{pair="EURUSD",venue="b"} 1.7e9',
            'feed_last_quote_timestamp_seconds{instrument="EURUSD"} 1.7e9',
            'app_last_tick_timestamp_seconds{ticker="EURUSD"} 1.7e9',
            'desk_seen_seconds{symbol="EURUSD"} 1.7e9',
        ],
    )
    def test_names(self, line: str) -> None:
        assert read_price_times(f"{line}\n", ["desk_seen_seconds"]) == {"EURUSD": 1.7e9}

    @pytest.mark.parametrize(
        "line",
        [
            'ticket_timestamp_seconds{symbol="EURUSD"} 1.7e9',
            "rss_feed_timestamp_seconds 1.7e9",
            'price_seconds{symbol="EURUSD"} 1.7e9',
            'flowrex_trades_last_failed_timestamp_seconds{reason="timeout"} 1.7e9',
        ],
    )
    def test_others_are_none(self, line: str) -> None:
        assert read_price_times(f"{line}\n") == {}

    def test_the_newest_of_several_venues(self) -> None:
        page = 'quote_timestamp_seconds{symbol="A",venue="x"} 5\nquote_timestamp_seconds{symbol="A",venue="y"} 7\n'
        assert read_price_times(page) == {"A": 7.0}

    def test_nonsense_is_no_time(self) -> None:
        """Zero, which a gauge is before it is set, what is infinite, and what no calendar has."""
        found = answers(("backend-1", {"A": 0.0, "B": float("inf"), "C": 1e30, "D": 1.7e9})).require()
        assert found["moved_at"].notna().tolist() == [False, False, False, True]

    def test_of_prometheus(self) -> None:
        """The last two scrapes of each series; one that is no longer scraped is left out, one without a symbol, too."""
        found = prices_of_series(
            [
                ("backend-1", {"symbol": "A"}, [[100, "90"], [115, "99"]]),
                ("backend-1", {"symbol": "B"}, [[115, "80"]]),
                ("backend-0", {"symbol": "C"}, [[15, "10"]]),
                ("backend-1", {}, [[115, "80"]]),
            ]
        )
        told = [
            [at.timestamp() for at in row if pd.notna(at)]
            for row in found[["moved_at", "moved_before", "asked_at"]].itertuples(index=False)
        ]
        assert (found["symbol"].tolist(), told) == (["A", "B"], [[99, 90, 115], [80, 115]])
