"""Whatever is taken from a check's readings, it does not rule out a fault that is there: it cannot see it, and says so."""

from __future__ import annotations

from functools import cache, partial
from itertools import islice
from typing import Any

import pytest
from blinding import Asked, blinded, record
from certificate_examples import reading
from error_examples import answer, ask, errors, exhausted, files, fine, on_all, services, surge
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_examples import ask as ask_slow

from flowrex_ops.model import VerdictKind
from tests.http import test_checks as test_error_rate
from tests.http.test_blind_spots import broken
from tests.latency import test_checks as test_slow_responses
from tests.memory import test_checks as test_memory_usage
from tests.postgres import test_checks as test_database_connections
from tests.services import test_checks as test_triage
from tests.services import test_configuration, test_credentials, test_resolver
from tests.tls import test_checks as test_certificate_expiry
from tests.trades import test_checks as test_trade_failures
from tests.trades import test_market_data
from tests.websocket import test_checks as test_websocket_disconnections

RUNBOOKS: dict[str, tuple[Any, list[Any]]] = {
    "database_connections": (
        test_database_connections,
        [ask for ask, *_ in test_database_connections.EXAMPLES.values()],
    ),
    "certificate_expiry": (
        test_certificate_expiry,
        [
            partial(test_certificate_expiry.judge, reading(*rows))
            for rows, _ in test_certificate_expiry.EXAMPLES.values()
        ],
    ),
    "trade_failures": (
        test_trade_failures,
        [ask for ask, *_ in (test_trade_failures.EXAMPLES | test_market_data.EXAMPLES).values()],
    ),
    "memory_usage": (
        test_memory_usage,
        [partial(test_memory_usage.judge, **parts) for parts, _ in test_memory_usage.EXAMPLES.values()],
    ),
    "websocket_disconnections": (
        test_websocket_disconnections,
        [ask for ask, *_ in test_websocket_disconnections.EXAMPLES.values()],
    ),
    "triage": (
        test_triage,
        [
            ask
            for tests in (test_triage, test_resolver, test_credentials, test_configuration)
            for ask, *_ in tests.EXAMPLES.values()
        ],
    ),
}
"""Each runbook's examples, and the checks that they ask."""

ANSWERED = {
    "prepared transactions: every row",  # nothing was prepared
    "invalid indexes: every row",  # all are valid
    "replication: every row",  # nobody follows this server
    "sequences: every row",  # there is none
    "table upkeep: every row",  # there is none
    "monitoring: every row",  # dashboards alone: nobody was to be alerted
    "service.unhealthy: readiness: status (no value)",  # the containers' own health checks tell
}
"""What may be missing, since that is an answer or another reading tells."""


@cache
def faults(runbook: str) -> list[Asked]:
    """One for each cause: the first example that confirms it."""
    if runbook == "error_rate":
        refused = (surge(*test_error_rate.BEFORE), errors(*on_all(90, status=200)), services())
        cut_off = (exhausted(*fine(), answer(50, 500, made_by="proxy")), errors(*on_all(90, status=200)), services())
        leaking = (broken()[0], errors(*on_all(90, status=200)), services(), files(1000.0))
        asked = [
            Asked(partial(ask, check), given, {}, ask(check, *given))
            for check in test_error_rate.CHECKS
            for given in (broken(), refused, cut_off, leaking)
        ]
    elif runbook == "slow_responses":
        examples = test_slow_responses.EXAMPLES.values()
        asked = [Asked(partial(ask_slow, check), given, {}, ask_slow(check, *given)) for check, given, *_ in examples]
    else:
        tests, examples = RUNBOOKS[runbook]
        asked = record(tests.checks, *examples)
    found = [one for one in asked if one.verdict.kind is VerdictKind.CONFIRMED]
    return list({one.verdict.cause: one for one in reversed(found)}.values())


@pytest.mark.parametrize("runbook", [*RUNBOOKS, "error_rate", "slow_responses"])
def test_no_fault_is_ruled_out_for_want_of_one_thing(runbook: str, request: pytest.FixtureRequest) -> None:
    """A reading, its rows, one column, one field; ``make test`` tries every sixth where readings are large."""
    step = 6 if runbook in ("error_rate", "slow_responses") and request.config.getoption("suite") != "all" else 1
    said = {
        f"{fault.verdict.cause} without {what}: {verdict.reason}"
        for fault in faults(runbook)
        for what, readings in islice(blinded(fault.given), 0, None, step)
        if (verdict := fault.again(*readings)).kind is VerdictKind.RULED_OUT
        and not {what, f"{fault.verdict.cause}: {what}"} & ANSWERED
    }
    assert sorted(said) == []


@pytest.mark.thorough
@settings(max_examples=settings().max_examples // 2)
@given(
    st.sampled_from([*sorted(set(RUNBOOKS) - {"websocket_disconnections"}), "error_rate", "slow_responses"]), st.data()
)
def test_nor_for_want_of_several(runbook: str, data: st.DataObject) -> None:
    """Any that are missing together, but for closings: without code and side they are told by their ages."""
    fault = data.draw(st.sampled_from(faults(runbook)))
    readings, names = fault.given, set[str]()
    for _ in range(data.draw(st.integers(2, 4))):
        ways = [way for way in blinded(readings) if not {way[0], f"{fault.verdict.cause}: {way[0]}"} & ANSWERED]
        name, readings = data.draw(st.sampled_from(ways))
        names.add(name)
    verdict = fault.again(*readings)
    assert verdict.kind is not VerdictKind.RULED_OUT, (fault.verdict.cause, names, verdict.reason)
