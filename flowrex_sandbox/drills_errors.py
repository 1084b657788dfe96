"""The drills of runbook ``error_rate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowrex_sandbox import faults as f
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults import errors, release
from flowrex_sandbox.faults.outside import BrokerStopped

SHORT: Mapping[str, float | str] = {
    "since": "4m",
    "recent_minutes": 0.2,
    "baseline_minutes": 0.3,
    "deploy_lag_minutes": 0.3,
}
"""Seconds instead of minutes, so that nobody has to wait until a drill's failures are old."""


def _errors(scenario: str, title: str, faults: tuple[f.Fault, ...], *expected: str) -> Drill:
    return Drill(scenario, title, faults, expected, runbook="error_rate", parameters=dict(SHORT))


_BAD_RELEASE = release.Release(defects="equity-in-floats")

ERRORS: tuple[Drill, ...] = (
    _errors("errors-healthy", "nothing is wrong: no request fails", ()),
    replace(
        _errors("bad-deploy", "release 1.5.0 adds money to a float", (_BAD_RELEASE,), "http.bad-deploy"),
        alerts=("HighErrorRate",),
        approve=("rollback-bad-deploy",),
        cures=True,
    ),
    _errors("single-replica", "one replica's workers are dead", (errors.BrokenReplica(),), "http.single-replica"),
    _errors("single-route", "one route raises", (errors.RouteRaises(),), "http.single-route"),
    _errors("redis-failing", "Redis is stopped", (errors.RedisStopped(),), "http.dependency-failing"),
    _errors(
        "backend-stopped", "every replica is stopped: 502", (errors.BackendStopped(),), "http.upstream-unreachable"
    ),
    _errors("backend-hanging", "every replica is halted: 504", (errors.BackendHanging(),), "http.upstream-unreachable"),
    _errors(
        "new-exception", "a share of all requests raises something new", (errors.NewException(),), "http.new-exception"
    ),
    _errors(
        "new-exception-json",
        "the same, by replicas that log in JSON",
        (errors.NewExceptionInJson(),),
        "http.new-exception",
    ),
    replace(
        _errors("traffic-flood", "three clients exhaust the pools", (errors.Flood(),), "http.traffic-flood"),
        alerts=("HighErrorRate",),
        approve=("block-client",),
        cures=True,
    ),
    _errors(
        "route-and-flood",
        "two at once: one route raises, and three clients exhaust the pools",
        (errors.SessionsRaise(), errors.Flood()),
        "http.traffic-flood",
        "http.single-route",
    ),
    _errors(
        "bad-deploy-and-hanging-replica",
        "two at once: a bad release, and one replica that hangs",
        (_BAD_RELEASE, errors.BackendHanging(only=1)),
        "http.upstream-unreachable",
        "http.bad-deploy",
    ),
    _errors(
        "redis-and-broker",
        "two at once: Redis and the broker are stopped",
        (errors.RedisStopped(), BrokerStopped()),
        "http.dependency-failing",
    ),
    _errors("old-error-burst-http", "red herring: a burst of errors that is over", (errors.PastErrorBurst(),)),
    _errors(
        "clean-deploy-beside-errors",
        "red herring: a clean release, while Redis was stopped before it",
        (errors.RedisStopped(), release.Release("1.4.3")),
        "http.dependency-failing",
    ),
    _errors("client-mistake", "red herring: a client's orders lack a quantity: 400", (errors.MistakenClient(),)),
)
