"""Whatever the sources say: the checks of memory answer, and the order of rows does not matter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from memory_examples import NOW, keys, kills, memory, replica
from triage_examples import services

from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.memory import checks
from flowrex_ops.memory.host import HostMemory
from flowrex_ops.memory.redis import KEY_COLUMNS, REDIS_COLUMNS
from flowrex_ops.memory.source import KILL_COLUMNS, MEMORY_COLUMNS
from flowrex_ops.model import Reading, Verdict, VerdictKind
from tests.services.test_properties import REPLICAS, frame, same_either_way

TEXT = st.text(max_size=6)
BYTES = st.floats(0, 2.0**50) | st.sampled_from([0.0, float("nan"), float("inf")])
TIMES = st.integers(0, 1800).map(lambda seconds: NOW - timedelta(seconds=seconds))
MEMORY = st.lists(
    st.tuples(
        TIMES,
        st.sampled_from(["backend", "redis"]),
        st.sampled_from(["backend-1", "backend-2"]) | TEXT,
        BYTES,
        BYTES,
        BYTES,
        st.sampled_from(["prometheus", "sampled"]) | TEXT,
    ),
    max_size=12,
)
REDIS = st.lists(
    st.tuples(TIMES, *[BYTES] * 4, st.sampled_from(["noeviction", "allkeys-lru"]) | TEXT, *[BYTES] * 6, st.just("")),
    max_size=8,
)
KEYS = st.lists(
    st.tuples(st.integers(0, 2), TEXT, TEXT, st.integers(0, 10**9), BYTES, BYTES, st.floats(0, 1), TEXT, BYTES),
    max_size=6,
)
KILLS = st.lists(st.tuples(TEXT, st.none() | st.integers(0, 100), st.none() | TEXT), max_size=5)
PERCENT = st.none() | st.floats(0, 100)


@given(MEMORY)
def test_memory(rows: list[Any]) -> None:
    for check in (checks.check_leak, checks.check_container_limit):
        same_either_way(lambda some, check=check: check(frame("memory", MEMORY_COLUMNS, some)), rows)  # type: ignore[misc]  # a default binds it


FLAT = memory(*replica("backend-1", [80.0] * 30), *replica("backend-2", [90.0] * 30))
PARTS: dict[str, tuple[Reading[Any], Callable[..., Verdict], set[str]]] = {
    "leak": (FLAT, checks.check_leak, {"at", "service", "replica", "used_bytes", "origin"}),
    "growth": (FLAT, checks.check_unexplained_growth, {"at", "service", "replica", "used_bytes", "origin"}),
    "limit": (FLAT, checks.check_container_limit, {"service", "replica", "used_bytes", "limit_bytes", "origin"}),
    "killed, by the stack": (
        services(),
        lambda part: checks.check_oom_killed(part, kills(backend_1=0)),
        {"name", "state", "oom_killed", "started_at"},
    ),
    "killed, by cgroup": (
        kills(backend_1=0, backend_2=0),
        lambda part: checks.check_oom_killed(services(), part),
        {"oom_kills"},
    ),
}


@given(st.sampled_from(sorted(PARTS)), st.data())
def test_nothing_is_ruled_out_that_was_not_seen(part: str, data: st.DataObject) -> None:
    """No row, too few rows, a column that is not there or has no value: never ruled out, and never raised."""
    known, judge, needed = PARTS[part]
    table = known.require()
    assert judge(known).kind is VerdictKind.RULED_OUT, "seen whole"
    column = data.draw(st.sampled_from(sorted(table.columns)))
    how = data.draw(st.sampled_from(["no row", "gone", "empty"]))
    broken = {
        "no row": table.iloc[:0],
        "gone": table.drop(columns=column),
        "empty": table.assign(**{column: None}),
    }[how]
    verdict = judge(Reading("x", "part", broken, taken_at=NOW))
    # No count at all is what supervisord gives: a plain process has no cgroup of its own.
    if part != "killed, by cgroup" if how == "no row" else column in needed:
        assert verdict.kind is not VerdictKind.RULED_OUT, (how, column)


def named(name: str, state: str = "running", restarts: int = 0, *, killed: bool = False) -> tuple[Any, ...]:
    return ("backend", name, state, "healthy", restarts, killed, None, NOW, "", (), NOW)


TWICE = [*map(named, "abc"), named("d", restarts=1, killed=True), named("d", "exited", killed=True)]
"""A replica that is listed twice is judged by the worse of both, whichever comes first."""


@example(TWICE, [])
@given(REPLICAS, KILLS)
def test_kills(replicas: list[Any], rows: list[Any]) -> None:
    same_either_way(lambda some: checks.check_oom_killed(frame("services", REPLICA_COLUMNS, some), kills()), replicas)
    same_either_way(lambda some: checks.check_oom_killed(services(), frame("kills", KILL_COLUMNS, some)), rows)


@given(st.integers(0, 2**50), st.integers(0, 2**50), PERCENT, MEMORY)
def test_host(total: int, available: int, some: float | None, rows: list[Any]) -> None:
    found = Reading("host", "memory pressure", HostMemory(total, available, some_avg10=some))
    same_either_way(lambda part: checks.check_host_pressure(found, frame("memory", MEMORY_COLUMNS, part)), rows)


@given(REDIS, KEYS)
def test_redis(rows: list[Any], prefixes: list[Any]) -> None:
    for check in (checks.check_redis_rejecting, checks.check_redis_evicting, checks.check_redis_growth):
        same_either_way(
            lambda some, check=check: check(frame("redis", REDIS_COLUMNS, some), frame("keys", KEY_COLUMNS, prefixes)),  # type: ignore[misc]  # a default binds it
            rows,
        )
        same_either_way(
            lambda some, check=check: check(frame("redis", REDIS_COLUMNS, rows), frame("keys", KEY_COLUMNS, some)),  # type: ignore[misc]  # a default binds it
            prefixes,
        )
    same_either_way(lambda some: checks.check_redis_fragmentation(frame("redis", REDIS_COLUMNS, some)), rows)
    assert checks.check_redis_growth(frame("redis", REDIS_COLUMNS, rows), keys(session=1.0)).reason
