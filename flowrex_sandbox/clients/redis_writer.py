"""A client that fills Redis, as a process of its own; run by path: ``python redis_writer.py KIND``.

``FLOWREX_HOLDER_URLS`` is Redis' address. Everything that it writes begins with ``drill-``, and is bounded.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time

import redis

KIB, MIB = 2**10, 2**20
QUOTES = [f"drill-quote:{number:06d}" for number in range(10_000)]
_RANDOM = random.Random(7)  # noqa: S311  # filler needs no cryptography


def filler(size: int) -> bytes:
    """A value that does not compress or repeat."""
    return _RANDOM.randbytes(size)


def write(client: redis.Redis, prefix: str, number: int, size: int, *, seconds: int | None = None) -> None:
    """*number* values of *size* bytes under *prefix*, in one round trip."""
    with client.pipeline(transaction=False) as pipe:
        for _ in range(number):
            pipe.set(f"{prefix}{_RANDOM.getrandbits(64):x}", filler(size), ex=seconds)
        pipe.execute(raise_on_error=False)


def grow(client: redis.Redis) -> None:
    """Sessions that nobody gave an expiry, 320 KiB a second up to 40 MiB; and prices, which have one."""
    for _ in range(500):
        write(client, "drill-session:", 80, KIB)
        write(client, "drill-price:", 4, 128, seconds=5)
        time.sleep(0.25)
    threading.Event().wait()


def churn(client: redis.Redis) -> None:
    """A cache that is written faster than it fits."""
    while True:
        write(client, "drill-cache:", 100, KIB, seconds=3600)
        time.sleep(0.1)


def refuse(client: redis.Redis) -> None:
    """A queue that nobody reads, until nothing fits and after; at first fast."""
    for number in itertools.count():
        write(client, "drill-queue:", 100 if number < 100 else 2, KIB)  # noqa: PLR2004  # then full
        time.sleep(0.05)


def fragment(client: redis.Redis) -> None:
    """Forty thousand values of one size, of which each tenth stays: every page is held by a few."""
    keys = [f"drill-quote:{number:06d}" for number in range(40_000)]
    for start in range(0, len(keys), 500):
        client.mset({key: filler(KIB) for key in keys[start : start + 500]})
    gone = [key for number, key in enumerate(keys) if number % 10]
    for start in range(0, len(gone), 500):
        client.unlink(*gone[start : start + 500])


def write_large(client: redis.Redis) -> None:
    """One list of 12 MiB, written once."""
    for _ in range(12):
        client.rpush("drill-report", *(filler(KIB) for _ in range(1024)))


def index(client: redis.Redis) -> None:
    """A quarter of a million small keys."""
    for start in range(0, 250_000, 1000):
        client.mset({f"drill-quote:of-the-last-hour:{number:06d}": filler(48) for number in range(start, start + 1000)})


def ask_for_keys(client: redis.Redis) -> None:
    """A report that looks for its own keys among all, and finds none."""
    index(client)
    while True:
        client.keys("drill-report:*")
        time.sleep(0.03)


def walk(client: redis.Redis) -> None:
    """A job that walks through all keys bit by bit, again and again."""
    index(client)
    cursor = 0
    while True:
        cursor, _ = client.scan(cursor, "drill-report:*", count=500)
        time.sleep(0.002)


def look_up(client: redis.Redis, seconds: float) -> None:
    """A backend that reads quotes from its cache, for a while; what is not there it reads anew, and keeps for two seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = _RANDOM.choice(QUOTES)
        if client.get(key) is None:
            client.set(key, filler(48), ex=2)
        time.sleep(0.008)


def flush(client: redis.Redis) -> None:
    """A warm cache, which somebody empties."""
    client.mset({key: filler(48) for key in QUOTES})
    client.mget(QUOTES)  # so many at once that they stay what is usual for as long as the misses are looked at
    client.flushdb()
    look_up(client, 600)


def poll(client: redis.Redis) -> None:
    """A warm cache, and after a while somebody who asks for the results of jobs that are not there yet."""
    client.mset({key: filler(48) for key in QUOTES})
    look_up(client, 18)  # what Redis has counted must not be mostly of the polling
    threading.Thread(target=look_up, args=(client, 600), daemon=True).start()
    while True:
        client.get("drill-result:of-a-job")
        time.sleep(0.025)


def connect(client: redis.Redis) -> None:
    """A pool without a bound: connections that are opened and never used again."""
    url = os.environ["FLOWREX_HOLDER_URLS"]
    held = [client, *(redis.Redis.from_url(url) for _ in range(73))]
    for one in held:
        one.ping()
    threading.Event().wait()


KINDS = {
    "connect": connect,
    "keys": ask_for_keys,
    "flush": flush,
    "poll": poll,
    "walk": walk,
    "grow": grow,
    "churn": churn,
    "refuse": refuse,
    "fragment": fragment,
    "large": write_large,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](redis.Redis.from_url(os.environ["FLOWREX_HOLDER_URLS"], socket_timeout=10))
