"""The drills of runbook ``triage``."""

from __future__ import annotations

from typing import Any

from flowrex_sandbox import faults as f
from flowrex_sandbox.drill import BOTH, Drill
from flowrex_sandbox.faults import database, errors, outside, platform, release

PARAMETERS = {"recent_minutes": 0.15, "reading_seconds": 10.0}
"""Nine seconds, so that what failed in the drill before is old; and time enough on a machine that runs other tests."""


def _triage(
    scenario: str, title: str, faults: tuple[f.Fault, ...], *expected: str, stacks: tuple[str, ...] = BOTH, **more: Any
) -> Drill:
    parameters: dict[str, Any] = dict(PARAMETERS)
    return Drill(scenario, title, faults, expected, runbook="triage", parameters=parameters, stacks=stacks, **more)


TRIAGE: tuple[Drill, ...] = (
    _triage("triage-healthy", "nothing is wrong anywhere", ()),
    _triage(
        "triage-redis-down",
        "Redis is stopped",
        (errors.RedisStopped(),),
        "service.down",
        leads_to="error_rate",
        alerts=("ServiceDown",),
    ),
    _triage(
        "triage-nginx-hanging",
        "NGINX accepts users and never answers",
        (f.NginxHanging(),),
        "service.unhealthy",
        leads_to="error_rate",
        alerts=("FrontDoorDown",),
    ),
    _triage(
        "triage-replica-crashing", "a replica dies again and again", (platform.ReplicaCrashing(),), "service.restarting"
    ),
    # A filesystem of its own, which can be filled without harm, takes root to mount where there are no containers.
    _triage(
        "triage-disk-full",
        "NGINX's cache has no room left",
        (platform.DiskFilled(),),
        "service.disk-full",
        stacks=("compose",),
    ),
    _triage(
        "triage-outage-announced", "the broker announces an outage", (platform.outage("oanda"),), "external.outage"
    ),
    _triage(
        "triage-postgres-down",
        "PostgreSQL is stopped: it is down, and no replica of the backend is ready",
        (f.PostgresStopped(),),
        "service.down",
        "service.unhealthy",
        leads_to="database_connections",
        alerts=("PostgresDown", "DatabasePoolErrors"),
    ),
    _triage(
        "triage-pool-leak",
        "handlers open transactions and never end them",
        (f.OpenTransactions(),),
        "service.unhealthy",
        leads_to="database_connections",
        alerts=("DatabasePoolExhausted", "DatabaseConnectionsHigh"),
    ),
    _triage(
        "triage-broker-slow",
        "no service is ill, and trades fail: the broker takes three seconds",
        (outside.broker_slow(),),
        leads_to="trade_failures",
        alerts=("TradeFailuresIncreasing", "TradeFailureRateHigh", "TradesNotExecuting", "BackendErrorsLogged"),
    ),
    _triage(
        "triage-lock-gone",
        "red herring: everybody waited six seconds for a lock that is gone",
        (database.PastLock(),),
        leads_to="database_connections",
        alerts=("SlowResponses",),
    ),
    _triage(
        "triage-route-broken",
        "no service is ill, and one route raises",
        (errors.RouteRaises(),),
        leads_to="error_rate",
        alerts=("HighErrorRate",),
    ),
    _triage(
        "triage-down-and-outage",
        "two at once: Redis is stopped, and TwelveData announces an outage",
        (errors.RedisStopped(), platform.outage("twelvedata", "major")),
        "service.down",
        "external.outage",
        leads_to="error_rate",
    ),
    _triage(
        "triage-degraded-elsewhere",
        "red herring: a status page tells of degraded performance, and the backend was deployed just now",
        (release.Release("1.4.3"), platform.outage("cloudflare", "minor")),
    ),
)
