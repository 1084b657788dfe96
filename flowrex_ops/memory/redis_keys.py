"""Keys of Redis deleted by pattern, at a bounded rate, in the databases where they are.

``SCAN`` and ``UNLINK``, never ``KEYS`` and ``DEL``: both of these stop everybody else for as long as they run
(https://redis.io/docs/latest/commands/unlink/).

What is approved is the pattern, the server and the prefixes that it hits, not the number of keys: a cache goes on
changing while somebody reads the plan.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from flowrex_ops.errors import MitigationRefusedError, ParameterError, VerificationError
from flowrex_ops.memory.redis import prefix_of
from flowrex_ops.memory.redis_deletion import ANY, RedisMitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.waiting import wait_until

if TYPE_CHECKING:
    from redis import Redis

BATCH = 500
SAMPLED = 200
SHOWN = 3
MOST_PREFIXES = 20
MOST_PER_SECOND = 100_000
_LOOK_SECONDS = 30.0
"""A look through all keys takes about a second for a million."""

_LEFT_SHARE = 0.25
"""So many may be there again after the deed: whoever writes them goes on writing."""

_GLOB = re.compile(r"\\.|\[[^\]]*\]|[*?]")


@dataclass(frozen=True, slots=True)
class Preview:
    """The keys that fit a pattern: how many, of how many, their memory (estimated), by prefix, and some names."""

    keys: int
    of: int
    mebibytes: float
    prefixes: tuple[str, ...]
    names: tuple[str, ...]


class UnlinkKeys(RedisMitigation):
    """Keys that fit a pattern are deleted; what they hold is freed in the background."""

    slug = "unlink-keys"
    action = "delete the keys that fit the pattern: SCAN, then UNLINK in batches"
    cost = "whoever needs these keys misses them at once: sessions are logged out, caches are cold, queues are empty"
    undo = "cannot be undone; what is a cache fills again by itself"
    nothing = "no key fits the pattern"

    def __init__(
        self, url: str | None, *, pattern: str, per_second: int, limit_seconds: float, database: int = ANY
    ) -> None:
        super().__init__(url, database=database, limit_seconds=limit_seconds)
        if pattern and not _GLOB.sub("", pattern):
            raise ParameterError(f"pattern: '{pattern}' fits every key; narrow it ('cache:*'), or approve flush-redis")
        if not 0 < per_second <= MOST_PER_SECOND:
            raise ParameterError(f"keys_per_second: {per_second} is not between 1 and {MOST_PER_SECOND}")
        self._pattern = pattern
        self._per_second = per_second
        self._found: dict[int, Preview] = {}
        self._gone = 0

    @classmethod
    def build(cls, context: Context, *, pattern: str = "", per_second: int = 5000, database: int = ANY) -> Self:
        """*pattern* as ``SCAN`` takes it, in one *database* or all; at most *per_second* keys are deleted a second."""
        limits = context.settings.limits
        return cls(
            context.endpoints.redis_url,
            pattern=pattern,
            per_second=per_second,
            limit_seconds=limits.reading_seconds,
            database=database,
        )

    @property
    def _planned(self) -> int:
        return sum(found.keys for found in self._found.values())

    def find_targets(self) -> Sequence[Target]:
        """One for each database of this server in which keys fit, with the prefixes that the pattern hits there.

        How many keys they are goes on changing; that a pattern hits keys of another kind must not pass unseen.
        """
        if not self._pattern:
            raise MitigationRefusedError("no pattern is named; choose a prefix of the table above: pattern='PREFIX*'")
        server, numbers = self._find_databases()
        self._found = {}
        for number in numbers:
            with self._client(number) as client:
                preview = look(client, self._pattern)
            if preview.keys:
                self._found[number] = preview
        self._expected = sum(found.mebibytes for found in self._found.values()) * 2**20
        return [self._target(number, server, found) for number, found in self._found.items()]

    def _target(self, number: int, server: str, found: Preview) -> Target:
        label = (
            f"{found.keys} of {found.of} keys fit '{self._pattern}', about {found.mebibytes:.1f} MiB, in database {number}; "
            f"prefixes: {', '.join(found.prefixes)}; such as {', '.join(found.names)}"
        )
        return Target((self._pattern, server, str(number), *found.prefixes), label)

    def action_of(self, _targets: Sequence[Target]) -> str:
        """The rate is part of the plan."""
        return f"{self.action} of {BATCH}, at most {self._per_second} keys a second"

    def cost_of(self, _targets: Sequence[Target]) -> str:
        return f"{self.cost}; takes about {max(1, round(self._planned / self._per_second))} s"

    def apply(self, target: Target) -> str:
        _, server, database, *_ = target.identity
        planned = self._found[int(database)].keys
        # Whoever writes faster than this deletes would keep it busy for ever.
        most = 2 * planned + 10 * BATCH
        began, gone = time.monotonic(), 0
        self.log_step(f"UNLINK {planned} keys that fit '{self._pattern}' in database {database}")
        with self._client(int(database)) as client:
            self._require_same_server(client, server)
            self._note_memory(client)
            used = float(client.info("memory")["used_memory"])
            keys = client.scan_iter(match=self._pattern, count=2 * BATCH)
            while gone < most and (batch := list(islice(keys, BATCH))):
                deleted = int(client.unlink(*batch))
                gone, self._gone = gone + deleted, self._gone + deleted
                time.sleep(max(0.0, began + gone / self._per_second - time.monotonic()))
            wait_until(lambda: not client.info("memory").get("lazyfree_pending_objects", 0), seconds=5.0)
            freed = used - float(client.info("memory")["used_memory"])
        return f"{gone} keys of database {database} were deleted in {time.monotonic() - began:.1f} s, {freed / 2**20:.1f} MiB are free again"

    def clean_up(self) -> str:
        return f"{self._gone} of about {self._planned} keys are gone, the others stay; the same again goes on"

    def verify(self, plan: Plan) -> str:
        """Few are there again, and their memory is free."""
        left = 0
        for target in plan.targets:
            with self._client(int(target.identity[2])) as client:
                left += look(client, self._pattern).keys
        if left > _LEFT_SHARE * self._planned:
            raise VerificationError(
                f"{left} keys fit '{self._pattern}', {self._planned} did before; stop whoever writes them, then run again"
            )
        again = f"{left} of them are there again, somebody goes on writing" if left else "none of them is left"
        with self._client() as client:
            return f"verified: {again}; {self._require_freed(client)}"


def look(client: Redis, pattern: str) -> Preview:
    """All keys are looked through, those that fit are counted, some are measured.

    MitigationRefusedError where that takes more than half a minute: nothing is deleted that was not seen.
    """
    until = time.monotonic() + _LOOK_SECONDS
    seen = 0
    prefixes: set[str] = set()
    sample: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=2 * BATCH):
        seen += 1
        prefixes.add(_prefix(key.decode(errors="replace")))
        if len(sample) < SAMPLED:
            sample.append(key)
        if time.monotonic() > until:
            raise MitigationRefusedError(
                f"looking through the keys takes more than {_LOOK_SECONDS:g} s ({seen} fit so far); narrow the pattern"
            )
    with client.pipeline(transaction=False) as pipe:
        for key in sample:
            pipe.memory_usage(key, samples=5)
        sizes = [size for size in pipe.execute() if size is not None]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    names = tuple(key.decode(errors="replace") for key in sorted(sample)[:SHOWN])
    hit = tuple(sorted(prefixes)) if len(prefixes) <= MOST_PREFIXES else (f"more than {MOST_PREFIXES}",)
    return Preview(seen, int(client.dbsize()), mean * seen / 2**20, hit, names)


def _prefix(key: str) -> str:
    found = prefix_of(key)
    return found if found != key else "(none)"
