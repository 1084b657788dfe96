"""Mitigations against a real PostgreSQL: whom they choose, whom they never touch, and that changed targets refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from flowrex_ops.errors import MitigationRefusedError
from flowrex_ops.mitigations.backend import RestartBackend
from flowrex_ops.mitigations.database import CancelLongQueries, TerminateIdleInTransaction, TerminateRootBlocker
from flowrex_ops.mitigations.fleet import Fleet
from flowrex_ops.mitigations.waiting import wait_until
from flowrex_ops.model import Target
from flowrex_ops.sandbox import Sandbox
from flowrex_ops.sources.postgres import PostgresSource


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
        fleet = Fleet(supervisor_sandbox.stack(), "backend", 8000)
        mitigation = RestartBackend(fleet, None, lambda: names)
        before = {replica.name: replica.identity for replica in supervisor_sandbox.replicas()}
        with pytest.raises(MitigationRefusedError, match="not the replica that was planned"):
            mitigation.apply(Target((names[0], "another"), names[0]))
        assert {replica.name: replica.identity for replica in supervisor_sandbox.replicas()} == before
