"""With no settings at all: the running compose project is found, and its endpoints with it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from flowrex_ops.discovery.endpoints import discover, unambiguous_addresses
from flowrex_ops.memory.redis import RedisSource
from flowrex_ops.postgres.sessions import with_replica
from flowrex_ops.postgres.source import PostgresSource
from flowrex_ops.record.runbook import run_runbook
from flowrex_ops.settings import load
from flowrex_ops.tls.source import TlsSource
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.docker


@pytest.fixture
def no_settings(compose_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A folder without settings. The project is named only because other tests' projects may run beside this one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWREX_OPS_SETTINGS", raising=False)
    monkeypatch.setenv("FLOWREX_OPS_STACK__PROJECT", compose_sandbox.name)
    return compose_sandbox


def test_endpoints_come_from_the_running_project(no_settings: Sandbox) -> None:
    """PostgreSQL with its user from the service's environment, Redis, and every replica of the backend."""
    endpoints = discover(load())
    assert endpoints.stack_error is None
    assert set(endpoints.backends) == {replica.name for replica in no_settings.replicas()}
    assert all("discovered" in origin for origin in endpoints.origins.values()), endpoints.origins
    assert endpoints.application_role == "flowrex", "by the backend's DATABASE_URL"
    assert RedisSource(endpoints.redis_url, limit_seconds=5).get_version().available


def test_proxy_is_asked_though_nobody_told_its_names(no_settings: Sandbox) -> None:
    """Its published port gives a certificate; for whom it should be, and what lies on disk, is not known."""
    (endpoint,) = discover(load()).tls
    row = TlsSource([endpoint], limit_seconds=5).get_certificates().require().iloc[0]
    assert (endpoint.port, endpoint.server_name) == (no_settings.state.ports["https"], None)
    assert [one.subject for one in row["chain"]] == ["flowrex.test", "Flowrex Sandbox Intermediate"]


def test_sessions_are_told_apart_by_replica(no_settings: Sandbox) -> None:
    """Under Compose the client address that PostgreSQL sees is the replica's own."""
    endpoints = discover(load())
    with closing(PostgresSource(endpoints.postgres_dsn, limit_seconds=5, limit_rows=500)) as source:
        sessions = with_replica(source.get_sessions().require(), unambiguous_addresses(endpoints.replicas))
    assert {"backend-1", "backend-2", "backend-3"} <= set(sessions["replica"])


def test_runbook_needs_nothing_else(no_settings: Sandbox) -> None:
    """The whole runbook on a healthy platform: complete, no finding, nothing inconclusive."""
    result = run_runbook("database_connections", {})
    assert (result.status.value, result.diagnosis) == ("complete", None)
    assert {verdict.kind.value for verdict in result.verdicts} == {"ruled out"}
