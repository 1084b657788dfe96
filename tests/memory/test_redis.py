"""Redis asked for its memory: a real server, bounded, without KEYS; and servers that are gone, silent or locked."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from conftest import missing_part

from flowrex_ops.memory.redis import REDIS_COLUMNS, RedisSource, group_keys, parse_rejected, prefix_of
from flowrex_ops.memory.redis_checks import (
    check_redis_evicting,
    check_redis_fragmentation,
    check_redis_growth,
    check_redis_rejecting,
)
from flowrex_ops.memory.redis_service_checks import (
    check_max_clients,
    check_persistence_failing,
    check_read_only,
    check_replication,
    check_slow_commands,
)
from flowrex_ops.memory.views import get_redis_window, redis_frame
from flowrex_ops.metrics.prometheus import PrometheusSource
from flowrex_ops.model import Reading, VerdictKind
from flowrex_ops.waiting import wait_until
from flowrex_sandbox.stacks.embedded.parts import find_parts

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


def test_every_database_of_the_keyspace_is_looked_at(server: redis.Redis) -> None:
    """Few keys in the database of the URL, the memory in another: that one is told, and its keys are not the URL's."""
    server.mset({f"quote:{number}": "1" for number in range(50)})
    with database(server, 1) as other:
        other.mset({f"quote:{number}": "x" * 10_000 for number in range(200)})
        other.set("report", "y" * 100)
    found = source(server).sample_keys(window_seconds=4.0).require()
    assert found[["database", "prefix", "keys"]].to_numpy().tolist() == [
        [1, "quote:", 200],
        [0, "quote:", 50],
        [1, "report", 1],
    ]
    assert found["grown_bytes"].tolist() == [0.0, 0.0, 0.0]
    assert source(server).sample_memory(window_seconds=0.2).require()["keys"].max() == 251
    verdict = check_redis_growth(filling(), reading_of(found))
    assert "100% of its keys' memory is quote: in database 1" in verdict.reason
    assert [item.name for item in verdict.evidence if item.name.startswith("prefix")] == [
        "prefix quote: in database 1",
        "prefix quote: in database 0",
        "prefix report in database 1",
    ]


def test_the_bound_on_keys_is_for_all_databases_together(server: redis.Redis) -> None:
    """A small database is seen whole, and leaves what it does not need to the large one."""
    server.mset({f"few:{number}": "x" for number in range(10)})
    with database(server, 7) as other:
        other.mset({f"many:{number}": "x" for number in range(5000)})
    server.config_resetstat()
    found = source(server).sample_keys(max_keys=500, window_seconds=4.0).require().set_index("prefix")
    assert found["keys"].to_dict() == {"many:": 5000, "few:": 10}
    asked = sum(
        facts["calls"] for name, facts in server.info("commandstats").items() if name.startswith("cmdstat_memory")
    )
    assert asked == 2 * 500


@contextmanager
def database(server: redis.Redis, number: int) -> Iterator[redis.Redis]:
    client = redis.Redis(port=server.connection_pool.connection_kwargs["port"], protocol=2, db=number)
    with closing(client):
        yield client


def limited(server: redis.Redis, *rules: str) -> RedisSource:
    """A source whose user has these rights."""
    server.execute_command("ACL", "SETUSER", "app", "reset", "on", ">s3cret", *rules)
    port = server.connection_pool.connection_kwargs["port"]
    return RedisSource(f"redis://app:s3cret@127.0.0.1:{port}/0", limit_seconds=10)


def test_of_slow_commands_no_word_is_kept_but_the_prefix(server: redis.Redis) -> None:
    """Everything counts as slow; what stood in values, scripts and command lines does not."""
    server.config_set("slowlog-log-slower-than", 0)
    server.client_setname("report")
    server.keys("account:hunter2*")
    server.set("session:hunter2", "hunter2")
    server.hgetall("basket:hunter2")
    server.eval("return 'hunter2'", 0)
    found = source(server).sample_activity(window_seconds=0.2).require()
    table = found.to_frame()
    mine = table[table["sent_by"].str.startswith("report 127.0.0.1:")].set_index("command")["on"].to_dict()
    assert mine == {"CLIENT": "", "KEYS": "account:", "SET": "session:", "HGETALL": "basket:", "EVAL": ""} | mine
    assert "hunter2" not in table.to_string() + found.used.to_string()
    assert "INFO" in set(found.used["command"])
    assert found.slow["age_seconds"].between(-1, 5).all()


