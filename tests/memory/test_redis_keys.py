"""Keys of a real Redis deleted by pattern: what is previewed, what goes, what stays, and what an interruption leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from running import await_redis, investigate, mitigate

from flowrex_ops.errors import ParameterError, SourceUnavailableError, VerificationError
from flowrex_ops.guard import Approval, guard
from flowrex_ops.memory import redis_deletion as redis_base
from flowrex_ops.memory import redis_keys
from flowrex_ops.memory.redis_flush import FlushRedis
from flowrex_ops.memory.redis_keys import UnlinkKeys
from flowrex_ops.mitigations import find
from flowrex_ops.model import MitigationState, Outcome, Verdict, VerdictKind
from flowrex_sandbox.sandbox import Sandbox

CAUSE = "memory.redis-growth"


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Nothing but keys is changed, and those go with the fixture that makes them."""
    monkeypatch.chdir(tmp_path)
    return any_sandbox


@pytest.fixture
def keys(platform: Sandbox) -> Iterator[redis.Redis]:
    """Redis with two thousand cached quotes and ten sessions of people."""
    url = f"redis://127.0.0.1:{platform.state.ports['redis']}/0"
    with closing(redis.Redis.from_url(url, decode_responses=True)) as client:
        client.flushdb()
        client.mset({f"drill-cache:{number}": "x" * 1000 for number in range(2000)})
        client.mset({f"drill-people:{number}": "ada" for number in range(10)})
        yield client
        client.flushdb()


def unlink(sandbox: Sandbox, pattern: str, *, approved: bool = True, **options: Any) -> Outcome:
    return mitigate(sandbox, "unlink-keys", cause=CAUSE, approved=approved, pattern=pattern, **options)


def count(client: redis.Redis, pattern: str = "drill-*") -> int:
    return sum(1 for _ in client.scan_iter(pattern, count=1000))


def start_redis(sandbox: Sandbox) -> None:
    for replica in sandbox.stack().get_replicas("redis"):
        sandbox.stack().start(replica, timeout_seconds=20)
    await_redis(sandbox)


