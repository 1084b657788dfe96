"""Keys of a real Redis deleted by pattern: what is previewed, what goes, what stays, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from flowrex_ops.errors import ParameterError
from flowrex_ops.mitigations import find, redis_keys
from flowrex_ops.mitigations.guard import Approval, guard
from flowrex_ops.model import MitigationState, Outcome, Verdict, VerdictKind
from flowrex_ops.sandbox import Sandbox

from .running import await_redis, investigate, mitigate

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
        assert "2000 keys were deleted in " in outcome.reason
        assert "none of them is left; Redis uses " in outcome.reason
        assert (count(keys, "drill-cache:*"), count(keys)) == (0, 10)

    def test_a_pattern_that_hits_another_kind_of_key_is_another_plan(
        self, platform: Sandbox, keys: redis.Redis
    ) -> None:
        """More keys of the same kind are not: a cache goes on changing while somebody reads the plan."""
        before = unlink(platform, "drill-c*", approved=False).plan
        keys.mset({f"drill-cache:new-{number}": "x" for number in range(50)})
        assert unlink(platform, "drill-c*", approved=False).plan.hash == before.hash  # type: ignore[union-attr]
        keys.set("drill-customers:1", "x")
        assert unlink(platform, "drill-c*", approved=False).plan.hash != before.hash  # type: ignore[union-attr]

    @pytest.mark.parametrize("pattern", ["drill-cache:[12]?", r"drill-cache:1\?", "drill-cache:1999"])
    def test_patterns_are_those_of_redis(self, platform: Sandbox, keys: redis.Redis, pattern: str) -> None:
        keys.set("drill-cache:1?", "a name with a question mark")
        expected = count(keys, pattern)
        assert f"{expected} keys were deleted" in unlink(platform, pattern).reason
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

        told: list[str] = []
        mitigation = find("unlink-keys").build(investigate(platform), pattern="drill-cache:*")
        with monkeypatch.context() as patch:
            patch.setattr(redis_keys.time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                guard(
                    mitigation,
                    verdicts={CAUSE: Verdict(CAUSE, VerdictKind.CONFIRMED, "for the test")},
                    approval=Approval({"unlink-keys": None}, "ada"),
                    timeline=lambda _kind, facts: told.append(str(facts)),
                    max_targets=5,
                )
        left = count(keys, "drill-cache:*")
        assert 0 < left < 2000
        assert f"{2000 - left} of about 2000 keys are gone, the others stay" in told[-1]
        assert unlink(platform, "drill-cache:*").state is MitigationState.VERIFIED

    def test_redis_goes_away_meanwhile(
        self, platform: Sandbox, keys: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Named, with how far it came; nothing is retried behind one's back."""

        def stop(_seconds: float) -> None:
            for replica in platform.stack().get_replicas("redis"):
                platform.stack().stop(replica, timeout_seconds=20)

        monkeypatch.setattr(redis_keys.time, "sleep", stop)
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

    def test_other_databases_stay(self, platform: Sandbox, keys: redis.Redis) -> None:
        url = f"redis://127.0.0.1:{platform.state.ports['redis']}/5"
        with closing(redis.Redis.from_url(url)) as other:
            other.set("drill-other", 1)
            mitigate(platform, "flush-redis", cause=CAUSE)
            assert other.dbsize() == 1
            other.flushdb()
