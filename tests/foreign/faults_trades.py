"""Orders fail at the venue, in the words of requests and urllib3."""

from __future__ import annotations

from collections.abc import Iterator

from faults import fault
from harbor import Harbor


def _orders_fail(harbor: Harbor, switch: str) -> Iterator[None]:
    harbor.change("DELETE FROM trades")
    with harbor.switch(switch):
        harbor.await_in_database("SELECT count(*) FROM trades WHERE status = 'failed'", 8)
        yield


@fault({"trade_failures": "trades.broker-credentials"}, "401 Client Error")
def venue_knows_no_such_key(harbor: Harbor) -> Iterator[None]:
    """HTTP 401 to every order."""
    yield from _orders_fail(harbor, "venue-401")


@fault({"trade_failures": "trades.broker-credentials"}, "403 Client Error")
def venue_forbids(harbor: Harbor) -> Iterator[None]:
    """HTTP 403 to every order."""
    yield from _orders_fail(harbor, "venue-403")


@fault({"trade_failures": "trades.broker-unreachable"}, "500 Server Error")
def venue_fails(harbor: Harbor) -> Iterator[None]:
    """HTTP 500 to every order."""
    yield from _orders_fail(harbor, "venue-500")


@fault({"trade_failures": "trades.broker-slow"}, "Read timed out")
def venue_hangs(harbor: Harbor) -> Iterator[None]:
    """It takes orders and does not answer."""
    yield from _orders_fail(harbor, "venue-hangs")
    # What still waits for it would fail among the next fault's orders.
    harbor.renew("desk")


@fault({"trade_failures": "trades.rejected-by-broker"}, "422")
def venue_rejects(harbor: Harbor) -> Iterator[None]:
    """HTTP 422 to every order."""
    yield from _orders_fail(harbor, "venue-422")
