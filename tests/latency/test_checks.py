"""Readings on the left, the verdict on the right: what the runbook says of answers that are slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from database_examples import pools, silent
from error_examples import ago, services
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from latency_examples import (
    READS_DISK,
    REPLICAS,
    ROUTES,
    SLOW_STATEMENT,
    USUAL,
    Readings,
    access,
    ask,
    ask_all,
    cpu,
    everywhere,
    given,
    liveness,
    took,
)

from flowrex_ops.latency import checks
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
Check = Callable[..., Verdict]
CHECKS: tuple[Check, ...] = tuple(one for name, one in vars(checks).items() if name.startswith("check_"))


def on_prices(seconds: float, *, minutes: tuple[float, ...] = (1,)) -> list[dict[str, Any]]:
    """Sixty requests of one route, by all replicas."""
    return [took(20, seconds, replica=name, at=ago(minute)) for name in REPLICAS for minute in minutes]


ALL_SLOW = access(*everywhere(10, seconds=3))
ONE_REPLICA = access(*everywhere(10, seconds=2, replicas=("backend-2",)))
TWO = [one for one in everywhere(10, seconds=3) if one["route"] != ROUTES[2]]
TWO_ROUTES = access(*TWO)
FULL = pools(5, 5, 5, waiting_requests=3)
OLD = everywhere(20, minutes=(8, 14, 21))
NEW = services("1.5.0", "1.5.0", "1.5.0", started=ago(4))
ROLLED_OUT = access(*everywhere(20, seconds=2, minutes=(1, 3), version="1.5.0"), usual=OLD)
UNSPLIT = access(*everywhere(10, seconds=3, slow_in="unsplit"))
UNTIMED = access(usual=everywhere(20, slow_in="untimed", took=None))
LOGGED = LogSummary(requests=400, slow_requests=90, slowest=[(4.2, "/api/prices", "backend-2")])

EXAMPLES: dict[str, tuple[Check, Readings, VerdictKind, str]] = {
    "one route sleeps": (
        checks.check_route,
        given(access(*on_prices(3))),
        CONFIRMED,
        "Only /api/prices is slow (60 of 240 recent requests took 1 s or longer)",
    ),
    "everything hangs since a minute, after four fast ones": (
        checks.check_unexplained_latency,
        given(access(*everywhere(400, minutes=(4,)), *everywhere(4, seconds=9.0, at=ago(0.8)), usual=[])),
        CONFIRMED,
        "Slow on /api/portfolio and 2 other routes",
    ),
    "it always did": (
        checks.check_route,
        given(access(*(took(20, 3, at=ago(minutes)) for minutes in (1, 8, 14, 21, 33, 47)))),
        INCONCLUSIVE,
        "20 of 200 recent requests are slow, and as many were before",
    ),
    "half an hour ago it did not": (
        checks.check_route,
        given(access(*on_prices(3, minutes=(1, 8, 14, 21)))),
        CONFIRMED,
        "Only /api/prices is slow",
    ),
    "three minutes ago it still did": (
        checks.check_route,
        given(access(*on_prices(3, minutes=(4,)), *on_prices(0.02, minutes=(0.5,)))),
        CONFIRMED,
        "Over since 04:08:00 UTC, 120 requests were fast since: Only /api/prices is slow",
    ),
    "forty seconds ago it still did": (
        checks.check_route,
        given(access(*on_prices(3, minutes=(4, 3, 2, 0.7)), *on_prices(0.02, minutes=(0.6, 0.4, 0.2)))),
        CONFIRMED,
        "Over since 04:11:18 UTC, ",
    ),
    "all of them are slow, and nobody can say why": (
        checks.check_unexplained_latency,
        given(ALL_SLOW),
        CONFIRMED,
        "Slow on /api/portfolio and 2 other routes, and no known cause explains it (90 of 270",
    ),
    "one replica": (checks.check_replica, given(ONE_REPLICA), CONFIRMED, "Only backend-2 is slow (30 of 210"),
    "that is no route": (checks.check_route, given(ONE_REPLICA), RULED_OUT, "attributed to http.slow-replica"),
    "one replica alone serves": (
        checks.check_replica,
        given(access(took(60, 3), usual=everywhere(20, replicas=("backend-1",)))),
        INCONCLUSIVE,
        "only backend-1 was asked",
    ),
    "a log that names no replica": (
        checks.check_replica,
        given(access(*everywhere(10, seconds=3, replica=""))),
        INCONCLUSIVE,
        "does not tell the replica of 90 slow requests; add $upstream_addr",
    ),
    "a release": (
        checks.check_release,
        given(ROLLED_OUT, services=NEW),
        CONFIRMED,
        "Slow since a release: 1.5.0 took the place of 1.4.2 at 04:09:00 UTC",
    ),
    "a release that was fast for a while": (
        checks.check_release,
        given(
            access(
                *everywhere(20, seconds=2, version="1.5.0"),
                usual=[*OLD, *everywhere(20, minutes=(7,), version="1.5.0")],
            ),
            services=NEW,
        ),
        RULED_OUT,
        "what is slow did not begin with it",
    ),
    "containers began lately, and no release is logged": (
        checks.check_release,
        given(access(*everywhere(20, seconds=2, version=""), usual=OLD), services=NEW),
        INCONCLUSIVE,
        "a replica started at 04:08:00 UTC, and the log names no release; add $upstream_http_x_flowrex_version",
    ),
    "clients on a bad line": (
        checks.check_clients,
        given(access(took(40, 4, "client", route="/api/trades"))),
        CONFIRMED,
        "The time is in the clients' connections",
    ),
    "that is not the route": (
        checks.check_route,
        given(access(took(40, 4, "client", route="/api/trades"))),
        RULED_OUT,
        "attributed to http.slow-clients",
    ),
    "long bodies, which clients may read slowly": (
        checks.check_clients,
        given(access(took(40, 4, "body"))),
        INCONCLUSIVE,
        "the time is in the answers' bodies",
    ),
    "full pools": (
        checks.check_database,
        given(ALL_SLOW, pools=FULL),
        CONFIRMED,
        "pool of backend-1: 5 of 5 connections taken, 3 requests wait",
    ),
    "a long statement": (
        checks.check_database,
        given(ALL_SLOW, sessions=SLOW_STATEMENT),
        CONFIRMED,
        "PID 2 of backend-3: has run for 7 s: SELECT * FROM trades",
    ),
    "full pools while answers are fast": (
        checks.check_database,
        given(access(), pools=FULL),
        RULED_OUT,
        "0 of 180 recent requests took 1 s or longer",
    ),
    "no pool is told": (
        checks.check_database,
        given(ALL_SLOW, pools=silent("pool gauges")),
        INCONCLUSIVE,
        "no pool gauges",
    ),
    "a blocked loop": (
        checks.check_event_loop,
        given(ONE_REPLICA, liveness=liveness(backend_2=1.4)),
        CONFIRMED,
        "backend-2 does not answer a path that costs nothing in time (30 of 210",
    ),
    "a blocked loop that nobody could look at": (
        checks.check_event_loop,
        given(ONE_REPLICA, liveness=silent("liveness")),
        INCONCLUSIVE,
        "no liveness",
    ),
    "two routes wait for somebody else while CPU is short, and the third is as fast as ever": (
        checks.check_cpu,
        given(TWO_ROUTES, cpu=cpu(81.0)),
        RULED_OUT,
        "what is slow is spread out, though CPU is short (81 % of the last minute): the other routes take no longer than before",
    ),
    "nothing that was read explains those two": (
        checks.check_unexplained_latency,
        given(TWO_ROUTES, cpu=cpu(81.0)),
        CONFIRMED,
        "Slow on /api/portfolio and 1 other route",
    ),
    "the same, and the third takes longer, too": (
        checks.check_cpu,
        given(access(*TWO, usual=[*USUAL, *(took(300, 0.2, route=ROUTES[2], at=ago(0.9)),)]), cpu=cpu(81.0)),
        CONFIRMED,
        "waited for a processor in 81 %",
    ),
    "want of CPU": (checks.check_cpu, given(ALL_SLOW, cpu=cpu(81.0)), CONFIRMED, "waited for a processor in 81 %"),
    "with late answers everywhere": (
        checks.check_cpu,
        given(ALL_SLOW, cpu=cpu(81.0), liveness=liveness(backend_1=1, backend_2=1, backend_3=1)),
        CONFIRMED,
        "The machine is short of CPU",
    ),
    "want of CPU, and one route alone is slow": (
        checks.check_cpu,
        given(access(*on_prices(3)), cpu=cpu(81.0)),
        RULED_OUT,
        "attributed to http.slow-route, though CPU is short",
    ),
    "held back at its limit": (
        checks.check_cpu,
        given(ONE_REPLICA, cpu=cpu(backend_2=0.6)),
        CONFIRMED,
        "backend-2 is held back at its CPU limit in 60% of its periods",
    ),
    "a disk that keeps tasks waiting": (
        checks.check_disk,
        given(ALL_SLOW, cpu=cpu(io=72.0)),
        CONFIRMED,
        "The disk keeps tasks waiting, in 72 % of the last minute (90 of 270",
    ),
    "the database waits for that disk": (
        checks.check_disk,
        given(ALL_SLOW, cpu=cpu(io=72.0), sessions=READS_DISK),
        CONFIRMED,
        "The disk keeps tasks waiting",
    ),
    "the database waits, and the disk is idle": (
        checks.check_disk,
        given(ALL_SLOW, sessions=READS_DISK),
        RULED_OUT,
        "tasks waited for a disk in 2 % of the last minute",
    ),
    "a busy disk, and one route": (
        checks.check_disk,
        given(access(*on_prices(3)), cpu=cpu(io=72.0)),
        RULED_OUT,
        "attributed to http.slow-route, though the disk is busy (72 % of the last minute)",
    ),
    "a busy disk, and nobody notices": (checks.check_disk, given(access(), cpu=cpu(io=72.0)), RULED_OUT, "0 of 180"),
    "a kernel without pressure of disks": (
        checks.check_disk,
        given(ALL_SLOW, cpu=cpu(io=None)),
        INCONCLUSIVE,
        "io_pressure_avg60",
    ),
    "a kernel without pressure": (checks.check_cpu, given(ALL_SLOW, cpu=cpu(None)), INCONCLUSIVE, "pressure_avg60"),
    "only $request_time is logged": (
        checks.check_route,
        given(UNSPLIT),
        INCONCLUSIVE,
        "where 90 slow requests spent their time; add $upstream_connect_time",
    ),
    "that is slow all the same": (checks.check_unexplained_latency, given(UNSPLIT), CONFIRMED, "Slow on /api/port"),
    "no time is logged": (checks.check_route, given(UNTIMED), INCONCLUSIVE, "add $request_time"),
    "but the backend logs its own": (
        checks.check_unexplained_latency,
        given(UNTIMED, log=Reading("logs", "backend log", LOGGED)),
        CONFIRMED,
        "90 of 400 requests are slow by the backend's own log; the proxy's log does not tell",
    ),
    "too few requests": (checks.check_route, given(access(usual=[took(9)])), INCONCLUSIVE, "9 recent requests are too"),
    "no log": (checks.check_route, given(silent("requests at the proxy")), INCONCLUSIVE, "no requests at the proxy"),
    "lines that are not understood": (
        checks.check_route,
        given(access(lines=100, unread=9, example="odd")),
        INCONCLUSIVE,
        "9 of 109 lines of the proxy's log were not understood",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    check, readings, kind, says = EXAMPLES[name]
    verdict = ask(check, *readings)
    assert (verdict.kind, says in verdict.reason) == (kind, True), verdict.reason


def test_a_healthy_platform_rules_everything_out() -> None:
    assert {verdict.kind for verdict in ask_all(CHECKS, *given(access()))} == {RULED_OUT}


@pytest.mark.parametrize("name", [name for name, (_, _, kind, _) in EXAMPLES.items() if kind is CONFIRMED])
def test_one_trouble_is_one_finding(name: str) -> None:
    """Whatever is confirmed, nothing else is beside it."""
    check, readings, *_ = EXAMPLES[name]
    assert [one.cause for one in ask_all(CHECKS, *readings) if one.confirmed] == [ask(check, *readings).cause]


def test_clients_and_what_is_over_are_no_trouble_of_the_platform() -> None:
    asked = [EXAMPLES[name][:2] for name in ("clients on a bad line", "three minutes ago it still did", "one replica")]
    found = [ask(check, *readings).severity for check, readings in asked]
    assert found == [Severity.P3, Severity.P3, Severity.P2]


rows = st.lists(
    st.builds(
        took,
        st.integers(0, 90),
        st.sampled_from([0.01, 1, 30]),
        st.sampled_from(["client", "connect", "first byte", "body", "unsplit", "untimed", ""]),
        at=st.sampled_from([0, 1, 4.9, 5, 20, 59, 90]).map(ago),
        route=st.sampled_from([*ROUTES, ""]),
        replica=st.sampled_from([*REPLICAS, "", None]),
        version=st.sampled_from(["1.4.2", "1.5.0", "", None]),
    ),
    max_size=12,
)
logs = st.builds(lambda found, usual: access(*found, usual=usual), rows, st.sampled_from([[], USUAL]))
others = st.fixed_dictionaries(
    {
        "services": st.sampled_from([services(), NEW, silent("services")]),
        "pools": st.sampled_from([pools(1, 1, 1), FULL, silent("pool gauges")]),
        "liveness": st.sampled_from([liveness(), liveness(backend_1=1), silent("liveness")]),
        "cpu": st.sampled_from(
            [cpu(), cpu(90), cpu(io=90.0), cpu(None, backend_1=0.9), silent("CPU and disk pressure")]
        ),
    }
)


@settings(max_examples=settings().max_examples * 2)
@examples(logs, others, st.randoms())
def test_no_input_makes_a_check_raise_and_order_does_not_matter(
    log: Reading[Any], readings: dict[str, Reading[Any]], rng: Any
) -> None:
    times = log.require().times
    shuffled = times.iloc[rng.sample(range(len(times)), len(times))]
    again = replace(log, value=replace(log.require(), times=shuffled))
    one, two = (ask_all(CHECKS, *given(each, **readings)) for each in (log, again))
    assert [(verdict.kind, verdict.reason) for verdict in one] == [(verdict.kind, verdict.reason) for verdict in two]


@examples(rows, others)
def test_what_is_slow_is_found_or_open(found: list[dict[str, Any]], readings: dict[str, Reading[Any]]) -> None:
    """More slow requests than before never leave every hypothesis ruled out."""
    log = access(*everywhere(60, seconds=3), *found)
    assert {verdict.kind for verdict in ask_all(CHECKS, *given(log, **readings))} != {RULED_OUT}
