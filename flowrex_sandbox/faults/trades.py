"""Trades that fail: a broker that is down, slow, strict or picky, a table that cannot be written, orders above the risk limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from http import HTTPStatus
from typing import Any, ClassVar

from flowrex_ops.errors import SandboxError
from flowrex_ops.metrics.market_data import read_price_times
from flowrex_sandbox.clients import start_client
from flowrex_sandbox.drill import drills_of
from flowrex_sandbox.faults.base import ENOUGH, STOP_SECONDS, Fault, PastFault, ReplicaBug, Stopped, TroubleClient
from flowrex_sandbox.faults.observe import count, last_failure_age
from flowrex_sandbox.faults.pool import OpenTransactions
from flowrex_sandbox.health import await_outside
from flowrex_sandbox.sandbox import Sandbox, get_answer

_JUST_NOW_SECONDS = 3.0
_LATELY = "SELECT count(*) FROM trades WHERE created_at > now() - interval '30 seconds' AND "
_STRANGE = "desk 4 says no (E77)"


def _failed(sandbox: Sandbox, message: str) -> bool:
    """Whether enough trades failed lately with a message like this."""
    return count(sandbox, f"{_LATELY} status = 'failed' AND error_message LIKE '{message}'") >= ENOUGH


def set_fault(sandbox: Sandbox, service: str, fault: Mapping[str, Any]) -> None:
    """Give an outside service a fault; an empty one takes it away."""
    url = f"{sandbox.outside_url}/_control/{service}"
    if get_answer(url, method="POST" if fault else "DELETE", body=fault) != HTTPStatus.OK:
        raise SandboxError(f"'{url}' did not take the fault; run 'flowrex-ops drill reset'")


def clear_faults(sandbox: Sandbox, *services: str) -> None:
    """Take the faults of outside services away, where somebody answers for them."""
    if get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1):
        for service in services:
            set_fault(sandbox, service, {})


class BrokerFault(Fault):
    """A fault of the broker's own; ``message`` is how trades that failed of it say so in SQL's LIKE."""

    message: str = ""
    fault: Mapping[str, Any] = field(default_factory=dict)

    def start(self, sandbox: Sandbox) -> None:
        set_fault(sandbox, "broker", self.fault)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not self.message or _failed(sandbox, self.message)

    def stop(self, sandbox: Sandbox) -> None:
        clear_faults(sandbox, "broker")


SLOW = BrokerFault("broker timeout%", {"fault": "slow", "seconds": 3})
"""The backend's adapter waits for two seconds."""
SLOW_BUT_IN_TIME = BrokerFault("", {"fault": "slow", "seconds": 0.8})
_HALTED = {"fault": "reject", "symbol": "XAUUSD", "reason": "MARKET_HALTED"}
REJECTS = BrokerFault("rejected by broker: MARKET_HALTED%", _HALTED)


class BrokerStopped(Stopped):
    """The broker is gone."""

    service = "broker-stub"

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _failed(sandbox, "broker unreachable%")

    def await_answer(self, sandbox: Sandbox) -> None:
        await_outside(sandbox, timeout_seconds=STOP_SECONDS)


class PastBrokerOutage(PastFault):
    """An outage of the broker is over.

    Its failed trades stand in the table.
    """

    def start(self, sandbox: Sandbox) -> None:
        outage = BrokerStopped()
        outage.start(sandbox)
        outage.await_in_place(sandbox)
        outage.stop(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_trouble(sandbox) > age_seconds


class TradesNotWritable(Fault):
    """The right to insert trades was taken away."""

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute("REVOKE INSERT ON trades FROM flowrex")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return last_failure_age(sandbox, "database") < _JUST_NOW_SECONDS

    def stop(self, sandbox: Sandbox) -> None:
        if not sandbox.query("SELECT has_table_privilege('flowrex', 'trades', 'INSERT')")[0][0]:
            sandbox.execute("GRANT INSERT ON trades TO flowrex")


class TradesVetoed(Fault):
    """A trigger fails every second trade with words that nobody knows."""

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute(
            "CREATE OR REPLACE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" NEW.status := 'failed'; NEW.error_message := '{_STRANGE}'; RETURN NEW; END $$"
        )
        sandbox.execute(
            "CREATE OR REPLACE TRIGGER veto BEFORE UPDATE ON trades FOR EACH ROW"
            " WHEN (NEW.status = 'filled' AND NEW.id % 2 = 0) EXECUTE FUNCTION veto()"
        )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return _failed(sandbox, _STRANGE)

    def stop(self, sandbox: Sandbox) -> None:
        sandbox.execute("DROP TRIGGER IF EXISTS veto ON trades")


class OrdersAboveRiskLimit(TroubleClient):
    """A client's orders are above the risk limit."""

    per_second: float = 8.0
    enough: int = 8

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, "whale", urls=sandbox.backend_urls(), rate=self.per_second)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, f"{_LATELY} status = 'blocked'") >= self.enough


