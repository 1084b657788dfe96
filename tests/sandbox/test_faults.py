"""Each fault is real: PostgreSQL itself shows it, and healing takes it away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from flowrex_ops.causes import causes_by_runbook
from flowrex_ops.errors import SandboxError, UsageError
from flowrex_sandbox import drills
from flowrex_sandbox.drills import DRILLS, get_drill
from flowrex_sandbox.faults.memory import resident_bytes
from flowrex_sandbox.faults.observe import get_pools, is_quiet, last_failure_age
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition

pytestmark = [pytest.mark.drill, pytest.mark.thorough]  # the drills show the same from the other side

BACKENDS = "application_name LIKE 'flowrex-backend-%'"


def quiet(_: str) -> None:
    """Progress that nobody wants to see."""


@pytest.fixture
def inject(any_sandbox: Sandbox) -> Iterator[Callable[[str], Sandbox]]:
    """A function that injects a scenario; the platform is healthy, and seen to be, afterwards."""

    def start(scenario: str) -> Sandbox:
        drills.inject(any_sandbox, get_drill(scenario), quiet)
        return any_sandbox

    yield start
    drills.reset(any_sandbox, quiet)
    assert is_quiet(any_sandbox)
    assert get_answer(f"{any_sandbox.url}/health/ready") == 200


def number(sandbox: Sandbox, statement: str) -> int:
    return int(sandbox.query(statement)[0][0])


def sessions(condition: str) -> str:
    return f"SELECT count(*) FROM pg_stat_activity WHERE {condition}"


Inject = Callable[[str], Sandbox]


def test_healthy(inject: Inject) -> None:
    """Nothing is injected, and nothing is wrong."""
    assert is_quiet(inject("healthy"))


def test_idle_in_transaction(inject: Inject) -> None:
    """Every pooled session of every replica is idle inside a transaction that is older than the drill's threshold."""
    old = "state = 'idle in transaction' AND now() - xact_start > interval '2 seconds'"

    assert number(inject("idle-in-transaction"), sessions(f"{BACKENDS} AND {old}")) == 15


