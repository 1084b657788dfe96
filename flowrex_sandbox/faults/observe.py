"""What the sandbox looks at to know that a fault is in place, or gone: raw SQL and the replicas' own gauges."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from flowrex_sandbox.sandbox import Sandbox

_SAMPLE = re.compile(
    r"^flowrex_database_(connections|connections_max|pool_waiting|pool_errors_total) (\S+)$", re.MULTILINE
)

_LAST_FAILED = re.compile(r'^flowrex_trades_last_failed_timestamp_seconds\{reason="([^"]+)"\} (\S+)$', re.MULTILINE)

STUCK = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND (cardinality(pg_blocking_pids(pid)) > 0 OR (state <> 'idle' AND now() - xact_start > interval '1 second'))
"""


@dataclass(frozen=True, slots=True)
class Pool:
    """A replica's pool at one moment; ``errors`` counts requests that got no connection since the replica started."""

    in_use: int
    size: int
    waiting: int
    errors: int


def get_pools(sandbox: Sandbox) -> list[Pool]:
    """One per running replica that answers."""
    names = ("connections", "connections_max", "pool_waiting", "pool_errors_total")
    pages = (dict(_SAMPLE.findall(text)) for text in sandbox.read_replicas("/metrics"))
    return [Pool(*(int(float(found.get(name, 0))) for name in names)) for found in pages]


def last_failure_age(sandbox: Sandbox, reason: str = "") -> float:
    """Seconds since a trade failed in any replica, for *reason* or any; infinite when none has."""
    pages = [_LAST_FAILED.findall(text) for text in sandbox.read_replicas("/metrics")]
    times = [float(value) for page in pages for name, value in page if reason in ("", name)]
    return time.time() - max(times) if times else float("inf")


def all_pools(sandbox: Sandbox) -> list[Pool]:
    """As ``get_pools``, but empty unless every replica of the sandbox answered."""
    pools = get_pools(sandbox)
    return pools if len(pools) == sandbox.state.replicas else []


def count(sandbox: Sandbox, statement: str) -> int:
    """The number that *statement* gives the superuser."""
    return int(sandbox.query(statement)[0][0])


def is_quiet(sandbox: Sandbox) -> bool:
    """No session is blocked or long inside a transaction, and no pool is full or waited for."""
    pools = all_pools(sandbox)
    free = bool(pools) and all(pool.waiting == 0 and pool.in_use < pool.size for pool in pools)
    prepared = "SELECT count(*) FROM pg_prepared_xacts"
    return free and count(sandbox, STUCK) == 0 and count(sandbox, prepared) == 0
