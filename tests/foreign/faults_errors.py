"""Requests fail: by route, by replica, by dependency, by release, and without a word."""

from __future__ import annotations

from collections.abc import Iterator

from faults import fault
from harbor import Harbor


@fault({"error_rate": "http.single-route"}, "/v1/statements/daily")
def one_route_raises(harbor: Harbor) -> Iterator[None]:
    """A ``KeyError`` of its own code, logged by uvicorn."""
    harbor.renew()
    with harbor.switch("statement"):
        harbor.await_answers(500, "/v1/statements/daily")
        yield


@fault({"error_rate": "http.single-replica"}, "desk-2")
def one_replica_fails_its_orders(harbor: Harbor) -> Iterator[None]:
    """``combined`` does not name the replica; its own log does."""
    harbor.renew()
    with harbor.switch(harbor.second("orders")):
        harbor.await_answers(500, "/v1/orders", number=12)
        yield


@fault({"error_rate": "http.unexplained-errors"})
def errors_without_a_word(harbor: Harbor) -> Iterator[None]:
    """A fifth of all answers is 500, and no log has a line more about it."""
    harbor.renew()
    with harbor.switch("mute"):
        harbor.await_answers(500, number=20)
        yield


@fault({"error_rate": "http.bad-deploy"}, "3.2.0")
def last_deploy_broke_it(harbor: Harbor) -> Iterator[None]:
    """Another tag, containers made anew, the proxy told; since then quotes fail."""
    harbor.renew()
    harbor.deploy("3.2.0")
    try:
        harbor.await_answers(500, "/v1/quotes/", number=8)
        yield
    finally:
        harbor.deploy("3.1.0")


@fault({"error_rate": "http.dependency-failing", "trade_failures": "trades.broker-unreachable"}, "venue")
def venue_is_gone(harbor: Harbor) -> Iterator[None]:
    """The desk answers 502 by itself, which is no fault of the proxy."""
    harbor.renew()
    harbor.change("DELETE FROM trades")
    harbor.compose("stop", "-t", "0", "venue")
    try:
        harbor.await_answers(502, "/v1/orders", number=12)
        yield
    finally:
        harbor.compose("up", "-d", "venue")


@fault(
    {"error_rate": "http.dependency-failing", "triage": "service.down", "database_connections": "db.unreachable"},
)
def ledger_is_stopped(harbor: Harbor) -> Iterator[None]:
    """PostgreSQL stops; what needs it fails with psycopg2's own words."""
    harbor.renew()
    harbor.compose("stop", "ledger")
    try:
        harbor.await_answers(500, number=20)
        yield
    finally:
        harbor.compose("up", "-d", "ledger")
