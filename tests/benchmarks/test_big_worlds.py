"""How the cost of a reading grows with its platform: sessions and a queue for one lock, keys, containers, records.

Reported, not asserted; that each reading is whole is. ``docs/generate_growth.py`` draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import docker
import psycopg
import pytest
from generated import make_archive
from pytest_benchmark.fixture import BenchmarkFixture
from redis import Redis

from flowrex_ops.archive.index import rebuild
from flowrex_ops.archive.search import search
from flowrex_ops.compose.stack import ComposeStack
from flowrex_ops.memory.redis import RedisSource
from flowrex_ops.postgres.checks import check_lock_contention
from flowrex_ops.postgres.source import PostgresSource
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

ROUNDS = 7
SESSIONS, DEEP = (50, 500, 5_000), 5
"""One session of DEEP waits in one queue for one row: 10, 100 and 1,000 of them."""
CONTAINERS = (2, 20, 200)
KEYS = (50_000, 500_000, 5_000_000)
RECORDS = (100, 1_000, 10_000)
FILL = "for i = ARGV[1], ARGV[2] do redis.call('SET', 'order:' .. i, 'a quote of some forty characters, or so') end"


@pytest.mark.parametrize("sessions", SESSIONS)
def test_sessions(
    benchmark: BenchmarkFixture,
    supervisor_sandbox: Sandbox,
    set_in_postgres: Callable[[str, str], None],
    sessions: int,
) -> None:
    """All sessions read, whom each waits for, and the one that holds up the others named."""
    benchmark.extra_info |= {"world": "sessions", "size": sessions}
    waiting, dsn = sessions // DEEP, supervisor_sandbox.app_dsn
    set_in_postgres("max_connections", str(sessions + 100))
    source = PostgresSource(dsn, limit_seconds=60, limit_rows=10_000)

    def read() -> int:
        found = source.get_sessions()
        verdict = check_lock_contention(found, source.get_locks(), blocked_after_seconds=0)
        assert f"wait behind PID {everybody[0].info.backend_pid}" in verdict.reason
        return len(found.require())

    with ExitStack() as stack:
        everybody = [stack.enter_context(closing(psycopg.connect(dsn, autocommit=True))) for _ in range(sessions)]
        everybody[0].execute("BEGIN; UPDATE accounts SET balance = balance WHERE id = 1")
        for one in everybody[1 : waiting + 1]:
            one.pgconn.send_query(b"UPDATE accounts SET balance = balance WHERE id = 1")
        count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        await_condition(
            lambda: supervisor_sandbox.query(count)[0][0] >= waiting, "all of them wait", timeout_seconds=60
        )
        assert benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1) >= sessions
        source.close()


@pytest.mark.parametrize("keys", KEYS)
def test_keys(benchmark: BenchmarkFixture, supervisor_sandbox: Sandbox, keys: int) -> None:
    """A bounded look, counted up to all."""
    benchmark.extra_info |= {"world": "keys", "size": keys}
    url = f"redis://127.0.0.1:{supervisor_sandbox.state.ports['redis']}/0"
    with Redis.from_url(url) as client:
        most = client.config_get("maxmemory")
        client.config_set("maxmemory", 0)
        for begin in range(0, keys, 50_000):
            client.eval(FILL, 0, begin, begin + 49_999)
        source = RedisSource(url, limit_seconds=10)
        found = benchmark.pedantic(source.sample_keys, rounds=ROUNDS, warmup_rounds=1).require()
        client.flushdb(asynchronous=True)
        client.config_set("maxmemory", most["maxmemory"])
    assert found["keys"].sum() == pytest.approx(keys, rel=0.05)


@pytest.mark.docker
@pytest.mark.parametrize("containers", CONTAINERS)
def test_containers(benchmark: BenchmarkFixture, compose_sandbox: Sandbox, containers: int) -> None:
    """Memory, limits and processors' time of each, which Docker samples once."""
    benchmark.extra_info |= {"world": "containers", "size": containers}
    project = f"big-{containers}"
    image = compose_sandbox.replicas("postgres")[0].definition.image
    with docker.from_env() as client:
        everything = [
            client.containers.run(
                image, "infinity", entrypoint="sleep", detach=True, auto_remove=True, network_mode="none",
                labels={f"com.docker.compose.{key}": value for key, value in labels.items()},
            )
            for labels in ({"project": project, "service": "s", "container-number": str(n)} for n in range(containers))
        ]  # fmt: skip
        try:
            stack = ComposeStack(project, docker_host="", timeout_seconds=60)
            assert len(benchmark.pedantic(stack.get_usage, rounds=ROUNDS, warmup_rounds=1)) == containers
        finally:
            for one in everything:
                one.kill()


@pytest.fixture(scope="module", params=RECORDS)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    outputs = tmp_path_factory.mktemp("archive")
    make_archive(outputs, request.param)
    rebuild(outputs)
    return request.param, outputs


def test_search(benchmark: BenchmarkFixture, archive: tuple[int, Path]) -> None:
    """A word and a cause, in all records, with the comparison of the index with the folders that comes first."""
    records, outputs = archive
    benchmark.extra_info |= {"world": "records", "size": records}
    found = benchmark.pedantic(search, args=(outputs,), kwargs={"text": "KeyError", "cause": "http"}, rounds=ROUNDS)
    assert found
