"""What holds for every input of ``websocket_disconnections``: no check raises, order does not matter, nothing fails open."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pandas as pd
from database_examples import silent
from hypothesis import given
from hypothesis import strategies as st
from websocket_examples import closing, handshakes, location, locations, log, proxy_errors, replicas, samples

from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.websocket import checks, views

codes = st.sampled_from([1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 4001])
seconds = st.one_of(st.none(), st.floats(0, 100_000), st.sampled_from([2.0, 60.0, 3600.0]))
closings = st.builds(
    closing,
    codes,
    st.sampled_from(["", "client", "server", "abnormal", "lost", "?"]),
    age=seconds,
    ago=st.floats(0, 4000),
    idle_seconds=seconds,
    recent=st.booleans(),
    restart=st.booleans(),
    replica=st.sampled_from(["backend-1", "backend-2", ""]),
    reason=st.sampled_from(["", "KeyError"]),
)
errors = st.dictionaries(st.text(max_size=9), st.integers(0, 9), max_size=3).map(lambda found: tuple(found.items()))
logs = st.builds(lambda found, raised: log(*found, errors=raised), st.lists(closings, max_size=8), errors)
places = st.builds(
    location,
    st.sampled_from(["/", "/ws", "~ ^/ws$"]),
    carries_websockets=st.booleans(),
    upgrade_header=st.sampled_from(["", "$http_upgrade"]),
    connection_header=st.sampled_from(["", "close", "upgrade", "$unknown"]),
    http_version=st.sampled_from(["", "1.0", "1.1"]),
    read_timeout_seconds=st.sampled_from([0.0, 2.0, 60.0, 3600.0]),
)
configurations = st.lists(places, min_size=1, max_size=3).map(lambda found: locations(*found))
kinds = st.sampled_from(["ok", "refused", "dropped", "closed", "timeout", "unreachable", "unknown"])
shakes = st.builds(
    lambda through, straight, status: handshakes(through, *straight, status=status),
    st.one_of(kinds, st.just("")),
    st.lists(kinds, min_size=1, max_size=3),
    st.sampled_from([200, 404, 426, 502, 503]),
)
proxied = st.builds(proxy_errors, timeout=st.integers(0, 6), worker_connections=st.integers(0, 6))
started = st.builds(replicas, backend_1=st.floats(0, 4000), backend_2=st.floats(0, 4000))
memories = st.lists(st.one_of(st.none(), st.floats(1, 5000)), max_size=8).map(lambda found: samples(*found))
maybe = lambda readings: st.one_of(readings, st.just(silent()))  # noqa: E731  # a strategy of strategies
everything = (logs, configurations, shakes, proxied, started, memories)


def judge(*readings: Reading[Any]) -> list[Verdict]:
    connections, configured, shaken, said, services, gauges = readings
    return [
        checks.check_proxy_misconfigured(shaken, configured, said),
        checks.check_memory_leak(gauges),
        checks.check_connection_limit(connections, said, shaken, configured, gauges),
        checks.check_backend_error(connections),
        checks.check_backend_restart(connections, configured, services),
        checks.check_proxy_timeout(connections, configured, services, said),
    ]


@given(st.tuples(*map(maybe, everything)))
def test_no_input_makes_a_check_raise(readings: tuple[Reading[Any], ...]) -> None:
    """Every check answers, with a reason."""
    assert all(verdict.reason for verdict in judge(*readings))


@given(st.tuples(*everything), st.integers(0, 99))
def test_order_of_rows_does_not_matter(readings: tuple[Reading[Any], ...], seed: int) -> None:
    """Shuffled rows give the same verdicts for the same reasons."""
    rng = Random(seed)  # noqa: S311  # shuffling needs no cryptography

    def shuffled(reading: Reading[Any]) -> Reading[Any]:
        value = reading.require()
        frame = value if isinstance(value, pd.DataFrame) else value.closings
        order = list(range(len(frame)))
        rng.shuffle(order)
        mixed = frame.iloc[order].reset_index(drop=True)
        return replace(reading, value=mixed if frame is value else replace(value, closings=mixed))

    reported = [(v.kind, v.reason) for v in judge(*readings)]
    assert reported == [(v.kind, v.reason) for v in judge(*map(shuffled, readings))]


@given(logs, configurations, started)
def test_each_closing_is_attributed_once(
    connections: Reading[Any], configured: Reading[Any], services: Reading[Any]
) -> None:
    """To one of the kinds there are, and none is lost on the way."""
    attributed = views.attributed(connections.require(), configured, services)
    assert set(attributed["kind"]) <= set(views.KINDS)
    assert len(attributed) == len(connections.require().closings)


@given(shakes, configurations, proxied, started, memories)
def test_no_check_of_closings_fails_open(
    shaken: Reading[Any], configured: Reading[Any], said: Reading[Any], services: Reading[Any], gauges: Reading[Any]
) -> None:
    """Without the log of closings, what only it can tell is not ruled out."""
    verdicts = judge(silent("WebSocket closings"), configured, shaken, said, services, gauges)[2:]
    assert VerdictKind.RULED_OUT not in {verdict.kind for verdict in verdicts}


def test_nothing_answers() -> None:
    """Then nothing is known."""
    assert {verdict.kind for verdict in judge(*[silent()] * 6)} == {VerdictKind.INCONCLUSIVE}
