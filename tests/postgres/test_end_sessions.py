"""Mitigations against a real PostgreSQL: whom they choose, whom they never touch, and that changed targets refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowrex_ops.errors import MitigationRefusedError
from flowrex_ops.guard import Approval, guard
from flowrex_ops.model import MitigationState, Target
from flowrex_ops.postgres.checks import check_idle_in_transaction
from flowrex_ops.postgres.end_sessions import CancelLongQueries, TerminateIdleInTransaction, TerminateRootBlocker
from flowrex_ops.postgres.restart_leaking import RestartBackend
from flowrex_ops.postgres.sessions import protected
from flowrex_ops.postgres.source import PostgresSource
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.waiting import wait_until
from flowrex_sandbox.sandbox import Sandbox


@pytest.fixture
def source(supervisor_sandbox: Sandbox) -> Iterator[PostgresSource]:
    with closing(PostgresSource(supervisor_sandbox.app_dsn, limit_seconds=5, limit_rows=500)) as found:
        yield found


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Connections that end with the test, also those that a mitigation has ended."""
    with ExitStack() as stack:
        yield stack


def wire(source: PostgresSource, sandbox: Sandbox) -> dict[str, Any]:
    return {"dsn": sandbox.app_dsn, "role": "flowrex", "get_sessions": source.get_sessions, "limit_seconds": 5.0}


def idle_session(opened: ExitStack, dsn: str, application: str = "forgotten") -> psycopg.Connection[Any]:
    """A session that opens a transaction and goes away."""
    connection = opened.enter_context(closing(psycopg.connect(dsn, application_name=application)))
    connection.execute("SELECT 1")
    return connection


def pids(targets: Any) -> set[int]:
    return {int(target.identity[0]) for target in targets}


