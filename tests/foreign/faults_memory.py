"""Redis, whose database 1 the desk uses, and a replica that hoards."""

from __future__ import annotations

from collections.abc import Iterator

from faults import fault
from harbor import Harbor

_FILL = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'basket:' .. i, string.rep('x', 4000)) end"


@fault({"memory_usage": "memory.redis-growth"}, "basket:", sample_seconds=2.0)
def baskets_pile_up(harbor: Harbor) -> Iterator[None]:
    """Four fifths of Redis is one prefix of database 1."""
    harbor.redis("EVAL", _FILL, "0", "9500")
    yield
    harbor.redis("FLUSHDB")


@fault({"memory_usage": "memory.redis-rejecting"}, "basket:", sample_seconds=2.0)
def redis_takes_no_more(harbor: Harbor) -> Iterator[None]:
    """Full, and nothing may be evicted: writes are refused."""
    harbor.redis("EVAL", _FILL, "0", "20000")
    harbor.await_answers(500, "/v1/quotes/")
    yield
    harbor.redis("FLUSHDB")


@fault({"memory_usage": "memory.leak"}, "desk-2", sample_seconds=10.0)
def one_replica_hoards(harbor: Harbor) -> Iterator[None]:
    """Six megabytes a second, seen by the engine alone; a replica that was started just now would be left in peace."""
    harbor.await_age("desk", 45)
    with harbor.switch(harbor.second("hoards")):
        yield
