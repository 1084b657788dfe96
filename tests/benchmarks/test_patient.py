"""What a look costs the one that is looked at: its throughput beside runs, and the time that it spends on our questions.

The server and its load have one core, the runs the other: what a run itself takes is no cost of theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from redis import Redis

from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.embedded.parts import find_parts

ROUNDS, LOADS = 7, 15
RUNBOOKS = {"postgres": "database_connections", "redis": "memory_usage"}
ELSEWHERE = "certificate_expiry"
"""Asks neither of them: two cores share a cache, and whatever runs on one costs the other something."""
APPLICATION = {"cmdstat_get", "cmdstat_set", "cmdstat_setex", "cmdstat_incr", "cmdstat_ping", "cmdstat_expire"}
Work = Callable[[], Any]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", params=RUNBOOKS)
def load(request: pytest.FixtureRequest, supervisor_sandbox: Sandbox) -> tuple[str, Work]:
    """A second or two of work for one of them, which has a core for itself with it."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in ("postgres", "redis-server"):
            process.cpu_affinity([0])
    if request.param == "postgres":
        pgbench = [str(find_parts().postgres_bin / "pgbench"), supervisor_sandbox.admin_dsn]
        subprocess.run([*pgbench, "-i", "-q"], check=True, capture_output=True)
        command = [*pgbench, "-n", "-S", "-c", "4", "-t", "8000"]
    else:
        port = str(supervisor_sandbox.state.ports["redis"])
        command = ["redis-benchmark", "-p", port, "-t", "get,set", "-n", "50000", "-q"]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return request.param, lambda: subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True)


def run(runbook: str, settings: Path, environment: Mapping[str, str] | None = None) -> None:
    command = ["taskset", "-c", "1", sys.executable, "-m", "flowrex_ops", "run", runbook, "--settings", str(settings)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **(environment or {})})


@contextmanager
def runs(runbook: str, settings: Path) -> Iterator[None]:
    """One after another, far more often than anybody would."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            run(runbook, settings)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class TestThroughput:
    """The time for the same work."""

    def test_beside_runs_that_look_elsewhere(
        self, benchmark: BenchmarkFixture, load: tuple[str, Work], supervisor_sandbox: Sandbox
    ) -> None:
        self.measure(benchmark, load, supervisor_sandbox, ELSEWHERE)

    def test_beside_runs_that_look_at_it(
        self, benchmark: BenchmarkFixture, load: tuple[str, Work], supervisor_sandbox: Sandbox
    ) -> None:
        benchmark.extra_info["beside"] = f"{load[0]}: load, beside {ELSEWHERE}"
        self.measure(benchmark, load, supervisor_sandbox, RUNBOOKS[load[0]])

    def measure(self, benchmark: BenchmarkFixture, load: tuple[str, Work], sandbox: Sandbox, runbook: str) -> None:
        part, work = load
        benchmark.name = f"{part}: load, beside {runbook}"
        with runs(runbook, sandbox.settings_file):
            benchmark.pedantic(work, rounds=LOADS, warmup_rounds=1)


class TestTime:
    """What the servers themselves book for a run."""

    def test_in_postgres(
        self,
        benchmark: BenchmarkFixture,
        supervisor_sandbox: Sandbox,
        set_in_postgres: Callable[[str, str], None],
    ) -> None:
        """By pg_stat_statements, of a role that only the run has."""
        set_in_postgres("shared_preload_libraries", "pg_stat_statements")
        dsn = supervisor_sandbox.app_dsn.replace(supervisor_sandbox.state.app_password, "looks")
        look = {"FLOWREX_OPS_POSTGRES__DSN": dsn.replace("flowrex:", "looker:")}
        arguments = ("database_connections", supervisor_sandbox.settings_file, look)
        with psycopg.connect(supervisor_sandbox.admin_dsn, autocommit=True) as admin:
            admin.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            admin.execute("CREATE ROLE looker LOGIN PASSWORD 'looks' IN ROLE pg_monitor, pg_read_all_data")
            benchmark.pedantic(run, args=arguments, rounds=ROUNDS)
            booked = "SELECT sum(calls), sum(total_exec_time) FROM pg_stat_statements WHERE userid = 'looker'::regrole"
            ((calls, milliseconds),) = admin.execute(booked)
            admin.execute("DROP EXTENSION pg_stat_statements; DROP ROLE looker")
        benchmark.extra_info["cost"] = f"{calls / ROUNDS:.0f} statements, {milliseconds / ROUNDS:.1f} ms of PostgreSQL"

    def test_in_redis(self, benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox) -> None:
        """By commandstats, of commands that the application does not send; with 50,000 keys."""
        with Redis(port=supervisor_sandbox.state.ports["redis"]) as client:
            client.mset({f"quote:{n}": "x" * 100 for n in range(50_000)})
            client.config_resetstat()
            benchmark.pedantic(run, args=("memory_usage", supervisor_sandbox.settings_file), rounds=ROUNDS)
            booked = [taken for name, taken in client.info("commandstats").items() if name not in APPLICATION]
            client.flushdb()
        calls, milliseconds = sum(one["calls"] for one in booked), sum(one["usec"] for one in booked) / 1000
        benchmark.extra_info["cost"] = f"{calls / ROUNDS:.0f} commands, {milliseconds / ROUNDS:.1f} ms of Redis"
