"""What both drivers promise, asked of a running platform of each kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from flowrex_ops.compose import Stack, open_stack
from flowrex_ops.compose.execution import EXECUTION_BYTES
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Replica
from flowrex_ops.settings import load
from flowrex_ops.waiting import wait_until
from flowrex_sandbox.faults.http import Release
from flowrex_sandbox.health import await_backends
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition

pytestmark = pytest.mark.both_stacks


@pytest.fixture
def stack(any_sandbox: Sandbox) -> Stack:
    """The driver as the sandbox's own settings file names it."""
    return open_stack(load(any_sandbox.settings_file))


def replica_named(stack: Stack, name: str) -> Replica:
    return next(replica for replica in stack.get_replicas() if replica.name == name)


class TestUsage:
    def test_every_running_replica_tells_its_memory_and_cpu_time(self, stack: Stack) -> None:
        """In bytes and seconds; a backend of three replicas is three rows."""
        usage = {one.name: one for one in stack.get_usage("backend")}

        assert list(usage) == ["backend-1", "backend-2", "backend-3"]
        assert all(10_000_000 < one.memory_bytes < 1_000_000_000 for one in usage.values())
        assert all(one.cpu_seconds > 0 for one in usage.values())

    def test_covers_all_services(self, stack: Stack) -> None:
        assert {one.service for one in stack.get_usage()} >= {"backend", "postgres", "redis", "traffic"}

    def test_limits_are_those_of_the_container(self, stack: Stack) -> None:
        """Or, for a plain process, those that the inventory has of its watchdog."""
        limits = {one.memory_limit_bytes for one in stack.get_usage("backend")}

        assert limits == {256 * 1024 * 1024}