def clock(sleep: Callable[[float], None]) -> SimpleNamespace:
    """What the deletion has for ``time``: that of the module itself is every thread's, also a server's of another test."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=sleep)


class TestUnlink:
    def test_plan_shows_how_many_how_much_and_which(self, platform: Sandbox, keys: redis.Redis) -> None:
        outcome = unlink(platform, "drill-cache:*", approved=False)
        assert outcome.plan is not None, outcome.reason
        (target,) = outcome.plan.targets
        assert target.label.startswith("2000 of ")
        assert "keys fit 'drill-cache:*', about 2." in target.label
        assert "prefixes: drill-cache:; such as drill-cache:" in target.label
        assert count(keys) == 2010

    def test_only_what_fits_goes(self, platform: Sandbox, keys: redis.Redis) -> None:
        outcome = unlink(platform, "drill-cache:*")
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert "2000 keys of database 0 were deleted in " in outcome.reason
        assert "none of them is left; Redis uses " in outcome.reason
        assert (count(keys, "drill-cache:*"), count(keys)) == (0, 10)

    def test_a_pattern_that_hits_another_kind_of_key_is_another_plan(
        self, platform: Sandbox, keys: redis.Redis
    ) -> None:
        """More keys of the same kind are not: a cache goes on changing while somebody reads the plan."""
        before = unlink(platform, "drill-c*", approved=False).plan
        keys.mset({f"drill-cache:new-{number}": "x" for number in range(50)})
        assert unlink(platform, "drill-c*", approved=False).plan.hash == before.hash  # type: ignore[union-attr]  # it has a plan
        keys.set("drill-customers:1", "x")
        assert unlink(platform, "drill-c*", approved=False).plan.hash != before.hash  # type: ignore[union-attr]  # it has a plan

    @pytest.mark.parametrize("pattern", ["drill-cache:[12]?", r"drill-cache:1\?", "drill-cache:1999"])
    def test_patterns_are_those_of_redis(self, platform: Sandbox, keys: redis.Redis, pattern: str) -> None:
        keys.set("drill-cache:1?", "a name with a question mark")
        expected = count(keys, pattern)
        assert f"{expected} keys of database 0 were deleted" in unlink(platform, pattern).reason
        assert count(keys) == 2011 - expected

    @pytest.mark.parametrize("pattern", ["*", "**", "?*", "[a-z]*", "[^x]*"])
    def test_a_pattern_that_fits_everything(self, platform: Sandbox, pattern: str) -> None:
        with pytest.raises(ParameterError, match="fits every key"):
            unlink(platform, pattern)

    def test_no_pattern_and_no_key(self, platform: Sandbox, keys: redis.Redis) -> None:
        assert "no pattern is named" in unlink(platform, "").reason
        assert unlink(platform, "nobody:*").state is MitigationState.REFUSED
        assert count(keys) == 2010

    def test_keys_that_do_not_decode(self, platform: Sandbox, keys: redis.Redis) -> None:
        """Keys are bytes."""
        keys.set(b"drill-raw:\xff\xfe\n", "x")
        assert unlink(platform, "drill-raw:*").state is MitigationState.VERIFIED

    def test_rate_is_bounded(self, platform: Sandbox, keys: redis.Redis) -> None:
        """By what the deed says of itself; it is the same clock that paces it."""
        outcome = unlink(platform, "drill-cache:*", per_second=1000)
        seconds = float(outcome.reason.partition("deleted in ")[2].partition(" s")[0])
        assert seconds >= 2.0
        assert count(keys) == 10

    def test_interrupted_says_how_far_and_goes_on(
        self, platform: Sandbox, keys: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ctrl-C after the first batch."""

        def interrupt(_seconds: float) -> None:
            raise KeyboardInterrupt

        reported: list[str] = []
        mitigation = find("unlink-keys").build(investigate(platform), pattern="drill-cache:*")
        with monkeypatch.context() as patch:
            patch.setattr(redis_keys, "time", clock(interrupt))
            with pytest.raises(KeyboardInterrupt):
                guard(
                    mitigation,
                    verdicts={CAUSE: Verdict(CAUSE, VerdictKind.CONFIRMED, "for the test")},
                    approval=Approval({"unlink-keys": None}, "ada"),
                    timeline=lambda _kind, facts: reported.append(str(facts)),
                    max_targets=5,
                )
        left = count(keys, "drill-cache:*")
        assert 0 < left < 2000
        assert f"{2000 - left} of about 2000 keys are gone, the others stay" in reported[-1]
        assert unlink(platform, "drill-cache:*").state is MitigationState.VERIFIED

    def test_redis_goes_away_meanwhile(
        self, platform: Sandbox, keys: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Named, with how far it came; nothing is retried behind one's back."""

        def stop(_seconds: float) -> None:
            for replica in platform.stack().get_replicas("redis"):
                platform.stack().stop(replica, timeout_seconds=20)

        monkeypatch.setattr(redis_keys, "time", clock(stop))
        outcome = unlink(platform, "drill-cache:*")
        monkeypatch.undo()
        start_redis(platform)
        assert outcome.state is MitigationState.FAILED
        assert "redis did not answer" in outcome.reason
        assert "of about 2000 keys are gone, the others stay" in outcome.reason


class TestFlush:
    def test_the_whole_database_and_only_by_its_name(self, platform: Sandbox, keys: redis.Redis) -> None:
        planned = mitigate(platform, "flush-redis", cause=CAUSE, approved=False)
        assert planned.plan is not None, planned.reason
        assert "of them without an expiry" in planned.plan.targets[0].label
        assert "cannot be undone" in planned.plan.undo
        assert count(keys) == 2010
        outcome = mitigate(platform, "flush-redis", cause=CAUSE)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert count(keys) == 0

    def test_the_database_that_fills_redis_goes_and_the_others_stay(
        self, platform: Sandbox, keys: redis.Redis, full: redis.Redis
    ) -> None:
        """The plan names both; what is verified is memory that is free again."""
        planned = mitigate(platform, "flush-redis", cause=CAUSE, approved=False)
        assert planned.plan is not None, planned.reason
        label = planned.plan.targets[0].label
        assert label.startswith("database 5 of Redis: 400 keys, 400 of them without an expiry, about 1")
        assert "other databases stay: 0 (" in label
        before = keys.info("memory")["used_memory"]
        outcome = mitigate(platform, "flush-redis", cause=CAUSE)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert "400 keys of database 5 are gone" in outcome.reason
        assert (full.dbsize(), count(keys)) == (0, 2010)
        assert before - keys.info("memory")["used_memory"] > 10 * 2**20

    def test_a_database_that_is_named(self, platform: Sandbox, keys: redis.Redis, full: redis.Redis) -> None:
        outcome = mitigate(platform, "flush-redis", cause=CAUSE, database=0)
        assert "keys of database 0 are gone" in outcome.reason
        assert (full.dbsize(), count(keys)) == (400, 0)

    def test_a_database_that_is_none(self, platform: Sandbox, keys: redis.Redis) -> None:
        assert mitigate(platform, "flush-redis", cause=CAUSE, database=9).state is MitigationState.REFUSED
        with pytest.raises(ParameterError, match="redis_database: -2"):
            mitigate(platform, "flush-redis", cause=CAUSE, database=-2)

    def test_memory_that_is_not_freed_is_not_verified(
        self, platform: Sandbox, keys: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As much is written elsewhere meanwhile as was deleted."""
        monkeypatch.setattr(redis_base, "_FREE_SECONDS", 0.5)
        mitigation = find("flush-redis").build(investigate(platform), database=0)
        plan = mitigation.plan()
        mitigation.apply(plan.targets[0])
        with other_database(platform) as other:
            other.mset({f"drill-new:{number}": "x" * 10_000 for number in range(400)})
            with pytest.raises(
                VerificationError, match=r"the keys are gone, about .* somebody goes on writing, or other keys hold it"
            ):
                mitigation.verify(plan)
            other.flushdb()

    def test_a_user_who_may_not(self, platform: Sandbox, keys: redis.Redis) -> None:
        """The right that is missing is named, and nothing is done."""
        keys.execute_command("ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "+@all", "-@dangerous")
        port = platform.state.ports["redis"]
        url = f"redis://app:s3cret@127.0.0.1:{port}/0"
        for mitigation in (
            UnlinkKeys(url, pattern="drill-c*", per_second=100, limit_seconds=5),
            FlushRedis(url, limit_seconds=5),
        ):
            with pytest.raises(SourceUnavailableError, match="may not run INFO; grant it"):
                mitigation.plan()
        keys.execute_command("ACL", "DELUSER", "app")


@contextmanager
def other_database(platform: Sandbox) -> Iterator[redis.Redis]:
    url = f"redis://127.0.0.1:{platform.state.ports['redis']}/5"
    with closing(redis.Redis.from_url(url, decode_responses=True)) as client:
        yield client
        client.flushdb()


@pytest.fixture
def full(platform: Sandbox) -> Iterator[redis.Redis]:
    """Sixteen MiB of quotes in database 5, which ``redis.url`` does not name."""
    with other_database(platform) as client:
        client.mset({f"drill-cache:{number}": "x" * 40_000 for number in range(400)})
        yield client


class TestSeveralDatabases:
    def test_keys_go_where_they_are(self, platform: Sandbox, keys: redis.Redis, full: redis.Redis) -> None:
        """One target for each database in which keys fit."""
        outcome = unlink(platform, "drill-cache:*")
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert outcome.plan is not None
        first, second = (target.label for target in outcome.plan.targets)
        assert first.startswith("2000 of ")
        assert "in database 0; prefixes: drill-cache:" in first
        assert second.startswith("400 of 400 keys fit 'drill-cache:*', about 1")
        assert "in database 5; prefixes: drill-cache:" in second
        assert (full.dbsize(), count(keys)) == (0, 10)

    def test_keys_of_one_database(self, platform: Sandbox, keys: redis.Redis, full: redis.Redis) -> None:
        outcome = unlink(platform, "drill-cache:*", database=5)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason
        assert "400 keys of database 5 were deleted" in outcome.reason
        assert (full.dbsize(), count(keys)) == (0, 2010)