class TestWhomTheyChoose:
    def test_only_the_application_own_client_sessions(
        self, source: PostgresSource, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """Of four sessions idle in a transaction, the superuser's, the backup's and our own are left alone."""
        chosen = idle_session(opened, supervisor_sandbox.app_dsn).info.backend_pid
        idle_session(opened, supervisor_sandbox.admin_dsn)
        idle_session(opened, supervisor_sandbox.app_dsn, "pg_dump")
        idle_session(opened, supervisor_sandbox.app_dsn, "flowrex-ops")
        mitigation = TerminateIdleInTransaction(idle_after_seconds=0.01, **wire(source, supervisor_sandbox))
        assert wait_until(lambda: pids(mitigation.find_targets()) == {chosen}, seconds=5)

    def test_superuser_at_the_root_is_not_a_target(
        self, source: PostgresSource, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """A blocker that must not be touched leaves an empty plan, which the guard refuses."""
        root = idle_session(opened, supervisor_sandbox.admin_dsn)
        root.execute("SELECT pg_advisory_xact_lock(4711)")
        waiter = opened.enter_context(closing(psycopg.connect(supervisor_sandbox.app_dsn)))
        opened.callback(root.close)
        from threading import Thread

        thread = Thread(target=lambda: waiter.execute("SELECT pg_advisory_xact_lock(4711)"), daemon=True)
        thread.start()
        mitigation = TerminateRootBlocker(**wire(source, supervisor_sandbox))
        assert wait_until(lambda: source.get_sessions().require()["blocked_by"].map(bool).any(), seconds=5)
        assert mitigation.find_targets() == []
        root.rollback()
        thread.join(5)


class TestSuperuserApplication:
    """The official image makes the application's role a superuser: its sessions are the application's all the same."""

    @pytest.fixture
    def dsn(self, supervisor_sandbox: Sandbox, opened: ExitStack) -> Iterator[str]:
        """Of a role as POSTGRES_USER is."""
        supervisor_sandbox.execute("CREATE ROLE official SUPERUSER REPLICATION LOGIN PASSWORD 'official'")
        yield make_conninfo(supervisor_sandbox.app_dsn, user="official", password="official")
        opened.close()
        supervisor_sandbox.execute("DROP ROLE official")

    def test_idle_in_transaction_is_confirmed_and_ended(
        self, dsn: str, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """Neither our own session, nor a backup, nor a superuser of another role is touched; a person's is shown as such."""
        mine = {idle_session(opened, dsn, "").info.backend_pid for _ in range(8)}
        typed = idle_session(opened, dsn, "psql").info.backend_pid
        others = (
            idle_session(opened, dsn, "pg_dump"),
            idle_session(opened, dsn, "flowrex-ops"),
            idle_session(opened, supervisor_sandbox.admin_dsn, "psql"),
        )
        source = opened.enter_context(closing(PostgresSource(dsn, limit_seconds=5, limit_rows=500)))
        wired = {"dsn": dsn, "role": "official", "get_sessions": source.get_sessions, "limit_seconds": 5.0}
        mitigation = TerminateIdleInTransaction(idle_after_seconds=0.01, **wired)
        assert wait_until(lambda: pids(mitigation.find_targets()) == {*mine, typed}, seconds=5)
        assert "psql by hand" in next(t.label for t in mitigation.find_targets() if t.identity[0] == str(typed))

        verdict = check_idle_in_transaction(source.get_sessions(), idle_after_seconds=0.01)
        outcome = guard(
            mitigation,
            verdicts={verdict.cause: verdict},
            approval=Approval({mitigation.slug: None}, "kim"),
            timeline=lambda _kind, _facts: None,
            max_targets=20,
        )

        assert (verdict.confirmed, outcome.state) == (True, MitigationState.VERIFIED), (verdict.reason, outcome.reason)
        left = supervisor_sandbox.query("SELECT pid FROM pg_stat_activity")
        assert {one.info.backend_pid for one in others} <= {pid for (pid,) in left}
        assert not ({*mine, typed} & {pid for (pid,) in left})

    def test_application_role_is_not_that_of_who_asks(
        self, dsn: str, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """As with a role for monitoring: the setting, or the backend's DATABASE_URL, says whose sessions are meant."""
        idle = idle_session(opened, dsn, "psql").info.backend_pid
        reported = PostgresSource(
            supervisor_sandbox.app_dsn, limit_seconds=5, limit_rows=500, application_role="official"
        )
        unreported = PostgresSource(supervisor_sandbox.app_dsn, limit_seconds=5, limit_rows=500)
        answers = []
        for source in (reported, unreported):
            rows = opened.enter_context(closing(source)).get_sessions().require().set_index("pid", drop=False)
            answers.append(bool(protected(rows)[idle]))
        assert answers == [False, True]


class TestChangedTargets:
    def test_session_that_was_replaced_is_refused(
        self, source: PostgresSource, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """The same pid with another start is another session: nothing is done to it."""
        connection = idle_session(opened, supervisor_sandbox.app_dsn)
        mitigation = TerminateIdleInTransaction(idle_after_seconds=0.01, **wire(source, supervisor_sandbox))
        assert wait_until(lambda: bool(mitigation.find_targets()), seconds=5)
        (planned,) = mitigation.find_targets()
        pid, _, xact_start = planned.identity
        other = Target((pid, "2026-01-01T00:00:00+00:00", xact_start), planned.label)
        with pytest.raises(MitigationRefusedError, match="not the session that was planned"):
            mitigation.apply(other)
        assert connection.execute("SELECT 1").fetchone() == (1,)

    def test_session_that_moved_on_is_refused(
        self, source: PostgresSource, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """The same session in a new transaction has done its work: it is not ended for the old one."""
        connection = idle_session(opened, supervisor_sandbox.app_dsn)
        mitigation = TerminateIdleInTransaction(idle_after_seconds=0.01, **wire(source, supervisor_sandbox))
        assert wait_until(lambda: bool(mitigation.find_targets()), seconds=5)
        (planned,) = mitigation.find_targets()
        connection.commit()
        connection.execute("SELECT 1")
        with pytest.raises(MitigationRefusedError, match="not the session that was planned"):
            mitigation.apply(planned)
        assert connection.execute("SELECT 2").fetchone() == (2,)

    def test_query_that_ended_is_not_cancelled(
        self, source: PostgresSource, supervisor_sandbox: Sandbox, opened: ExitStack
    ) -> None:
        """A statement that is over leaves nothing to cancel, and its session's next one is not hit."""
        connection = idle_session(opened, supervisor_sandbox.app_dsn)
        row = source.get_sessions().require().set_index("pid").loc[connection.info.backend_pid]
        planned = Target(
            (str(connection.info.backend_pid), row["backend_start"].isoformat(), row["xact_start"].isoformat()), "it"
        )
        mitigation = CancelLongQueries(long_query_seconds=0.01, **wire(source, supervisor_sandbox))
        with pytest.raises(MitigationRefusedError):
            mitigation.apply(planned)

    def test_replica_that_was_restarted_is_refused(self, supervisor_sandbox: Sandbox) -> None:
        """A replica that runs under a new identity is not the one that leaked."""
        names = [replica.name for replica in supervisor_sandbox.replicas()]
        fleet = ReplicaSet(supervisor_sandbox.stack(), "backend", 8000)
        mitigation = RestartBackend(fleet, None, lambda: names)
        before = {replica.name: replica.identity for replica in supervisor_sandbox.replicas()}
        with pytest.raises(MitigationRefusedError, match="not the replica that was planned"):
            mitigation.apply(Target((names[0], "another"), names[0]))
        assert {replica.name: replica.identity for replica in supervisor_sandbox.replicas()} == before