def test_writes_that_are_refused_are_counted(server: redis.Redis, tmp_path: Path) -> None:
    """A folder stands where the snapshot belongs; then it becomes a replica of nobody."""
    assert check_persistence_failing(source(server).sample_activity(window_seconds=0.1)).kind is VerdictKind.RULED_OUT
    (tmp_path / "dump.rdb").mkdir()
    server.config_set("save", "3600 1")
    server.bgsave()
    assert wait_until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", seconds=10)
    verdict = check_persistence_failing(source(server).sample_activity(window_seconds=0.1))
    assert verdict.reason.startswith("Redis cannot save: its last snapshot failed; with save points set")
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        server.set("a", 1)
    server.replicaof("127.0.0.1", 1)
    found = source(server).sample_activity(window_seconds=0.1)
    assert check_read_only(found).reason == "Redis is a read-only replica of 127.0.0.1:1, which it has lost"
    assert found.require().refused["MISCONF"] == 0.0


@pytest.mark.parametrize(("exporters", "known"), [(1, True), (2, False), (0, False)])
def test_lookups_now_and_before(server: redis.Redis, exporters: int, known: bool) -> None:
    """What Prometheus remembers of redis_exporter stands beside, unless that is of several servers."""
    server.mget("a", "b")
    prometheus = PrometheusSource(None, limit_seconds=5, limit_rows=1000)
    prometheus.copy = lambda _what, given: {"resultType": "matrix", "result": series(exporters, given)}
    asked = RedisSource(url(server), limit_seconds=5, prometheus=prometheus)
    server.set("a", 1)
    before = asked.sample_activity(window_seconds=0.1).require().lookups
    assert (before["hits_ever"], before["misses_ever"], before["misses"]) == (0, 2, 0)
    assert (
        {"hits_before": 90.0, "misses_before": 5.0}.items() <= before.items() if known else "hits_before" not in before
    )
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: asked.sample_activity(window_seconds=0.5))
        while not reading.done():
            server.mget("a", "b")
    lookups = reading.result().require().lookups
    assert lookups["hits"] == lookups["misses"] > 0


def series(exporters: int, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each exporter tells: 90 hits and 5 misses a second until ten minutes ago, then nothing but misses."""
    hits = "hits" in given["query"]
    values = [(given["start"] + 60, "90" if hits else "5"), (given["end"] - 60, "0" if hits else "95")]
    return [{"metric": {"instance": f"redis-{number}:9121"}, "values": values} for number in range(exporters)]


def test_clients_that_are_turned_away(server: redis.Redis) -> None:
    """Its limit is three: this client, another, and one of ours, for whom there is room at first."""
    healthy = check_max_clients(source(server).sample_activity(window_seconds=0.1))
    assert (healthy.kind, "of 10000 clients" in healthy.reason) == (VerdictKind.RULED_OUT, True), healthy.reason
    server.config_set("maxclients", 3)
    with database(server, 0) as other:
        other.ping()
        verdict = check_max_clients(source(server).sample_activity(window_seconds=0.1))
        assert verdict.reason == "3 of 3 clients that Redis takes are connected; 0 were turned away in 0 s"
        with database(server, 0) as third:
            third.ping()
            verdict = check_max_clients(source(server).sample_activity(window_seconds=0.1))
    assert verdict.reason == "Redis takes no more clients: max number of clients reached"


def test_replica_that_follows(server: redis.Redis, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A second server of the same release becomes a replica; then writes need two of them."""
    program, folder = request.node.callspec.params["server"][1], tmp_path / "replica"
    folder.mkdir()
    with running(program, folder, "--replicaof", "127.0.0.1", url(server).rpartition(":")[2].removesuffix("/0")):
        assert wait_until(lambda: server.info("replication").get("slave0", {}).get("state") == "online", seconds=20)
        verdict = check_replication(source(server).sample_activity(window_seconds=0.1))
        assert (verdict.kind, verdict.reason) == (VerdictKind.RULED_OUT, "all 1 replicas are online")
        server.config_set("min-replicas-to-write", 2)
        asked = source(server)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: asked.sample_activity(window_seconds=1.0))
            while not reading.done():
                with suppress(redis.ResponseError):
                    server.set("a", 1)
        verdict = check_replication(reading.result())
    assert verdict.reason == "Redis refuses writes for want of replicas (NOREPLICAS)"


