"""How severe something is, from what users feel of it. One place, so that triage and the runbooks say the same.

P0: users get nothing. P1: a part is out, or most of something fails. P2: less than that. Nothing that could not be seen
makes it worse.

Severity follows impact, whatever the cause: a pool with less than half of its connections left, or one that cannot be
read, is P1. A silent front door with busy replicas behind it is P1, as those replicas' own runbook says; an outage
has one severity, from the share that fails since it began.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from flowrex_ops.checks import whole
from flowrex_ops.health import judge_answer, judge_door, judge_replicas
from flowrex_ops.metrics.backend import READINESS_COLUMNS
from flowrex_ops.metrics.pools import summarise_pools
from flowrex_ops.model import Reading, Severity

Frame = Reading[pd.DataFrame]

MOST = 0.5
"""From this share of failing requests on it is P1 by the playbook's table, below it P2."""
COMPLETE = 0.95
_ENOUGH = 10
_FEW_TRADES = 5
"""Of fewer trades, that all fail tells little."""
ROOMY_SHARE = 0.5
"""A pool with less than this share taken has room: what holds its connections does not hurt users yet."""
MEMORY_FULL = 0.97
"""From this share of its limit on the next request may be the one that a replica is killed for."""
_GATEWAY, _UNAVAILABLE = (502, 504), 503
"""The proxy's own words for a backend that does not answer."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is a symptom: shares of requests, trades, slots, memory limits and filesystems; days left."""

    error_share: float = 0.05
    trade_share: float = 0.02
    slots_share: float = 0.9
    memory_share: float = 0.85
    full_share: float = 0.9
    warn_days: float = 21.0


def of_failures(failed: int, requests: int) -> Severity:
    """Of *requests* *failed*: P0 where nearly none is served (what the proxy answers by itself still is), else by the share."""
    share = failed / max(1, requests)
    return Severity.P0 if share >= COMPLETE and requests >= _ENOUGH else of_share(share)


def of_refusals(share: float) -> Severity:
    """Of requests that are refused (4xx) though they were not before: whoever is refused is not served."""
    return of_share(share)


def of_share(share: float) -> Severity:
    """Of requests that fail."""
    return Severity.P1 if share >= MOST else Severity.P2


def of_trades(failed: int, attempted: int) -> Severity:
    """Of *attempted* trades *failed*: P0 where trading is blocked, since nearly none is filled; else P1, as the playbook has it."""
    blocked = attempted >= _FEW_TRADES and failed / attempted >= COMPLETE
    return Severity.P0 if blocked else Severity.P1


def of_door(front_door: Frame, health: Frame) -> Severity:
    """The way in that users take is unhealthy: P0 where nothing answers there, but not for replicas that are only busy.

    Behind a door that is silent, replicas that are reached and not ready (all their connections are taken, say) are
    what it waits for, and no more severe there than where they are asked themselves.
    """
    status = front_door.require()["status"].iloc[0]
    asked = whole(health.require(), READINESS_COLUMNS) if health.available else pd.DataFrame(columns=READINESS_COLUMNS)
    # HAProxy, Traefik and Envoy say 503 where no backend is left, others where they are closed for maintenance.
    deserted = status == _UNAVAILABLE and len(asked) > 0 and bool(asked["refused"].eq(True).all())  # noqa: FBT003  # a value of the column
    if not (pd.isna(status) or status in _GATEWAY or deserted):
        return Severity.P1
    busy = [row for row in asked.to_dict("records") if judge_answer(row)[0] is False and row["refused"] is not True]
    return Severity.P1 if busy else Severity.P0


def of_replicas(judged: pd.DataFrame) -> Severity:
    """Replicas that are not ready: P1 where none is left, for the others serve their users."""
    return Severity.P1 if judged["ready"].map(lambda ready: ready is False).all() else Severity.P2


def of_health(services: Frame, health: Frame, front_door: Frame) -> Severity:
    """What is unhealthy, taken together."""
    judged = judge_replicas(services, health)
    unready = judged["ready"].map(lambda ready: ready is False).any()
    found = [of_replicas(judged)] if len(judged) and unready else []
    if front_door.available and judge_door(front_door.require())[0] is False:
        found.append(of_door(front_door, health))
    return min(found, default=Severity.P2)


def of_pools(pools: Frame | None) -> Severity:
    """P2 while every pool still has half of its connections to give; P1 once one has not, or when that cannot be read."""
    if pools is None or not pools.available:
        return Severity.P1
    summary = summarise_pools(pools.require())
    spare = summary["in_use"].lt(summary["maximum"] * ROOMY_SHARE) & summary["answered"].astype(bool)
    return Severity.P2 if len(summary) and bool(spare.all()) else Severity.P1


def of_memory(share: float) -> Severity:
    """Of a replica that nears its limit, and of a store that fills up."""
    return Severity.P1 if share >= MEMORY_FULL else Severity.P2
