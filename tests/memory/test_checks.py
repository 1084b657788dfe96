"""Example readings, and the one verdict that each check gives on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from database_examples import pools
from memory_examples import (
    IN_STEP,
    LIMIT,
    MASTER,
    MIB,
    NOW,
    SAVED,
    activity,
    gone,
    host,
    keys,
    kills,
    lookups,
    memory,
    redis,
    replica,
    steadily,
)
from triage_examples import replica as container
from triage_examples import services

from flowrex_ops.memory import checks, views
from flowrex_ops.memory.source import SAMPLED
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind

FLAT = replica("backend-2", [90.0] * 30)
CAUSES = {
    "memory.leak",
    "memory.container-limit",
    "memory.oom-killed",
    "memory.host-pressure",
    "memory.unexplained-growth",
    "memory.redis-rejecting",
    "memory.redis-evicting",
    "memory.redis-growth",
    "memory.redis-fragmentation",
    "redis.slow-commands",
    "redis.persistence-failing",
    "redis.read-only",
    "redis.replication-broken",
    "redis.max-clients",
    "redis.cache-miss-storm",
}
KEYS = [("KEYS", "session:", 400.0, age) for age in (0.4, 1.2, 2.1)]
REPLICA = {
    "role": "slave",
    "master_host": "10.0.0.5",
    "master_port": 6379,
    "master_link_status": "down",
    "slave_read_only": 1,
}
JUST_NOW = NOW - timedelta(minutes=2)


def judge(**given: Reading[Any]) -> dict[str, Verdict]:
    """Every check over a platform that is well but for what is given."""
    found: dict[str, Any] = {
        "memory": memory(*replica("backend-1", [80.0] * 30), *FLAT),
        "services": services(),
        "kills": kills(backend_1=0),
        "host": host(),
        "redis": redis(),
        "keys": keys(session=10.0, price=2.0),
        "activity": activity(),
        "pools": pools(1.0),
        **given,
    }
    verdicts = [
        checks.check_leak(found["memory"], services=found["services"]),
        checks.check_container_limit(found["memory"]),
        checks.check_unexplained_growth(found["memory"], services=found["services"]),
        checks.check_oom_killed(found["services"], found["kills"]),
        checks.check_host_pressure(found["host"], found["memory"]),
        checks.check_redis_rejecting(found["redis"], found["keys"]),
        checks.check_redis_evicting(found["redis"], found["keys"]),
        checks.check_redis_growth(found["redis"], found["keys"]),
        checks.check_redis_fragmentation(found["redis"]),
        checks.check_slow_commands(found["activity"]),
        checks.check_persistence_failing(found["activity"]),
        checks.check_read_only(found["activity"]),
        checks.check_replication(found["activity"]),
        checks.check_max_clients(found["activity"]),
        checks.check_cache_miss_storm(found["activity"], found["pools"]),
    ]
    return {verdict.cause: verdict for verdict in verdicts}


def confirmed(**given: Reading[Any]) -> set[str]:
    return {cause for cause, verdict in judge(**given).items() if verdict.confirmed}


EXAMPLES: dict[str, tuple[dict[str, Reading[Any]], set[str]]] = {
    "healthy": ({}, set()),
    "a leak": ({"memory": memory(*replica("backend-1", steadily(60, 160)), *FLAT)}, {"memory.leak"}),
    "a leak that is near its limit is a leak alone": (
        {"memory": memory(*replica("backend-1", steadily(150, 240)))},
        {"memory.leak"},
    ),
    "a leak without Prometheus": (
        {"memory": memory(*replica("backend-1", steadily(60, 80, 6), minutes=0.1, origin=SAMPLED))},
        {"memory.leak"},
    ),
    "memory that rises, not all the time": (
        {"memory": memory(*replica("backend-1", [60.0, 90, 100, 85, 80, 88, 95, 120, 125, 130, 140, 150]))},
        {"memory.unexplained-growth"},
    ),
    "a leak so slow that it can wait": ({"memory": memory(*replica("backend-1", steadily(60, 66)))}, set()),
    "a leak since the last restart": (
        {"memory": memory(*replica("backend-1", [*steadily(60, 250, 20), *steadily(50, 200, 40)], minutes=45))},
        {"memory.leak"},
    ),
    "one step up": ({"memory": memory(*replica("backend-1", [60.0] * 15 + [150.0] * 15))}, set()),
    "a step in the middle of a quarter": ({"memory": memory(*replica("backend-1", [60.0] * 11 + [150.0] * 19))}, set()),
    "a hill": ({"memory": memory(*replica("backend-1", [*steadily(60, 200, 15), *steadily(200, 61, 15)]))}, set()),
    "near the limit and still": (
        {"memory": memory(*replica("backend-1", [230.0, 231.0] * 15), *FLAT)},
        {"memory.container-limit"},
    ),
    "high, below the threshold": ({"memory": memory(*replica("backend-1", [200.0] * 30))}, set()),
    "full of page cache": (
        {"memory": memory(*replica("backend-1", [240.0] * 6, cache=180.0, origin=SAMPLED))},
        set(),
    ),
    "Redis near its container's limit is Redis' trouble": (
        {"memory": memory(*replica("redis-1", [250.0] * 6, origin=SAMPLED), *FLAT)},
        set(),
    ),
    "killed and restarted": (
        {
            "services": services(
                container("backend-1", oom_killed=True, restarts=1, started_at=JUST_NOW),
                container("backend-2"),
                container("backend-3"),
            )
        },
        {"memory.oom-killed"},
    ),
    "killed and down": (
        {"services": services(container("backend-1", "exited", oom_killed=True))},
        {"memory.oom-killed"},
    ),
    "killed long ago": ({"services": services(container("backend-1", oom_killed=True, restarts=1))}, set()),
    "killed, and restarted by hand since": (
        {"services": services(container("backend-1", oom_killed=True, started_at=JUST_NOW))},
        set(),
    ),
    "killed by somebody, not for memory": ({"services": services(container("backend-1", "exited"))}, set()),
    "a worker was killed inside": (
        {"services": services(container("backend-1", started_at=JUST_NOW)), "kills": kills(backend_1=2)},
        {"memory.oom-killed"},
    ),
    "leak and kill": (
        {
            "memory": memory(*replica("backend-1", steadily(60, 160))),
            "services": services(container("backend-1", oom_killed=True, restarts=3, started_at=JUST_NOW)),
        },
        {"memory.leak", "memory.oom-killed"},
    ),
    "tasks wait": ({"host": host(some=34.0)}, {"memory.host-pressure"}),
    "nothing available": ({"host": host(0.3)}, {"memory.host-pressure"}),
    "nothing available, no PSI": ({"host": host(0.3, None)}, {"memory.host-pressure"}),
    "no PSI": ({"host": host(some=None)}, set()),
    "tasks wait in a replica at its limit": (
        {"host": host(some=34.0), "memory": memory(*replica("backend-1", [250.0] * 30))},
        {"memory.container-limit"},
    ),
    "Redis rejects": ({"redis": redis(63.0, rejected=12)}, {"memory.redis-rejecting"}),
    "Redis is full, nobody writes": ({"redis": redis(64.5)}, {"memory.redis-rejecting"}),
    "Redis rejected, once": ({"redis": redis(rejected_before=40.0)}, set()),
    "Redis rejects though it evicts": (
        {"redis": redis(63.9, policy="volatile-lru", evicted=5, rejected=3)},
        {"memory.redis-rejecting"},
    ),
    "Redis evicts": ({"redis": redis(63.9, policy="allkeys-lru", evicted=200)}, {"memory.redis-evicting"}),
    "Redis evicts a key now and then": ({"redis": redis(40.0, policy="allkeys-lru", evicted=0.2)}, set()),
    "Redis grows": ({"redis": redis(lambda second: 20 + 0.3 * second)}, {"memory.redis-growth"}),
    "Redis is nearly full": ({"redis": redis(55.0)}, {"memory.redis-growth"}),
    "Redis has no limit and stands still": ({"redis": redis(900.0, maximum=0)}, set()),
    "Redis is fragmented": ({"redis": redis(10.0, ratio=4.0, wasted=90)}, {"memory.redis-fragmentation"}),
    "an almost empty Redis": ({"redis": redis(0.9, ratio=5.0, wasted=3.4)}, set()),
    "KEYS, all the time": (
        {"activity": activity(*KEYS, used=[("KEYS", 3, 1200.0), ("GET", 40, 1.0)])},
        {"redis.slow-commands"},
    ),
    "a large hash, the slow log is off": (
        {"activity": activity(used=[("HGETALL", 9, 540.0)])},
        {"redis.slow-commands"},
    ),
    "HGETALL of small hashes, often": ({"activity": activity(used=[("HGETALL", 9000, 900.0)])}, set()),
    "one script of a third of a second": (
        {"activity": activity(("EVAL", "", 364.0, 1.0), used=[("EVAL", 1, 364.0)])},
        set(),
    ),
    "one script of two seconds": ({"activity": activity(("EVAL", "", 2000.0, 1.0))}, {"redis.slow-commands"}),
    "KEYS once, a minute ago": ({"activity": activity(("KEYS", "*", 900.0, 70.0))}, set()),
    "KEYS for a while, two minutes ago": ({"activity": activity(*[("KEYS", "*", 900.0, 120.0)] * 40)}, set()),
    "the machine kept it waiting": ({"activity": activity(("GET", "session:", 400.0, 1.0))}, set()),
    "it cannot save, and refuses writes": (
        {"activity": activity(saving=SAVED | {"rdb_last_bgsave_status": "err"}, refused={"MISCONF": 7.0})},
        {"redis.persistence-failing"},
    ),
    "its append-only file cannot be written": (
        {"activity": activity(saving=SAVED | {"aof_last_write_status": "err"})},
        {"redis.persistence-failing"},
    ),
    "it could not save, and can again": ({"activity": activity(refused={"MISCONF": 0.0, "READONLY": 0.0})}, set()),
    "a replica, cut off": ({"activity": activity(role=REPLICA, refused={"READONLY": 4.0})}, {"redis.read-only"}),
    "a replica that takes writes": ({"activity": activity(role=REPLICA | {"slave_read_only": 0})}, set()),
    "no replica at all": ({"activity": activity(role={"role": "master", "connected_slaves": 0})}, set()),
    "a replica that is built anew": (
        {"activity": activity(role=MASTER | {"slave0": IN_STEP | {"state": "wait_bgsave", "lag": 0}})},
        {"redis.replication-broken"},
    ),
    "a replica that is not heard of": (
        {"activity": activity(role=MASTER | {"slave0": IN_STEP | {"lag": 45}})},
        {"redis.replication-broken"},
    ),
    "writes refused for want of replicas": (
        {"activity": activity(role={"role": "master", "connected_slaves": 0}, refused={"NOREPLICAS": 9.0})},
        {"redis.replication-broken"},
    ),
    "nearly as many clients as it takes": (
        {"activity": activity(clients={"connected": 9_400.0, "most": 10_000.0, "rejected": 0.0})},
        {"redis.max-clients"},
    ),
    "clients were turned away, and some have left since": (
        {"activity": activity(clients={"connected": 40.0, "most": 64.0, "rejected": 3.0})},
        {"redis.max-clients"},
    ),
    "an older Redis, which does not tell its limit": (
        {"activity": activity(clients={"connected": 40.0, "rejected": 0.0, "rejected_ever": 0.0})},
        set(),
    ),
    "a cache was emptied": ({"activity": activity(lookups=lookups(4, 296))}, {"redis.cache-miss-storm"}),
    "since a release keys end too soon, by Prometheus": (
        {"activity": activity(lookups=lookups(200, 100, ever=(1, 1), hits_before=290.0, misses_before=10.0))},
        {"redis.cache-miss-storm"},
    ),
    "a cache that never finds anything": ({"activity": activity(lookups=lookups(0, 300, ever=(0, 9)))}, set()),
    "half is found, as ever": ({"activity": activity(lookups=lookups(50, 50, ever=(40, 40), hours=30))}, set()),
    "at night as many are polled for, and few users ask": (
        {"activity": activity(lookups=lookups(5, 20, ever=(300, 20), hours=30))},
        set(),
    ),
    "a job's result is polled for": ({"activity": activity(lookups=lookups(90, 150))}, set()),
    "few are asked for, and none is there": ({"activity": activity(lookups=lookups(0, 3))}, set()),
    "a leak and a Redis that evicts": (
        {
            "memory": memory(*replica("backend-1", steadily(60, 160))),
            "redis": redis(63.9, policy="allkeys-lru", evicted=200),
        },
        {"memory.leak", "memory.redis-evicting"},
    ),
}


def test_not_even_we_are_let_in_to_redis() -> None:
    """The words in which it refuses us are the evidence; everything else about it stays open."""
    refused = Reading("redis", "activity of Redis", error="redis did not answer: max number of clients reached; ask")
    verdicts = judge(activity=refused)
    assert {cause for cause, verdict in verdicts.items() if verdict.confirmed} == {"redis.max-clients"}
    assert verdicts["redis.max-clients"].severity is Severity.P1


def sampled(*values: float, limit: float = LIMIT) -> Reading[Any]:
    """Some samples by the stack alone, a second apart."""
    return memory(*replica("worker-1", values, minutes=(len(values) - 1) / 60, limit=limit, origin=SAMPLED))


def test_five_megabytes_a_second_are_a_leak() -> None:
    """Five samples within the window suffice for that."""
    assert confirmed(memory=sampled(60, 65, 70, 75, 80, 85)) == {"memory.leak"}


@pytest.mark.parametrize("values", [(60.0,), (60, 60), (60, 60, 60), (60, 61, 60, 61, 60, 61)])
def test_some_samples_rule_no_leak_out(values: tuple[float, ...]) -> None:
    """A slow rise does not show in seconds: inconclusive, with what would settle it."""
    verdict = judge(memory=sampled(*values))["memory.leak"]
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "have Prometheus scrape it" in verdict.reason


@pytest.mark.parametrize("values", [steadily(20, 70, 6), [20.0, 40, 30, 55, 60, 70]])
def test_replica_that_was_started_just_now_fills_up(values: list[float]) -> None:
    """What it loads is neither a leak nor unexplained; later the same is."""
    rising = memory(*replica("backend-1", values, minutes=0.1, origin=SAMPLED))
    young = services(container("backend-1", started_at=NOW - timedelta(seconds=20)))
    verdicts = [judge(memory=rising, services=young)[cause] for cause in ("memory.leak", "memory.unexplained-growth")]
    assert [verdict.kind for verdict in verdicts] == [VerdictKind.INCONCLUSIVE] * 2
    assert all("while it starts" in verdict.reason for verdict in verdicts)
    assert confirmed(memory=rising) & {"memory.leak", "memory.unexplained-growth"}


def test_a_script_that_does_not_end() -> None:
    """Redis says so itself, in place of what was asked; of what it offers, one way loses data."""
    busy = (
        "redis did not answer: BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
    )
    found = judge(activity=Reading("redis", "activity of Redis", error=busy))
    verdict = found["redis.slow-commands"]
    assert (verdict.confirmed, verdict.severity) == (True, Severity.P1)
    assert [step.target for step in verdict.next_steps] == ["redis-cli SCRIPT KILL"]
    assert found["redis.read-only"].kind is VerdictKind.INCONCLUSIVE


def test_some_seconds_do_not_rule_out_a_slow_rise() -> None:
    """Neither as a leak nor as one that nothing explains."""
    verdict = judge(memory=memory(*replica("backend-1", [80.0] * 6, minutes=0.1, origin=SAMPLED)))
    assert verdict["memory.unexplained-growth"].kind is VerdictKind.INCONCLUSIVE


def test_two_samples_that_rise_are_named() -> None:
    """Too few for a leak; that it rises is a finding all the same, and near the limit it says so."""
    verdicts = judge(memory=sampled(228, 238))
    assert {cause for cause, verdict in verdicts.items() if verdict.confirmed} == {
        "memory.container-limit",
        "memory.unexplained-growth",
    }
    assert "93% of 256.0 MiB, and growing by 600.0 MiB a minute" in verdicts["memory.container-limit"].reason


def test_a_history_of_some_does_not_clear_the_others() -> None:
    """Prometheus knows the backend and stands still; a worker that it does not scrape rises."""
    table = memory(*FLAT, *replica("worker-1", (60, 75, 90), minutes=0.05, origin=SAMPLED))
    assert judge(memory=table)["memory.leak"].kind is VerdictKind.INCONCLUSIVE


@pytest.mark.parametrize("example", EXAMPLES)
def test_one_trouble_one_finding(example: str) -> None:
    """Confirmed is what is expected, all the rest is ruled out, and nothing is left open."""
    given, expected = EXAMPLES[example]
    verdicts = judge(**given)
    assert set(verdicts) == CAUSES
    assert {cause for cause, verdict in verdicts.items() if verdict.confirmed} == expected
    assert [v.reason for v in verdicts.values() if v.kind is VerdictKind.INCONCLUSIVE] == []


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ("memory", {"memory.leak", "memory.container-limit", "memory.unexplained-growth"}),
        ("services", {"memory.oom-killed"}),
        ("kills", {"memory.oom-killed"}),
        ("host", {"memory.host-pressure"}),
        ("redis", {cause for cause in CAUSES if cause.startswith("memory.redis")}),
        ("activity", {cause for cause in CAUSES if cause.startswith("redis.")}),
        ("keys", set()),
    ],
)
def test_a_source_that_is_silent_is_never_healthy(missing: str, unknown: set[str]) -> None:
    verdicts = judge(**{missing: gone(missing)})
    assert {cause for cause, verdict in verdicts.items() if verdict.kind is VerdictKind.INCONCLUSIVE} == unknown


def test_a_leak_tells_when_it_meets_its_limit() -> None:
    """100 MiB in 30 minutes, 96 MiB left: 29 minutes."""
    verdict = judge(memory=memory(*replica("backend-1", steadily(60, 160))))["memory.leak"]
    assert verdict.reason == "backend-1 leaks 3.3 MiB a minute; backend-1 reaches its limit of 256.0 MiB in 29 min"
    assert verdict.severity is Severity.P2


def test_a_leak_that_is_nearly_there_is_worse() -> None:
    assert judge(memory=memory(*replica("backend-1", steadily(100, 245))))["memory.leak"].severity is Severity.P1


def test_a_growing_redis_names_the_prefix() -> None:
    verdict = judge(redis=redis(lambda second: 20 + 0.3 * second), keys=keys(session=18.0, price=1.0))[
        "memory.redis-growth"
    ]
    assert verdict.reason == "Redis grows by 18.0 MiB a minute; full in 2 min; 95% of its keys' memory is session:"


class TestWhatElseKeepsRedisFromServing:
    def test_who_sends_what_and_how_much_that_costs(self) -> None:
        verdict = judge(activity=activity(*KEYS))["redis.slow-commands"]
        said = "KEYS holds Redis for 30% of its time, while it was watched, on session:, sent by report 10.0.0.7:4711"
        assert verdict.reason == said
        assert verdict.evidence[0].value == "3 calls of up to 400 ms, by report 10.0.0.7:4711"

    def test_what_is_over_is_told_as_past(self) -> None:
        verdict = judge(activity=activity(*[("KEYS", "*", 900.0, 120.0)] * 40))["redis.slow-commands"]
        assert "40 did in the last 5 minutes, for 36.0 s in all" in verdict.reason

    @pytest.mark.parametrize(
        ("parts", "cause", "words"),
        [
            ({"no_slow_log": "may not run SLOWLOG GET"}, "redis.slow-commands", "may not run SLOWLOG GET"),
            ({"used": [], "unreported": "grant it +info"}, "redis.slow-commands", "grant it +info"),
            ({"saving": {}, "unreported": "grant it +info"}, "redis.persistence-failing", "grant it +info"),
            ({"role": {}, "unreported": "grant it +info"}, "redis.read-only", "grant it +info"),
            ({"role": {"role": "sentinel"}}, "redis.read-only", "'sentinel'"),
        ],
    )
    def test_what_it_does_not_tell_is_not_ruled_out(self, parts: dict[str, Any], cause: str, words: str) -> None:
        verdict = judge(activity=activity(**parts))[cause]
        assert verdict.kind is VerdictKind.INCONCLUSIVE
        assert words in verdict.reason

    @pytest.mark.parametrize(
        ("parts", "words"),
        [
            ({"lookups": {}}, "does not tell which lookups find nothing"),
            ({"lookups": lookups(40, 60, ever=(40, 40), hours=0.1)}, "too short to tell what is usual"),
            ({"lookups": lookups(0, 60, ever=(0, 0), hours=9)}, "too short to tell what is usual"),
            ({"lookups": lookups(90, 150), "used": [("SETEX", 450, 9.0)]}, "a part of the cache is gone"),
        ],
    )
    def test_without_a_comparison_no_cache_is_cleared(self, parts: dict[str, Any], words: str) -> None:
        verdict = judge(activity=activity(**parts))["redis.cache-miss-storm"]
        assert verdict.kind is VerdictKind.INCONCLUSIVE
        assert words in verdict.reason

    @pytest.mark.parametrize(("in_use", "severity"), [(5.0, Severity.P1), (1.0, Severity.P2)])
    def test_an_empty_cache_is_worse_where_the_database_cannot_take_it(self, in_use: float, severity: Severity) -> None:
        verdict = judge(activity=activity(lookups=lookups(4, 296)), pools=pools(in_use))["redis.cache-miss-storm"]
        assert verdict.severity is severity
        assert verdict.title == "Redis finds 1.3% of what it is asked for, 95% in the 30 min 0 s since it started"

    @pytest.mark.parametrize(("refused", "severity"), [(3.0, Severity.P1), (0.0, Severity.P2)])
    def test_writes_that_are_refused_now_are_worse(self, refused: float, severity: Severity) -> None:
        failing = activity(saving=SAVED | {"rdb_last_bgsave_status": "err"}, refused={"MISCONF": refused})
        readonly = activity(role=REPLICA, refused={"READONLY": refused})
        assert judge(activity=failing)["redis.persistence-failing"].severity is severity
        assert judge(activity=readonly)["redis.read-only"].severity is severity


def test_without_a_limit_nothing_can_be_near_it() -> None:
    verdicts = judge(memory=memory(*replica("backend-1", [900.0] * 30, limit=float("nan"))))
    assert verdicts["memory.container-limit"].kind is VerdictKind.INCONCLUSIVE
    assert verdicts["memory.leak"].kind is VerdictKind.RULED_OUT


def test_the_trend_is_not_bent_by_an_outlier() -> None:
    flat = [90.0] * 30
    flat[20] = 250.0
    trends = views.get_trends(memory(*replica("backend-1", flat, limit=LIMIT)).require())
    assert trends["bytes_per_minute"].tolist() == [0.0]
    assert trends["used_bytes"].tolist() == [90.0 * MIB]
