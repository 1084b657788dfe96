"""One machine at a time sends an incident to the store.

A store of objects has no lock, but what was written to it is in the next listing (S3: "Data consistency model", since 2020).
Whoever wants to send writes a claim and then lists the claims: two who want it at once cannot both see only their own.
Whoever sees another's takes its own back and tries again a little later.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator

from flowrex_ops.archive.store import Store

FOLDER = ".turns"
STALE_SECONDS = 120.0
"""A claim this old is of somebody who died: nobody sends for longer (``remote.PUSH_SECONDS``, and one object's own time limit)."""
_PAUSE = (0.05, 0.4)


@contextlib.contextmanager
def turn(store: Store, incident: str, machine: str, check: Callable[[], None]) -> Iterator[None]:
    """Hold the turn to send *incident*; *check* is called before each try and raises where waiting has taken too long."""
    while not _claimed(store, incident, claim := f"{incident}@{time.time():.0f}-{machine}-{secrets.token_hex(3)}"):
        check()
        time.sleep(random.uniform(*_PAUSE))  # noqa: S311  (two who wait must not meet again, that is all)
    try:
        yield
    finally:
        store.remove(f"{FOLDER}/{claim}")


def _claimed(store: Store, incident: str, claim: str) -> bool:
    """Whether *claim* is the only one; where it is not, it is gone again."""
    alone = False
    store.write(f"{FOLDER}/{claim}", b"\n")
    try:
        alone = not [other for other in _claims(store, incident) if other != claim]
    finally:
        if not alone:
            store.remove(f"{FOLDER}/{claim}")
    return alone


def _claims(store: Store, incident: str) -> Iterator[str]:
    """The claims on *incident* of those who are alive."""
    for name in store.names(FOLDER):
        of, _, about = name.rpartition("@")
        since = about.partition("-")[0]
        if of != incident:
            continue
        if since.isdigit() and abs(time.time() - int(since)) < STALE_SECONDS:
            yield name
        else:
            store.remove(f"{FOLDER}/{name}")
