"""What holds for every input of ``error_rate``: no check raises, order does not matter, nothing fails open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from database_examples import silent
from error_examples import BUG, POOL, REDIS, access, ago, answer, ask, errors, failed, services
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrex_ops.http import checks, failures
from flowrex_ops.http.attribution import attribute
from flowrex_ops.http.context import Limits
from flowrex_ops.model import Reading, Verdict, VerdictKind
from tests.http.test_checks import CHECKS

few = settings(max_examples=settings().max_examples // 2)
"""Eight checks that each attribute every request take their time."""

minutes = st.sampled_from([0.5, 1, 2.9, 3, 6, 10, 25, 60]).map(ago)
statuses = st.sampled_from([101, 200, 201, 404, 429, 499, 500, 502, 503, 504])
replicas = st.sampled_from(["backend-1", "backend-2", "backend-3", "", "10.0.0.9:8000"])
routes = st.sampled_from(["/api/prices", "/api/portfolio", "/"])
answers = st.builds(
    answer,
    st.integers(0, 90),
    statuses,
    at=minutes,
    route=routes,
    replica=replicas,
    made_by=st.sampled_from(["backend", "proxy", "unknown"]),
    version=st.sampled_from(["1.4.2", "1.5.0", ""]),
)
clients = st.dictionaries(st.text(max_size=3), st.integers(0, 900), max_size=8)
proxied = st.builds(lambda rows, asked: access(*rows, clients=asked), st.lists(answers, max_size=12), clients)
logged = st.builds(
    lambda rows, begins: errors(*rows, begins=begins),
    st.lists(
        st.builds(
            lambda number, status, at, route, replica, kind: failed(
                number, status, at=at, route=route, replica=replica, **kind
            ),
            st.integers(0, 90),
            statuses,
            minutes,
            routes,
            replicas,
            st.sampled_from([{}, BUG, POOL, REDIS]),
        ),
        max_size=12,
    ),
    minutes,
)
running = st.builds(
    lambda versions, at: services(*versions, started=at),
    st.lists(st.sampled_from(["1.4.2", "1.5.0", ""]), max_size=4),
    minutes,
)
maybe = lambda readings: st.one_of(readings, st.just(silent()))  # noqa: E731  # a strategy of strategies


def judge(*readings: Reading[Any]) -> list[Verdict]:
    return [ask(check, *readings) for check in CHECKS]


@few
@given(maybe(proxied), maybe(logged), maybe(running))
def test_no_input_makes_a_check_raise(one: Reading[Any], two: Reading[Any], three: Reading[Any]) -> None:
    """Every check answers, with a reason."""
    assert all(verdict.reason for verdict in judge(one, two, three))


@few
@given(proxied, logged, running, st.randoms())
def test_order_of_rows_does_not_matter(one: Reading[Any], two: Reading[Any], three: Reading[Any], rng: Any) -> None:
    """Shuffled rows give the same verdicts for the same reasons."""

    def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
        order = list(range(len(frame)))
        rng.shuffle(order)
        return frame.iloc[order].reset_index(drop=True)

    log, reported = one.require(), two.require()
    again = judge(
        replace(one, value=replace(log, requests=shuffled(log.requests), clients=shuffled(log.clients))),
        replace(
            two, value=replace(reported, requests=shuffled(reported.requests), exceptions=shuffled(reported.exceptions))
        ),
        replace(three, value=shuffled(three.require())),
    )
    assert [(v.kind, v.reason) for v in judge(one, two, three)] == [(v.kind, v.reason) for v in again]


@few
@given(maybe(proxied), maybe(logged), maybe(running))
def test_every_failed_request_is_attributed_exactly_once(
    one: Reading[Any], two: Reading[Any], three: Reading[Any]
) -> None:
    """Nothing is lost and nothing counted twice; what has a cause that counts and what is unexplained are all that failed."""
    found = failures.failures(one, two)
    whole = attribute(one, two, three, Limits())
    assert whole.rows.drop(columns="cause").equals(found)
    counted = [whole.of(cause) for cause in set(whole.rows["cause"]) - {""} if whole.counts(whole.of(cause))]
    explained = sum(int(part["requests"].sum()) for part in counted)
    assert explained + int(whole.unexplained["requests"].sum()) == int(found["requests"].sum())


@few
@given(maybe(proxied), maybe(logged), maybe(running))
def test_no_diagnosis_is_impossible_while_requests_fail(
    one: Reading[Any], two: Reading[Any], three: Reading[Any]
) -> None:
    """More failures than noise, that are not over: something is confirmed, if only that they are unexplained."""
    whole = attribute(one, two, three, Limits())
    if whole.counts(whole.rows) and not whole.over_since(whole.rows):
        ended = [part for _, part in whole.rows.groupby("cause") if whole.over_since(part)]
        assert ended or any(verdict.confirmed for verdict in judge(one, two, three))


@few
@given(maybe(proxied), maybe(logged), maybe(running))
def test_no_check_fails_open(one: Reading[Any], two: Reading[Any], three: Reading[Any]) -> None:
    """Without the proxy's log nobody says that the proxy is fine; without both logs nothing is ruled out."""
    unreachable = ask(checks.check_upstream_unreachable, silent(), two, three)
    flood = ask(checks.check_traffic_flood, silent(), two, three)
    assert {unreachable.kind, flood.kind} == {VerdictKind.INCONCLUSIVE}
    assert {v.kind for v in judge(silent(), silent(), three)} == {VerdictKind.INCONCLUSIVE}


@few
@given(proxied, logged, running)
def test_what_was_not_answered_lately_confirms_nothing(
    one: Reading[Any], two: Reading[Any], three: Reading[Any]
) -> None:
    """A log in which nothing recent failed gives no finding."""
    log, reported = one.require(), two.require()
    old = replace(one, value=replace(log, requests=log.requests[log.requests["at"] < log.recent_since]))
    past = replace(
        two, value=replace(reported, requests=reported.requests[reported.requests["at"] < reported.recent_since])
    )
    assert not [verdict.cause for verdict in judge(old, past, three) if verdict.confirmed]
