"""What holds for every input: no check raises, none depends on the order of rows, none fails open."""

from __future__ import annotations

from typing import Any

import pandas as pd
from database_examples import NOW, pools, prepared, session, silent
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.postgres import checks
from flowrex_ops.postgres import sessions as views
from flowrex_ops.postgres.source import SESSION_COLUMNS, ConnectionLimits

ages = st.one_of(st.none(), st.floats(0, 1e6))
pids = st.integers(0, 12)
rows = st.builds(
    session,
    pid=st.integers(1, 12),
    state=st.sampled_from(["active", "idle", "idle in transaction", "idle in transaction (aborted)", "disabled", None]),
    backend_type=st.sampled_from(["client backend", "walsender", "autovacuum worker", None]),
    application=st.sampled_from(["flowrex-backend-1", "pg_dump", "", None, "migration"]),
    role=st.sampled_from(["flowrex", "postgres", None]),
    superuser=st.booleans(),
    replication=st.booleans(),
    own=st.booleans(),
    query_age_seconds=ages,
    xact_age_seconds=ages,
    state_age_seconds=ages,
    xact_start=st.sampled_from([None, NOW]),
    blocked_by=st.lists(pids, max_size=3),
    query=st.one_of(st.none(), st.text(max_size=20), st.just("<insufficient privilege>")),
)
tables = st.lists(rows, max_size=12, unique_by=lambda row: row["pid"]).map(
    lambda found: Reading("postgres", "sessions", pd.DataFrame(found, columns=SESSION_COLUMNS))
)
pool_tables = st.lists(st.floats(0, 6), min_size=1, max_size=3).map(lambda use: pools(*use))
limits = st.builds(
    lambda most, kept, used: Reading(
        "postgres",
        "connection limits",
        ConnectionLimits(most, kept, 0, used, "18", "flowrex", True),  # noqa: FBT003  # a field without a name here
    ),
    st.integers(0, 50),
    st.integers(0, 60),
    st.integers(0, 60),
)


def judge(table: Reading[Any], gauges: Reading[Any], slots: Reading[Any]) -> list[Verdict]:
    no_locks = Reading("postgres", "locks", pd.DataFrame(columns=["pid", "lock_type", "relation", "mode", "waiting"]))
    return [
        checks.check_unreachable(table, slots),
        checks.check_max_connections(slots, table),
        checks.check_lock_contention(table, no_locks, gauges),
        checks.check_idle_in_transaction(table, gauges),
        checks.check_long_running_query(table, gauges),
        checks.check_orphaned_prepared_transaction(prepared()),
        checks.check_pool_saturated(gauges, table),
    ]


@given(tables, pool_tables, limits)
def test_no_input_makes_a_check_raise(table: Reading[Any], gauges: Reading[Any], slots: Reading[Any]) -> None:
    """Every check answers, with a reason."""
    assert all(verdict.reason for verdict in judge(table, gauges, slots))


@given(tables, pool_tables, limits, st.randoms())
def test_order_of_rows_does_not_matter(
    table: Reading[Any], gauges: Reading[Any], slots: Reading[Any], rng: Any
) -> None:
    """Shuffled rows give the same verdicts for the same reasons."""
    order = list(range(len(table.require())))
    rng.shuffle(order)
    shuffled = Reading("postgres", "sessions", table.require().iloc[order].reset_index(drop=True))
    reported = [(v.kind, v.reason) for v in judge(table, gauges, slots)]
    assert reported == [(v.kind, v.reason) for v in judge(shuffled, gauges, slots)]


@given(pool_tables)
def test_no_check_fails_open(gauges: Reading[Any]) -> None:
    """With PostgreSQL silent, nothing that depends on it is ruled out except what the pools alone can tell."""
    verdicts = judge(silent(), gauges, silent("connection limits"))
    ruled_out = {verdict.cause for verdict in verdicts if verdict.kind is VerdictKind.RULED_OUT}
    assert ruled_out <= {"db.pool-saturated", "db.orphaned-prepared-transaction"}


@given(tables)
def test_each_session_is_attributed_once(table: Reading[Any]) -> None:
    """No session is both waiting, a root, idle in transaction and long-running."""
    frame = table.require()
    idle = set(views.idle_in_transaction(frame, after_seconds=1)["pid"])
    long = set(views.long_running(frame, after_seconds=1)["pid"])
    involved = set(views.blockers(frame)) | set(views.root_pids(frame))
    assert not idle & long
    assert not (idle | long) & involved


@given(tables)
def test_blocking_tree_holds_everyone_who_waits(table: Reading[Any]) -> None:
    """Also with cycles and with blockers that are gone, each waiting session stands in the tree once."""
    tree = views.blocking_tree(table.require())
    assert set(views.blockers(table.require())) <= set(tree["pid"])
    assert tree["pid"].is_unique
