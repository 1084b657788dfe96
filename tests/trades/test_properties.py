"""What holds for every input of ``trade_failures``: no check raises, order does not matter, nothing fails open."""

from __future__ import annotations

from typing import Any

import pandas as pd
from database_examples import silent
from hypothesis import given
from hypothesis import strategies as st
from trade_examples import EXPIRED, HALTED, REFUSED, TIMEOUT, booked, broker, counters, fills, here, log, row, trades

from flowrex_ops.logs.broker_errors import classify
from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.trades import checks, views

reasons = st.one_of(st.sampled_from(["", EXPIRED, HALTED, REFUSED, TIMEOUT, None]), st.text(max_size=20))
rows = st.builds(
    row,
    st.integers(0, 40),
    reasons,
    status=st.sampled_from(["filled", "failed", "blocked", "pending", "executed"]),
    symbol=st.sampled_from(["EURUSD", "XAUUSD", "BTCUSD", ""]),
    side=st.sampled_from(["buy", "sell"]),
)
tables = st.lists(rows, max_size=10).map(lambda found: trades(*found))
kinds = st.sampled_from(["ok", "unreachable", "timeout", "credentials", "rejected", "other", "unknown"])
brokers = st.lists(kinds, min_size=1, max_size=4).map(lambda found: broker(*found))
logs = st.dictionaries(st.sampled_from(["database", "risk", "rejected", "other"]), st.integers(0, 50)).map(
    lambda found: log(**found)
)
counts = st.builds(counters, st.integers(0, 9), database=st.integers(0, 9), broker_timeout=st.integers(0, 9))
maybe = lambda readings: st.one_of(readings, st.just(silent()))  # noqa: E731  # a strategy of strategies


def judge(table: Reading[Any], lines: Reading[Any], grown: Reading[Any], inside: Reading[Any]) -> list[Verdict]:
    return [
        checks.check_database(table, lines, grown),
        checks.check_broker_credentials(table, inside, here()),
        checks.check_broker_unreachable(table, inside, here()),
        checks.check_broker_slow(table, inside, silent()),
        checks.check_rejected_by_broker(table, inside),
        checks.check_risk_limit(table, lines),
    ]


@given(maybe(tables), maybe(logs), maybe(counts), maybe(brokers))
def test_no_input_makes_a_check_raise(
    table: Reading[Any], lines: Reading[Any], grown: Reading[Any], inside: Reading[Any]
) -> None:
    """Every check answers, with a reason."""
    assert all(verdict.reason for verdict in judge(table, lines, grown, inside))


@given(tables, logs, counts, brokers, st.randoms())
def test_order_of_rows_does_not_matter(
    table: Reading[Any], lines: Reading[Any], grown: Reading[Any], inside: Reading[Any], rng: Any
) -> None:
    """Shuffled rows give the same verdicts for the same reasons."""

    def shuffled(reading: Reading[Any]) -> Reading[Any]:
        order = list(range(len(reading.require())))
        rng.shuffle(order)
        return Reading(reading.source, reading.what, reading.require().iloc[order].reset_index(drop=True))

    reported = [(v.kind, v.reason) for v in judge(table, lines, grown, inside)]
    again = judge(shuffled(table), shuffled(lines), shuffled(grown), shuffled(inside))
    assert reported == [(v.kind, v.reason) for v in again]


@given(logs, counts, brokers)
def test_no_check_fails_open(lines: Reading[Any], grown: Reading[Any], inside: Reading[Any]) -> None:
    """Without the table nothing is ruled out."""
    verdicts = judge(silent("trades by outcome", code="42501"), lines, grown, inside)
    assert VerdictKind.RULED_OUT not in {verdict.kind for verdict in verdicts}


@given(tables)
def test_each_trade_is_attributed_once(table: Reading[Any]) -> None:
    """The kinds share out everything that failed or was blocked, and nothing else."""
    frame = table.require()
    trouble = frame[frame["status"].isin(["failed", "blocked"])]
    by_kind = sum(int(views.recent_of(frame, kind)["recent"].sum()) for kind in views.KINDS)
    assert by_kind == int(trouble["recent"].sum())


@given(st.text(max_size=80))
def test_every_text_has_a_kind(text: str) -> None:
    assert classify(text) in views.KINDS


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1e9)), max_size=8))
def test_counters_never_shrink(samples: list[tuple[int, float]]) -> None:
    """Whatever the samples, growth is not negative."""
    frame = counters(1).require().iloc[:0]
    if samples:
        frame = pd.DataFrame(
            [(at, "backend-1", None, "trades", "filled", value) for at, value in samples],
            columns=frame.columns,
        )
    assert (views.growth(frame)["grown"] >= 0).all()


ids = st.lists(st.sampled_from(["1", "2", "3", "desk-1"]) | st.none() | st.text(max_size=3), max_size=6)
statuses = st.dictionaries(
    st.sampled_from(["_1", "_2", "_3", "_4"]), st.sampled_from(["filled", "failed", "pending", ""]), max_size=4
)


@given(ids, st.floats(0, 1900), statuses, st.floats(0, 1900), st.randoms())
def test_books_are_ruled_to_agree_only_where_they_do(
    filled: list[str | None], ago: float, here: dict[str, str], placed: float, rng: Any
) -> None:
    """Whatever stands there: an answer, the same in any order; ruled out only where each fill that has settled stands here as filled."""
    there, rows = fills(*filled, seconds=ago), booked(placed, **here)
    verdict = checks.check_unreconciled(there, rows)
    assert verdict.reason
    shuffled = list(here.items())
    rng.shuffle(shuffled)
    assert checks.check_unreconciled(there, booked(placed, **dict(shuffled))).reason == verdict.reason
    if verdict.kind is VerdictKind.RULED_OUT:
        assert {here.get(f"_{name}") for name in filled if name} == {"filled"}