class TestDescribe:
    def test_names_the_engine_and_the_project(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """One line tells which engine, of which version, and whose platform."""
        line = stack.describe()

        assert any_sandbox.name in line
        assert "\n" not in line
        assert any(engine in line for engine in ("supervisord 4", "Docker Engine"))


class TestReplicas:
    def test_are_named_by_service_and_number(self, stack: Stack) -> None:
        """Both stacks name replicas alike, so that a record reads the same whichever it came from."""
        names = [replica.name for replica in stack.get_replicas("backend")]

        assert names == ["backend-1", "backend-2", "backend-3"]

    def test_come_from_every_service_unless_one_is_asked_for(self, stack: Stack) -> None:
        """Without a service, everything that the platform runs."""
        services = {replica.service for replica in stack.get_replicas()}

        assert services >= {"backend", "postgres", "redis", "traffic"}

    def test_know_their_state_version_and_start(self, stack: Stack) -> None:
        """A running replica has a start in the past, in UTC, and the version that it runs."""
        replica = replica_named(stack, "backend-1")

        assert (replica.running, replica.version, replica.exit_code) == (True, "1.4.2", None)
        assert replica.started_at is not None
        assert replica.started_at.utcoffset() == timedelta(0)
        assert replica.started_at <= datetime.now(UTC)

    def test_can_be_reached_at_their_ports(self, stack: Stack) -> None:
        """The port that a container or process is known by leads to where it answers from here."""
        for replica in stack.get_replicas("backend"):
            host, port = replica.ports[8000]

            assert get_answer(f"http://{host}:{port}/health/live") == 200

    def test_have_the_addresses_from_which_their_sessions_come(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """PostgreSQL's ``client_addr`` finds its replica among the addresses."""
        seen = any_sandbox.query(
            "SELECT DISTINCT client_addr::text FROM pg_stat_activity WHERE application_name = 'flowrex-backend-1'"
        )
        addresses = replica_named(stack, "backend-1").addresses

        assert {row[0].partition("/")[0] for row in seen} <= set(addresses)

    def test_of_an_unknown_service_are_none(self, stack: Stack) -> None:
        """A service that there is not has no replicas; that is no error."""
        assert list(stack.get_replicas("no-such-service")) == []


class TestLogs:
    def test_bring_the_lines_since_a_time(self, stack: Stack) -> None:
        """Lines name their replica and carry a time that is not before the one asked for."""
        since = datetime.now(UTC) - timedelta(seconds=20)
        lines = list(stack.read_logs("backend", since=since, max_bytes=1_000_000))

        assert {line.replica for line in lines} == {"backend-1", "backend-2", "backend-3"}
        assert all(line.at is not None and line.at >= since for line in lines)
        assert wait_until(  # its users may have been away a moment ago
            lambda: any(
                "route=/api/portfolio" in line.text
                for line in stack.read_logs("backend", since=since, max_bytes=1_000_000)
            ),
            seconds=30,
        )

    def test_are_in_the_order_of_time(self, stack: Stack) -> None:
        """The replicas' lines are woven into one stream."""
        since = datetime.now(UTC) - timedelta(seconds=20)
        times = [line.at for line in stack.read_logs("backend", since=since, max_bytes=1_000_000) if line.at]

        assert times == sorted(times)

    def test_keep_the_newest_within_the_limit(self, stack: Stack) -> None:
        """A limit in bytes keeps the end of the log, not its beginning."""
        since = datetime.now(UTC) - timedelta(hours=1)
        lines = list(stack.read_logs("backend", since=since, max_bytes=3_000))

        assert 0 < sum(len(line.text) for line in lines) <= 3_000
        assert max(line.at for line in lines if line.at) > datetime.now(UTC) - timedelta(seconds=20)

    def test_of_the_future_are_none(self, stack: Stack) -> None:
        """Nothing has been logged after now."""
        since = datetime.now(UTC) + timedelta(minutes=5)

        assert list(stack.read_logs("backend", since=since, max_bytes=10_000)) == []


class TestExecute:
    """A command that only reads, as the replica itself would run it."""

    def test_has_the_replicas_environment_and_packages(self, stack: Stack) -> None:
        code = "import os, sys; from app.execution import adapters; print(os.environ['BROKER_URL']); sys.exit(3)"
        done = stack.execute(replica_named(stack, "backend-2"), ("python", "-c", code), timeout_seconds=20)

        assert (done.exit_code, done.stdout.startswith("http://"), done.stderr) == (3, True, "")

    def test_playbooks_check_of_the_broker(self, stack: Stack) -> None:
        """The playbook's one-liner, word by word."""
        code = (
            "from app.execution.adapters import get_adapter; import asyncio; "
            "adapter = get_adapter(); print(asyncio.run(adapter.check_connection()))"
        )
        done = stack.execute(replica_named(stack, "backend-1"), ("python", "-c", code), timeout_seconds=20)

        assert "'connected': True" in done.stdout

    def test_streams_are_told_apart_and_cut(self, stack: Stack) -> None:
        """The end is kept, since that is where an error says what it is."""
        code = "import sys; print('x' * 200_000 + 'end'); print('oops', file=sys.stderr)"
        done = stack.execute(replica_named(stack, "backend-1"), ("python", "-c", code), timeout_seconds=20)

        assert len(done.stdout) == EXECUTION_BYTES
        assert done.stdout.endswith("end\n")
        assert done.stderr == "oops\n"

    def test_has_a_time_limit(self, stack: Stack) -> None:
        started = time.monotonic()
        with pytest.raises(StackUnavailableError, match=r"did not end in 1 s"):
            stack.execute(replica_named(stack, "backend-1"), ("sleep", "30"), timeout_seconds=1)
        assert time.monotonic() - started < 6

    def test_in_a_replica_that_is_gone(self, stack: Stack) -> None:
        """One clear line; nothing is run elsewhere instead."""
        ghost = replace(replica_named(stack, "backend-1"), name="backend-9", identity="0123456789ab@never")

        with pytest.raises(StackUnavailableError, match=r"backend-9|No such container"):
            stack.execute(ghost, ("true",), timeout_seconds=10)


class TestActions:
    def test_restart_gives_a_replica_a_new_identity(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """What was planned against the old identity no longer fits the restarted replica; the others are untouched."""
        before = {replica.name: replica.identity for replica in stack.get_replicas("backend")}

        stack.restart(replica_named(stack, "backend-2"), timeout_seconds=20)
        after = {replica.name: replica.identity for replica in stack.get_replicas("backend")}

        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"backend-2"}
        await_backends(any_sandbox, timeout_seconds=30)

    def test_a_stopped_replica_is_still_listed(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """Stopped is a state and not an absence; started again it serves again."""
        stack.stop(replica_named(stack, "backend-3"), timeout_seconds=20)
        assert not replica_named(stack, "backend-3").running

        stack.start(replica_named(stack, "backend-3"), timeout_seconds=20)
        assert replica_named(stack, "backend-3").running
        await_backends(any_sandbox, timeout_seconds=30)

    def test_stopping_postgres_closes_its_port(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """A stop returns once the service is gone, so whoever connects next is refused."""
        stack.stop(replica_named(stack, "postgres-1"), timeout_seconds=20)
        started = time.monotonic()
        try:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(any_sandbox.app_dsn, connect_timeout=5)
            assert time.monotonic() - started < 5
        finally:
            stack.start(replica_named(stack, "postgres-1"), timeout_seconds=20)
        await_condition(lambda: _accepts(any_sandbox), "PostgreSQL accepted again", timeout_seconds=30)
        await_backends(any_sandbox, timeout_seconds=30)


@pytest.fixture
def restored(any_sandbox: Sandbox) -> Iterator[None]:
    yield
    Release().stop(any_sandbox)


@pytest.mark.usefixtures("restored")
class TestScaling:
    def test_adds_replicas_and_takes_the_newest_away(self, stack: Stack, any_sandbox: Sandbox) -> None:
        """Those that run already are not touched; what is taken away is no replica any more, and no stopped one."""
        before = {replica.name: replica.identity for replica in stack.get_replicas("backend")}

        stack.scale("backend", 5, timeout_seconds=60)
        grown = {replica.name: replica for replica in stack.get_replicas("backend")}
        stack.scale("backend", 2, timeout_seconds=60)
        shrunk = {replica.name: replica.identity for replica in stack.get_replicas("backend")}

        assert list(grown) == [f"backend-{number}" for number in range(1, 6)]
        assert all(replica.running for replica in grown.values())
        assert {name: grown[name].identity for name in before} == before
        assert shrunk == {name: before[name] for name in ("backend-1", "backend-2")}

    def test_starts_a_stopped_replica_before_it_adds_one(self, stack: Stack) -> None:
        """What is counted is what runs afterwards."""
        stack.stop(replica_named(stack, "backend-2"), timeout_seconds=20)
        stack.scale("backend", 3, timeout_seconds=60)

        found = stack.get_replicas("backend")
        assert [(replica.name, replica.running) for replica in found] == [(f"backend-{n}", True) for n in (1, 2, 3)]

    def test_replacing_gives_another_version_in_its_place(self, stack: Stack) -> None:
        """The new one is of the version that was named, the others are as they were."""
        before = {replica.identity for replica in stack.get_replicas("backend")}
        old = replica_named(stack, "backend-2")

        new = stack.replace(old, "1.4.9", timeout_seconds=60)
        after = stack.get_replicas("backend")

        assert (new.version, new.running, len(after)) == ("1.4.9", True, 3)
        assert {replica.identity for replica in after} - before == {new.identity}
        assert before - {replica.identity for replica in after} == {old.identity}


def test_pinned_version_is_what_the_next_deployment_takes(stack: Stack, any_sandbox: Sandbox) -> None:
    """Compose's ``.env`` says so and keeps its mode; a program that reads a release file has nothing to pin."""
    file = any_sandbox.home / ".env"
    was = stack.pin_version("backend", "1.4.9")

    if any_sandbox.state.stack == "supervisor":
        assert was == ""
        return
    assert was == "1.4.2"
    assert "\nVERSION=1.4.9\n" in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o777 == 0o600
    assert stack.pin_version("backend", was) == "1.4.9"


def _accepts(sandbox: Sandbox) -> bool:
    try:
        psycopg.connect(sandbox.app_dsn, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
