"""Redis asked for its memory: a real server, bounded, without KEYS; and servers that are gone, silent or locked."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from conftest import missing_part

from flowrex_ops.checks.memory import get_redis_window
from flowrex_ops.sandbox.embedded.parts import find_parts
from flowrex_ops.sources.redis import RedisSource, group_keys, parse_rejected, prefix_of

SERVERS = [("wheel", str(find_parts().redis_server)), ("system", shutil.which("redis-server") or "")]


@pytest.fixture(params=SERVERS, ids=[name for name, _ in SERVERS])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[redis.Redis]:
    """A Redis of its own: the wheel's (6.2) and the machine's, where there is one."""
    program = request.param[1]
    if not program:
        missing_part("redis-server")
    with running(program, tmp_path) as client:
        yield client


@contextmanager
def running(program: str, folder: Path, *options: str) -> Iterator[redis.Redis]:
    """*program* on a free port, answering."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, protocol=2)
    try:
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def url(client: redis.Redis) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def source(client: redis.Redis) -> RedisSource:
    return RedisSource(url(client), limit_seconds=10)


def calls(client: redis.Redis) -> set[str]:
    return {name.removeprefix("cmdstat_").partition("|")[0] for name in client.info("commandstats")}


def test_keys_are_grouped_and_nothing_is_written(server: redis.Redis) -> None:
    """Every key is counted once, by prefix and type, with its expiry; only reading commands were sent, and never KEYS."""
    server.mset({f"session:{number}": "x" * 1000 for number in range(300)})
    for number in range(50):
        server.set(f"price:{number}", "1", ex=600)
    server.rpush("report", *("y" * 1000 for _ in range(100)))
    server.config_resetstat()

    found = source(server).sample_keys(window_seconds=4.0).require().set_index("prefix")

    assert list(found.index) == ["session:", "report", "price:"]
    assert found["keys"].to_dict() == {"session:": 300, "report": 1, "price:": 50}
    assert found["without_expiry"].to_dict() == {"session:": 1.0, "report": 1.0, "price:": 0.0}
    assert found["type"].to_dict() == {"session:": "string", "report": "list", "price:": "string"}
    assert found["grown_bytes"].tolist() == [0.0, 0.0, 0.0]
    assert calls(server) - {"config", "hello", "client", "select"} <= {
        "scan",
        "memory",
        "type",
        "pttl",
        "dbsize",
        "info",
    }


def test_the_number_of_keys_is_bounded_and_the_rest_extrapolated(server: redis.Redis) -> None:
    server.mset({f"session:{number}": "x" * 100 for number in range(5000)})
    server.config_resetstat()

    found = source(server).sample_keys(max_keys=400, window_seconds=4.0).require()

    assert found["keys"].tolist() == [5000]
    assert found["grown_bytes"].isna().all()
    measured = server.info("commandstats")
    names = [name for name in measured if name.startswith("cmdstat_memory")]
    assert sum(measured[name]["calls"] for name in names) == 800


def test_rejected_writes_and_evictions_are_counted(server: redis.Redis) -> None:
    server.config_set("maxmemory", "3mb")
    with server.pipeline(transaction=False) as pipe:
        for number in range(3000):
            pipe.set(f"queue:{number}", "x" * 1000)
        refused = sum(isinstance(answer, redis.ResponseError) for answer in pipe.execute(raise_on_error=False))
    assert refused > 0
    reading = source(server).sample_memory(window_seconds=0.6, every_seconds=0.2)
    window = get_redis_window(reading.require())
    assert window is not None
    assert (window.rejected_before, window.policy, window.max_bytes) == (refused, "noeviction", 3 * 2**20)
    server.config_set("maxmemory-policy", "allkeys-lru")
    server.set("queue:new", "x" * 100_000)
    assert source(server).sample_memory(window_seconds=0.2).require()["evicted_keys"].max() > 0


def test_a_password_that_is_missing_says_so(server: redis.Redis) -> None:
    server.config_set("requirepass", "s3cret")
    reading = source(server).sample_memory(window_seconds=0.2)
    assert reading.code == "auth"
    assert "correct it in redis.url" in str(reading.error)


def test_nobody_answers() -> None:
    """Refused, and silent: an unavailable reading within its limit."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        started = time.monotonic()
        silent = RedisSource(f"redis://127.0.0.1:{port}/0", limit_seconds=1).sample_memory(window_seconds=0.5)
        assert time.monotonic() - started < 4
        assert "did not answer" in str(silent.error)
    refused = RedisSource(f"redis://127.0.0.1:{port}/0", limit_seconds=1).sample_keys(window_seconds=0.5)
    assert "did not answer" in str(refused.error)
    assert "not configured" in str(RedisSource(None, limit_seconds=1).sample_keys().error)


@pytest.mark.parametrize(
    ("errors", "version", "count"),
    [
        ({"errorstat_OOM": {"count": 3}}, "6.2.14", 3.0),
        ({"errorstat_OOM": "count=3"}, "7.0.15", 3.0),
        ({"errorstat_ERR": {"count": 9}}, "7.0.15", 0.0),
        ({}, "6.2.0", 0.0),
    ],
)
def test_errorstats(errors: dict[str, object], version: str, count: float) -> None:
    assert parse_rejected(errors, version) == count


def test_errorstats_are_unknown_before_6_2() -> None:
    assert parse_rejected({}, "5.0.7") != parse_rejected({}, "5.0.7")


@pytest.mark.parametrize(
    ("key", "prefix"), [("session:1:a", "session:"), ("a.b", "a."), ("report", "report"), ("", ""), ("user/7", "user/")]
)
def test_prefixes(key: str, prefix: str) -> None:
    assert prefix_of(key) == prefix


def test_no_keys_at_all() -> None:
    import pandas as pd

    assert group_keys(pd.DataFrame(columns=["key", "type", "bytes", "expires"]), 1.0).empty


def test_one_that_knows_no_hello_is_read(tmp_path: Path) -> None:
    """Redis before 6, KeyDB 5 and proxies refuse the command with which protocol 3 begins."""
    with running(SERVERS[0][1], tmp_path, "--rename-command", "HELLO", "") as client:
        assert source(client).get_version().available
        sampled = source(client).sample_memory(window_seconds=0.2, every_seconds=0.1).require()
        assert sampled["used_bytes"].gt(0).all()