class OrdersNeverBooked(Fault):
    """Every second order that the broker fills is never booked."""

    threshold = "stuck_after_seconds"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute(
            "CREATE OR REPLACE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
        )
        sandbox.execute(
            "CREATE OR REPLACE TRIGGER forget BEFORE UPDATE ON trades FOR EACH ROW"
            " WHEN (NEW.status = 'filled' AND NEW.id % 2 = 0) EXECUTE FUNCTION forget()"
        )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        old = f"{_LATELY} status = 'pending' AND created_at < now() - interval '{age_seconds} seconds'"
        return count(sandbox, old) >= ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        """Also whatever another fault has left behind: orders that were never booked."""
        sandbox.execute("DROP TRIGGER IF EXISTS forget ON trades")
        sandbox.execute("UPDATE trades SET status = 'cancelled' WHERE status = 'pending'")


class OrdersRepeated(TroubleClient):
    """A client places one order again and again, and each is filled.

    Nobody else's orders are of such a small quantity.
    """

    kind: ClassVar[str] = "repeater"
    per_second: float = 8.0
    enough: int = 10 * ENOUGH

    def start(self, sandbox: Sandbox) -> None:
        start_client(sandbox, self.kind, urls=sandbox.backend_urls(), rate=self.per_second)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, f"{_LATELY} status = 'filled' AND quantity < 1") >= self.enough

    def stop(self, sandbox: Sandbox) -> None:
        super().stop(sandbox)
        sandbox.execute("UPDATE trades SET status = 'cancelled' WHERE status = 'filled' AND quantity < 1")


class OrdersRunAway(OrdersRepeated):
    """One account's program places orders in a loop, no two alike, and each is filled."""

    kind = "runaway"


class FeedStopped(ReplicaBug):
    """No price comes any more, and nothing fails."""

    bugs = ("feed-stopped",)
    threshold = "stale_seconds"
    symbols: ClassVar[tuple[str, ...]] = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        pages = [read_price_times(page) for page in sandbox.read_replicas("/metrics")]
        newest = max((page.get(symbol, 0.0) for page in pages for symbol in self.symbols), default=0.0)
        return 0 < newest < time.time() - age_seconds


class GoldStandsStill(FeedStopped):
    """Prices of one symbol no longer come, those of the others do."""

    bugs = ("feed-without-gold",)
    symbols = ("XAUUSD",)


class GoldIsQuiet(ReplicaBug):
    """Prices of one symbol come seldom, and come."""

    bugs = ("feed-quiet-gold",)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        pages = [read_price_times(page) for page in sandbox.read_replicas("/metrics")]
        return bool(pages) and all(page["EURUSD"] - page["XAUUSD"] > _JUST_NOW_SECONDS for page in pages)


def seconds_since_trouble(sandbox: Sandbox) -> float:
    """Since when every trade has been filled, by the table and by what the replicas say of their last failure."""
    newest = "SELECT extract(epoch FROM now() - max(created_at)) FROM trades WHERE status IN ('failed', 'blocked', 'cancelled')"
    age = sandbox.query(newest)[0][0]
    return min(float(age) if age is not None else float("inf"), last_failure_age(sandbox))


FAST = {"recent_minutes": 0.15, "reconcile_minutes": 0.2, "settle_seconds": 3.0}
"""Nine seconds (and twelve), so that nobody has to wait five minutes until a drill's failures are old."""

