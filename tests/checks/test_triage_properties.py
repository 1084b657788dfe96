"""Whatever the sources say: the checks of triage answer, and the order of rows does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from examples_triage import NOW, front_door, reading
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.checks import triage as checks
from flowrex_ops.model import Reading, Verdict
from flowrex_ops.sources.outside import PAGE_COLUMNS
from flowrex_ops.sources.services import DISK_COLUMNS, REPLICA_COLUMNS

TEXT = st.text(max_size=8)
STATES = st.sampled_from(["running", "exited", "paused", "restarting", "dead", "created"]) | TEXT
SHARES = st.floats(0, 5)
REPLICAS = st.lists(
    st.tuples(
        st.sampled_from(["backend", "postgres", "certbot"]) | TEXT,
        TEXT,
        STATES,
        st.sampled_from(["healthy", "unhealthy", "none", "starting"]) | TEXT,
        st.integers(0, 10**6),
        st.booleans(),
        st.none() | st.integers(0, 255),
        st.sampled_from([NOW, None]),
        TEXT,
        st.just(()),
    ),
    max_size=8,
)
HEALTH = st.lists(st.tuples(TEXT, st.none() | st.integers(100, 599), SHARES, st.none() | TEXT), max_size=6)
DISKS = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2**50), st.integers(1, 2**50), SHARES), max_size=6)
PAGES = st.lists(
    st.tuples(TEXT, st.sampled_from(["none", "minor", "major", "critical", ""]) | TEXT, TEXT, TEXT, SHARES, TEXT, TEXT),
    max_size=6,
)


def frame(what: str, columns: list[str], rows: list[Any]) -> Reading[pd.DataFrame]:
    return reading("x", what, pd.DataFrame(rows, columns=columns))


def same_either_way(judge: Callable[[list[Any]], Verdict], rows: list[Any]) -> None:
    there, back = judge(rows), judge(rows[::-1])
    assert (there.kind, there.severity) == (back.kind, back.severity)
    assert there.reason


@given(REPLICAS)
def test_services(rows: list[Any]) -> None:
    for check in (checks.check_down, checks.check_restarting):
        same_either_way(lambda some, check=check: check(frame("services", REPLICA_COLUMNS, some)), rows)  # type: ignore[misc]


@given(REPLICAS, HEALTH)
def test_health(replicas: list[Any], rows: list[Any]) -> None:
    known = frame("services", REPLICA_COLUMNS, replicas)
    columns = ["replica", "status", "seconds", "error"]
    same_either_way(lambda some: checks.check_unhealthy(known, frame("readiness", columns, some), front_door()), rows)


@given(DISKS)
def test_disks(rows: list[Any]) -> None:
    same_either_way(lambda some: checks.check_disk_full(frame("disks", DISK_COLUMNS, some)), rows)


@given(PAGES)
def test_pages(rows: list[Any]) -> None:
    same_either_way(lambda some: checks.check_external_outage(frame("status pages", PAGE_COLUMNS, some)), rows)
