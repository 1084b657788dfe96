"""The drills of runbook ``memory_usage``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrex_sandbox import faults as f
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults import keyspace, memory

FAST: Mapping[str, float] = {"trend_minutes": 0.35, "sample_seconds": 5.0, "frag_mib": 10.0}
"""A trend over twenty seconds instead of half an hour, and holes that count from 10 MiB: the sandbox's Redis is small."""


CLEAN_UP: Mapping[str, Any] = {"approve": ("unlink-keys",), "cures": True}


def _memory(scenario: str, title: str, faults: tuple[f.Fault, ...], *expected: str, **more: Any) -> Drill:
    parameters = {**FAST, "pattern": "drill-*"}
    return Drill(scenario, title, faults, expected, runbook="memory_usage", parameters=parameters, **more)


COMPOSE_ONLY = ("compose",)

MEMORY: tuple[Drill, ...] = (
    _memory("memory-healthy", "nothing is wrong: memory stands still, Redis has room", ()),
    _memory(
        "memory-leak",
        "every replica leaks",
        (memory.MemoryLeak(),),
        "memory.leak",
        approve=("rolling-restart",),
        cures=True,
        alerts=("MemoryGrowing",),
    ),
    _memory(
        "memory-near-limit",
        "a cache in one replica takes most of what it may have, and does not grow",
        (memory.MemoryHeld(),),
        "memory.container-limit",
        alerts=("HighMemoryUsage",),
    ),
    # Only a container has a limit that the kernel kills for; a plain process would take the whole machine along.
    _memory(
        "oom-kill",
        "a request wants too much",
        (memory.OomKill(),),
        "memory.oom-killed",
        stacks=COMPOSE_ONLY,
        alerts=("BackendRestarted",),
    ),
    _memory(
        "redis-growth",
        "sessions without an expiry fill Redis",
        (keyspace.RedisGrows(),),
        "memory.redis-growth",
        alerts=("RedisMemoryGrowing",),
        **CLEAN_UP,
    ),
    _memory(
        "redis-evicting",
        "a cache is larger than Redis may be",
        (keyspace.RedisEvicts(),),
        "memory.redis-evicting",
    ),
    _memory(
        "redis-rejecting",
        "a queue that nobody reads has filled Redis, which may evict nothing",
        (keyspace.RedisRejects(),),
        "memory.redis-rejecting",
        alerts=("RedisMemoryHigh",),
        **CLEAN_UP,
    ),
    _memory(
        "redis-fragmented",
        "most values of one size were deleted, and left holes",
        (keyspace.RedisFragmented(),),
        "memory.redis-fragmentation",
    ),
    # The pressure is made inside a small limit of a container of its own; without one it would harm the machine.
    _memory(
        "host-pressure",
        "a neighbour on the same machine thrashes",
        (memory.Neighbour(),),
        "memory.host-pressure",
        stacks=COMPOSE_ONLY,
    ),
    _memory(
        "leak-and-evicting",
        "two at once: every replica leaks, and Redis evicts",
        (memory.MemoryLeak(), keyspace.RedisEvicts()),
        "memory.leak",
        "memory.redis-evicting",
    ),
    _memory(
        "high-but-flat",
        "red herring: a replica that uses most of its memory, below the threshold, and stands still",
        (memory.MemoryHeld(count=48),),
    ),
    # Page cache is counted against a container's limit, and against no plain process.
    _memory(
        "page-cache",
        "red herring: a replica near its limit by docker stats, of page cache that the kernel gives back",
        (memory.PageCache(),),
        stacks=COMPOSE_ONLY,
    ),
    _memory("redis-large-key", "red herring: one large list that does not grow", (keyspace.RedisLargeKey(),)),
    _memory("memory-hill", "red herring: memory rose for a report and fell again", (memory.MemoryHill(),)),
)