STALE = {**FAST, "stale_seconds": 8.0}
drill = drills_of("trade_failures", **FAST)
DRILLS = (
    drill("trades-healthy", title="nothing is wrong: every trade is filled"),
    drill("broker-down", BrokerStopped(), expected="trades.broker-unreachable"),
    drill(
        "broker-malformed",
        BrokerFault("broker answer is malformed%", {"fault": "malformed"}),
        title="the broker answers with half of a JSON document",
        expected="trades.broker-unreachable",
    ),
    drill(
        "broker-drops-answers",
        BrokerFault("broker timeout%", {"fault": "dropped"}),
        title="the broker fills every third order, and its answer never comes",
        expected="trades.broker-slow trades.unreconciled",
    ),
    drill("broker-slow", SLOW, title="the broker takes three seconds", expected="trades.broker-slow"),
    drill(
        "broker-silent",
        BrokerFault("broker timeout%", {"fault": "silent"}),
        title="the broker accepts and never answers",
        expected="trades.broker-slow",
    ),
    drill(
        "broker-credentials",
        BrokerFault("broker credentials refused%", {"fault": "unauthorized"}),
        title="our token has expired",
        expected="trades.broker-credentials",
    ),
    drill(
        "broker-rejects-symbol",
        REJECTS,
        title="the broker has halted one symbol",
        expected="trades.rejected-by-broker",
    ),
    drill(
        "broker-throttles",
        BrokerFault("broker rate limit%", {"fault": "rate-limit"}),
        title="too many requests: 429",
        expected="trades.rejected-by-broker",
    ),
    drill("risk-limit", OrdersAboveRiskLimit(), expected="trades.risk-limit"),
    drill("trades-not-writable", TradesNotWritable(), expected="trades.database"),
    drill("trades-vetoed", TradesVetoed(), expected="trades.unexplained-failures trades.unreconciled"),
    drill(
        "rejected-and-risk",
        REJECTS,
        OrdersAboveRiskLimit(per_second=12),
        title="two at once: one symbol is halted, and a client's orders are above the risk limit",
        expected="trades.rejected-by-broker trades.risk-limit",
    ),
    drill(
        "slow-broker-and-leaking-pool",
        SLOW_BUT_IN_TIME,
        OpenTransactions(),
        title="red herring: a broker that is slow but in time, beside a pool that leaks until no trade can be written",
        expected="trades.database",
        # So that trades which were written are among the recent ones; and what was filled as the pool ran dry is not compared.
        parameters={**FAST, "recent_minutes": 3.0, "settle_seconds": 60.0},
    ),
    drill(
        "orders-stuck",
        OrdersNeverBooked(),
        expected="trades.stuck trades.unreconciled",
        parameters={**FAST, "stuck_after_seconds": 3},
    ),
    drill(
        "broker-takes-its-time",
        SLOW_BUT_IN_TIME,
        title="red herring: orders are without an outcome for most of a second each",
        parameters={**FAST, "stuck_after_seconds": 3},
    ),
    drill("orders-duplicated", OrdersRepeated(), expected="trades.duplicated trades.runaway-rate"),
    drill(
        "orders-sliced",
        OrdersRepeated(per_second=0.5, enough=ENOUGH),
        title="red herring: a large order in slices, the same again every two seconds",
    ),
    drill("orders-run-away", OrdersRunAway(), expected="trades.runaway-rate", alerts="TradesSurging"),
    drill(
        "orders-of-a-busy-account",
        OrdersRunAway(per_second=0.8, enough=ENOUGH),
        title="red herring: one account trades more than before",
    ),
    drill("prices-stand-still", FeedStopped(), expected="market-data.stale", parameters=STALE),
    drill(
        "one-price-stands-still",
        GoldStandsStill(),
        expected="market-data.stale",
        parameters=STALE,
        alerts="MarketDataStale",
    ),
    drill("quiet-symbol", GoldIsQuiet()),
    drill("old-broker-outage", PastBrokerOutage()),
    drill(
        "few-risk-blocks",
        OrdersAboveRiskLimit(per_second=0.4, enough=1),
        title="red herring: a few orders above the risk limit, as every day",
    ),
)