class TestRightsThatAreMissing:
    """Users of an application: what they may not ask is not known, and the missing right is named."""

    def test_without_info_the_keys_are_told_all_the_same(self, server: redis.Redis) -> None:
        """``+@all -@dangerous``: the databases come from ``MEMORY STATS``."""
        server.set("session:1", "x" * 1000)
        with database(server, 3) as other:
            other.set("quote:1", "x" * 5000)
        found = limited(server, "~*", "+@all", "-@dangerous").sample_keys(window_seconds=1.0).require()
        assert found[["database", "prefix"]].to_numpy().tolist() == [[3, "quote:"], [0, "session:"]]

    def test_without_info_nothing_of_the_memory_is_ruled_out(self, server: redis.Redis) -> None:
        asked = limited(server, "~*", "+@all", "-@dangerous")
        assert asked.get_version().require() == "(not told)"
        memory = asked.sample_memory(window_seconds=1.5, every_seconds=0.3)
        assert memory.require()["used_bytes"].gt(0).all()
        keys = asked.sample_keys(window_seconds=1.0)
        verdicts = [check(memory, keys) for check in (check_redis_rejecting, check_redis_evicting, check_redis_growth)]
        verdicts.append(check_redis_fragmentation(memory))
        assert {verdict.kind for verdict in verdicts} == {VerdictKind.INCONCLUSIVE}
        assert all(
            "may not ask for INFO memory" in verdict.reason and "+info" in verdict.reason for verdict in verdicts
        )
        reported = redis_frame(memory.require()).set_index("what")["value"]
        assert reported["maxmemory"].startswith("not known: INFO memory, ")

    def test_without_the_slow_log(self, server: redis.Redis) -> None:
        """And without INFO: each part that is not known names its own right."""
        without = limited(server, "~*", "+info", "+ping").sample_activity(window_seconds=0.1)
        verdict = check_slow_commands(without)
        assert verdict.kind is VerdictKind.INCONCLUSIVE
        assert "+slowlog" in verdict.reason
        assert check_read_only(without).kind is VerdictKind.RULED_OUT
        blind = limited(server, "~*", "+ping", "+slowlog").sample_activity(window_seconds=0.1)
        verdicts = [check(blind) for check in (check_slow_commands, check_persistence_failing, check_read_only)]
        assert {verdict.kind for verdict in verdicts} == {VerdictKind.INCONCLUSIVE}
        assert all("+info" in verdict.reason for verdict in verdicts)

    def test_neither_info_nor_memory(self, server: redis.Redis) -> None:
        asked = limited(server, "~*", "+@read", "+ping", "+select", "-memory")
        for reading in (asked.sample_memory(window_seconds=0.2), asked.sample_keys(window_seconds=1.0)):
            assert reading.code == "permission"
            assert "redis refuses: the user of redis.url may not run MEMORY" in str(reading.error)

    def test_keys_that_may_not_be_looked_at_are_not_left_out_silently(self, server: redis.Redis) -> None:
        """By the keys that it may see, the wrong ones would be blamed."""
        server.mset({"quote:1": "x", "session:1": "y" * 9000})
        reading = limited(server, "~quote:*", "+@all").sample_keys(window_seconds=1.0)
        assert reading.code == "permission"
        assert "grant its user '~*'" in str(reading.error)


def filling() -> Reading[pd.DataFrame]:
    """60 of 64 MiB are used."""
    now = datetime.now(UTC)
    facts = (60 * 2.0**20,) * 3 + (64 * 2.0**20, "noeviction", 1.0, 0.0, 0.0, 0.0, 251.0, 2.0**34, "")
    rows = [(now + timedelta(seconds=second), *facts) for second in range(4)]
    return Reading("redis", "memory of Redis", pd.DataFrame(rows, columns=REDIS_COLUMNS))


def reading_of(keys: pd.DataFrame) -> Reading[pd.DataFrame]:
    return Reading("redis", "keys of Redis", keys)


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
    assert group_keys(pd.DataFrame(columns=["key", "type", "bytes", "expires"]), 1.0).empty


def test_one_that_knows_no_hello_is_read(tmp_path: Path) -> None:
    """Redis before 6, KeyDB 5 and proxies refuse the command with which protocol 3 begins."""
    with running(SERVERS[0][1], tmp_path, "--rename-command", "HELLO", "") as client:
        assert source(client).get_version().available
        sampled = source(client).sample_memory(window_seconds=0.2, every_seconds=0.1).require()
        assert sampled["used_bytes"].gt(0).all()