def test_long_running_query(inject: Inject) -> None:
    """Every pooled session runs one query for longer than the drill's threshold; nothing waits for a lock."""
    running = inject("long-running-query")

    old = "state = 'active' AND now() - query_start > interval '3 seconds'"
    assert number(running, sessions(f"{BACKENDS} AND {old}")) == 15
    assert number(running, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 0


def test_lock_chain(inject: Inject) -> None:
    """The migration blocks the settlement, which blocks backends in turn; the migration itself waits for nobody."""
    running = inject("lock-chain")

    depth_two = """
        SELECT count(*) FROM pg_stat_activity victim, pg_stat_activity middle, pg_stat_activity root
        WHERE middle.pid = ANY (pg_blocking_pids(victim.pid)) AND root.pid = ANY (pg_blocking_pids(middle.pid))
          AND root.application_name = 'migration' AND middle.application_name = 'settlement'
          AND cardinality(pg_blocking_pids(root.pid)) = 0
    """
    assert number(running, depth_two) >= 1
    assert running.query("SELECT usename, state FROM pg_stat_activity WHERE application_name = 'migration'") == [
        ("flowrex", "idle in transaction")
    ]


def is_refused(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return "connection slots" in str(error)
    return False


def test_max_connections(inject: Inject) -> None:
    """An ordinary role is refused; the superuser gets in and sees who holds the slots."""
    running = inject("max-connections")

    # A pool gives a connection back now and then, which the outside client takes at its next try.
    await_condition(lambda: is_refused(running.app_dsn), "an ordinary role was refused", timeout_seconds=20)
    assert number(running, sessions("application_name = 'reporting' AND state = 'idle'")) >= 10


def test_pool_saturated(inject: Inject) -> None:
    """Requests wait in every replica, while no query and no transaction is older than two seconds."""
    running = inject("pool-saturated")

    assert all(pool.waiting > 0 for pool in get_pools(running))
    old = "state <> 'idle' AND now() - xact_start > interval '2 seconds'"
    assert number(running, sessions(f"{BACKENDS} AND {old}")) == 0


def test_pool_leak(inject: Inject) -> None:
    """The pools say that all is in use; PostgreSQL says that nobody does anything."""
    running = inject("pool-leak")

    assert [pool.in_use for pool in get_pools(running)] == [5, 5, 5]
    assert number(running, sessions(f"{BACKENDS} AND state = 'idle'")) == 15


def test_orphaned_prepared_transaction(inject: Inject) -> None:
    """The prepared transaction has no session, holds a row lock, and backends wait for it."""
    running = inject("orphaned-prepared-transaction")

    assert running.query("SELECT gid LIKE 'flowrex-settlement-%', owner::text FROM pg_prepared_xacts") == [
        (True, "flowrex")
    ]
    # Process 0 stands for whoever holds a lock without being a session.
    blocked = "0 = ANY (pg_blocking_pids(pid))"
    assert number(running, sessions(f"{BACKENDS} AND {blocked}")) >= 1


@pytest.mark.parametrize("scenario", ["postgres-stopped", "postgres-hanging"])
def test_postgres_gone(inject: Inject, scenario: str) -> None:
    """No connection is answered, and the platform tells its users that it cannot serve."""
    running = inject(scenario)

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(running.app_dsn, connect_timeout=2)
    assert get_answer(f"{running.url}/health/ready", timeout_seconds=10) == 503


def test_leak_and_slow_report(inject: Inject) -> None:
    """Both at once, sharing the pools."""
    running = inject("leak-and-slow-report")

    assert number(running, sessions(f"{BACKENDS} AND state = 'idle in transaction'")) == 9
    assert number(running, sessions(f"{BACKENDS} AND state = 'active' AND query LIKE '%pg_sleep(0.2)%'")) == 6


def test_prepared_and_lock(inject: Inject) -> None:
    """Two roots: one without a session, one with."""
    running = inject("prepared-and-lock")

    assert number(running, "SELECT count(*) FROM pg_prepared_xacts") == 1
    assert number(running, sessions("0 = ANY (pg_blocking_pids(pid))")) >= 1
    root = "SELECT pid FROM pg_stat_activity WHERE application_name = 'migration'"
    assert number(running, sessions(f"({root}) = ANY (pg_blocking_pids(pid))")) >= 1


def test_backup_running(inject: Inject) -> None:
    """A long query by another role that blocks nobody: the backend serves as ever."""
    running = inject("backup-running")

    assert running.query("SELECT usename, state FROM pg_stat_activity WHERE application_name = 'pg_dump'") == [
        ("postgres", "active")
    ]
    assert get_answer(f"{running.url}/api/portfolio") == 200


def test_old_error_burst(inject: Inject) -> None:
    """The counters remember the errors, and nothing is wrong any more."""
    running = inject("old-error-burst")

    assert all(pool.errors >= 2 for pool in get_pools(running))
    assert is_quiet(running)


def failures(sandbox: Sandbox, message: str) -> int:
    recent = "created_at > now() - interval '30 seconds'"
    return number(sandbox, f"SELECT count(*) FROM trades WHERE error_message LIKE '{message}' AND {recent}")


@pytest.mark.parametrize(
    ("scenario", "message", "answer"),
    [
        ("broker-down", "broker unreachable%", 0),
        ("broker-slow", "broker timeout%", 0),
        ("broker-credentials", "broker credentials refused: HTTP 401%", 401),
        ("broker-throttles", "broker rate limit: HTTP 429%", 429),
    ],
)
def test_broker(inject: Inject, scenario: str, message: str, answer: int) -> None:
    """Trades fail of what the broker really does."""
    running = inject(scenario)

    assert failures(running, message) >= 4
    assert get_answer(f"{running.outside_url}/v3/accounts/x/summary", timeout_seconds=2) == answer


def test_broker_rejects_one_symbol(inject: Inject) -> None:
    """The others are filled."""
    running = inject("broker-rejects-symbol")

    lately = "SELECT DISTINCT symbol FROM trades WHERE created_at > now() - interval '2 seconds' AND status = "
    assert running.query(lately + "'failed'") in ([], [("XAUUSD",)])
    assert failures(running, "rejected by broker: MARKET_HALTED") >= 4


def test_trades_not_writable(inject: Inject) -> None:
    """No trade is written any more, and the platform is ready all the same."""
    running = inject("trades-not-writable")

    before = number(running, "SELECT max(id) FROM trades")
    assert last_failure_age(running, "database") < 5
    assert number(running, "SELECT max(id) FROM trades") == before
    assert get_answer(f"{running.url}/health/ready") == 200


def test_risk_limit(inject: Inject) -> None:
    """Blocked is not failed."""
    running = inject("risk-limit")

    assert running.query(
        "SELECT DISTINCT status, error_message LIKE 'risk limit max_notional%' FROM trades WHERE symbol = 'BTCUSD'"
        " AND quantity = 1000000"
    ) == [("blocked", True)]


def test_old_broker_outage(inject: Inject) -> None:
    """Its failed trades are there, and nothing fails any more."""
    running = inject("old-broker-outage")

    assert failures(running, "broker unreachable%") >= 4
    assert last_failure_age(running) > 5


def test_injecting_into_an_ill_platform(inject: Inject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill on top of another would prove nothing; it is refused with the way out."""
    running = inject("orphaned-prepared-transaction")
    monkeypatch.setattr(drills, "_QUIET_SECONDS", 0.5)

    with pytest.raises(SandboxError, match="run 'flowrex-ops drill reset' first"):
        drills.inject(running, get_drill("lock-chain"), quiet)


class TestDrills:
    def test_expected_and_forbidden_share_all_causes(self) -> None:
        """Every cause of the drill's runbook is either to be confirmed or to be ruled out."""
        for drill in DRILLS:
            assert set(drill.expected) | set(drill.forbidden) == set(causes_by_runbook()[drill.runbook])
            assert not set(drill.expected) & set(drill.forbidden)

    def test_unknown_drill(self) -> None:
        """A scenario that there is not is answered with the nearest."""
        with pytest.raises(UsageError, match=r"there is no drill 'flood'; did you mean 'traffic-flood'\?"):
            get_drill("flood")


def redis_info(sandbox: Sandbox) -> dict[str, Any]:
    client = redis.Redis(port=sandbox.state.ports["redis"])
    try:
        return {**client.info("memory"), **client.info("stats"), **client.info("errorstats")}
    finally:
        client.close()


def test_memory_leak(inject: Inject) -> None:
    """Every replica's resident memory grows, and goes on growing; healed, it is small again."""
    running = inject("memory-leak")
    before = resident_bytes(running)
    await_condition(
        lambda: all(now > then + 2**20 for now, then in zip(resident_bytes(running), before, strict=True)),
        "all grew",
        timeout_seconds=20,
    )
    drills.reset(running, quiet)
    assert max(resident_bytes(running)) < 100 * 2**20


def test_redis_rejecting(inject: Inject) -> None:
    """A write is refused with OOM; afterwards Redis is as it was."""
    running = inject("redis-rejecting")
    client = redis.Redis(port=running.state.ports["redis"])
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        client.set("some", "x" * 10**6)
    drills.reset(running, quiet)
    limits = client.config_get("maxmemory*")
    assert (limits["maxmemory"], limits["maxmemory-policy"]) == (str(64 * 2**20), "noeviction")
    assert [key for key in client.scan_iter() if not key.startswith(b"session:")] == []  # users log in all the time
    client.close()


def test_redis_fragmented(inject: Inject) -> None:
    """More than twice of what is used is held, by Redis' own word."""
    info = redis_info(inject("redis-fragmented"))
    assert info["used_memory_rss"] > 2 * info["used_memory"]


def test_oom_kill(compose_sandbox: Sandbox) -> None:
    """Docker's own mark is on the container, and healing takes it away."""
    drills.inject(compose_sandbox, get_drill("oom-kill"), quiet)
    assert [replica.oom_killed for replica in compose_sandbox.replicas()].count(True) == 1
    drills.reset(compose_sandbox, quiet)
    assert not any(replica.oom_killed and replica.restarts for replica in compose_sandbox.replicas())
