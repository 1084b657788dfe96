"""Whatever the sources say: the checks of triage answer, and the order of rows does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from database_examples import silent
from hypothesis import given
from hypothesis import strategies as st
from triage_examples import CALM, NOW, disks, front_door, health, machines, pages, reading, replica, services

from flowrex_ops.discovery.services import DISK_COLUMNS, REPLICA_COLUMNS
from flowrex_ops.metrics.machines import MACHINE_COLUMNS
from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.services import checks
from flowrex_ops.services.third_party import PAGE_COLUMNS

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
        st.sampled_from([NOW, None]),
    ),
    max_size=8,
)
HEALTH = st.lists(st.tuples(TEXT, st.none() | st.integers(100, 599), SHARES, st.none() | TEXT), max_size=6)
DISKS = st.lists(
    st.tuples(
        TEXT,
        TEXT,
        st.integers(0, 2**50),
        st.integers(1, 2**50),
        SHARES,
        st.none() | st.integers(0, 2**40),
        st.none() | SHARES,
        st.none() | st.booleans(),
    ),
    max_size=6,
)
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
        same_either_way(lambda some, check=check: check(frame("services", REPLICA_COLUMNS, some)), rows)  # type: ignore[misc]  # a default binds it


@given(REPLICAS, HEALTH)
def test_health(replicas: list[Any], rows: list[Any]) -> None:
    known = frame("services", REPLICA_COLUMNS, replicas)
    columns = ["replica", "status", "seconds", "error"]  # some parts are missing
    same_either_way(lambda some: checks.check_unhealthy(known, frame("readiness", columns, some), front_door()), rows)


@given(DISKS)
def test_disks(rows: list[Any]) -> None:
    for check in (checks.check_disk_full, checks.check_inodes_full, checks.check_disk_read_only):
        same_either_way(lambda some, check=check: check(frame("disks", DISK_COLUMNS, some)), rows)  # type: ignore[misc]  # a default binds it


MACHINE_CHECKS = (
    checks.check_conntrack,
    checks.check_packet_loss,
    checks.check_network_saturated,
    checks.check_disk_filling,
)
MACHINES = st.lists(
    st.tuples(
        st.sampled_from(["web:9100", "db:9100"]) | TEXT,
        st.sampled_from(["", "eth0", "/"]) | TEXT,
        st.sampled_from(sorted(CALM)) | TEXT,
        st.none() | st.floats(),
    ),
    max_size=40,
)


@given(MACHINES)
def test_machines(rows: list[Any]) -> None:
    for check in MACHINE_CHECKS:
        same_either_way(lambda some, check=check: check(frame("machines", MACHINE_COLUMNS, some)), rows)  # type: ignore[misc]  # a default binds it


CHECKLESS = services(*(replica(f"backend-{n}", health="none") for n in (1, 2)))
"""Containers without a health check of their own, which would tell what an answer does not."""

PARTS: dict[str, tuple[Reading[pd.DataFrame], Callable[..., Verdict]]] = {
    "down": (services(), checks.check_down),
    "unhealthy, services": (services(), lambda part: checks.check_unhealthy(part, health(200, 200), front_door())),
    "unhealthy, health": (health(200, 200), lambda part: checks.check_unhealthy(CHECKLESS, part, front_door())),
    "unhealthy, door": (front_door(), lambda part: checks.check_unhealthy(services(), health(200, 200), part)),
    "restarting": (services(), checks.check_restarting),
    "disks": (disks(0.4, 0.5), checks.check_disk_full),
    "inodes": (disks(0.4, 0.5), checks.check_inodes_full),
    "read-only": (disks(0.4, 0.5), checks.check_disk_read_only),
    "pages": (pages("none", "minor"), checks.check_external_outage),
    **{f"machines, {check.cause}": (machines(), check) for check in MACHINE_CHECKS},
}
TELLS_NOTHING = {
    "seconds",
    "version",
    "addresses",
    "exit_code",
    "oom_killed",
    "says",
    "troubles",
    "link",
    "url",
    "page",
}
TELLS_NOTHING |= {"error", "path", "refused", "mount", "where", "used_bytes", "total_bytes"}
"""Columns that no check of triage judges by; for replicas, what each of the others is needed for stands beside it."""
NEEDED = {
    "down": {"service", "name", "state"},
    "restarting": {"state", "restarts", "started_at"},
    "disks": {"used_share"},
    "inodes": {"inodes_share"},
    "read-only": {"read_only"},
    "unhealthy, services": {"service", "name", "state", "health"},
    **{f"machines, {check.cause}": {"machine", "part", "quantity", "value"} for check in MACHINE_CHECKS},
}


@given(st.sampled_from(sorted(PARTS)), st.data())
def test_nothing_is_ruled_out_that_was_not_seen(part: str, data: st.DataObject) -> None:
    """No row at all, a column without values or not there, a value missing, a silent source: never ruled out, never raised."""
    known, judge = PARTS[part]
    table = known.require()
    assert judge(known).kind is VerdictKind.RULED_OUT, "seen whole"
    needed = sorted(NEEDED.get(part, set(table.columns) - TELLS_NOTHING))
    column = data.draw(st.sampled_from(sorted(table.columns)))
    broken = data.draw(
        st.sampled_from(
            [
                ("rows", table.iloc[:0]),
                ("gone", table.drop(columns=column)),
                ("empty", table.assign(**{column: None})),
            ]
        )
    )
    verdict = judge(reading("x", "part", broken[1]))
    if broken[0] == "rows" or column in needed:
        assert verdict.kind is not VerdictKind.RULED_OUT, (broken[0], column)
    assert judge(silent("part")).kind is not VerdictKind.RULED_OUT


@given(PAGES)
def test_pages(rows: list[Any]) -> None:
    same_either_way(lambda some: checks.check_external_outage(frame("status pages", PAGE_COLUMNS, some)), rows)
