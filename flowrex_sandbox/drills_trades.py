"""The drills of runbook ``trade_failures``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrex_sandbox import faults as f
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults import outside
from flowrex_sandbox.faults.trading import OrdersAboveRiskLimit, TradesNotWritable, TradesVetoed

RECENT: Mapping[str, float] = {"recent_minutes": 0.15}
"""Nine seconds, so that nobody has to wait five minutes until a drill's failures are old."""


def _trades(scenario: str, title: str, faults: tuple[f.Fault, ...], *expected: str, **more: Any) -> Drill:
    return Drill(scenario, title, faults, expected, runbook="trade_failures", parameters=dict(RECENT), **more)


TRADES: tuple[Drill, ...] = (
    _trades("trades-healthy", "nothing is wrong: every trade is filled", ()),
    _trades("broker-down", "the broker is gone", (outside.BrokerStopped(),), "trades.broker-unreachable"),
    _trades(
        "broker-malformed",
        "the broker answers with half of a JSON document",
        (outside.broker_malformed(),),
        "trades.broker-unreachable",
    ),
    _trades("broker-slow", "the broker takes three seconds", (outside.broker_slow(),), "trades.broker-slow"),
    _trades("broker-silent", "the broker accepts and never answers", (outside.broker_silent(),), "trades.broker-slow"),
    _trades(
        "broker-credentials", "our token has expired", (outside.broker_unauthorized(),), "trades.broker-credentials"
    ),
    _trades(
        "broker-rejects-symbol",
        "the broker has halted one symbol",
        (outside.broker_rejects(),),
        "trades.rejected-by-broker",
    ),
    _trades("broker-throttles", "too many requests: 429", (outside.broker_throttles(),), "trades.rejected-by-broker"),
    _trades("risk-limit", "a client's orders are above the risk limit", (OrdersAboveRiskLimit(),), "trades.risk-limit"),
    _trades(
        "trades-not-writable", "the right to insert trades was taken away", (TradesNotWritable(),), "trades.database"
    ),
    _trades(
        "trades-vetoed",
        "a trigger fails every second trade with words that nobody knows",
        (TradesVetoed(),),
        "trades.unexplained-failures",
    ),
    _trades(
        "rejected-and-risk",
        "two at once: one symbol is halted, and a client's orders are above the risk limit",
        (outside.broker_rejects(), OrdersAboveRiskLimit(per_second=12)),
        "trades.rejected-by-broker",
        "trades.risk-limit",
    ),
    _trades(
        "slow-broker-and-leaking-pool",
        "red herring: a broker that is slow but in time, beside a pool that leaks until no trade can be written",
        (outside.broker_slow(0.8), f.OpenTransactions()),
        "trades.database",
    ),
    _trades("old-broker-outage", "red herring: an outage of the broker that is over", (outside.PastBrokerOutage(),)),
    _trades(
        "few-risk-blocks",
        "red herring: a few orders above the risk limit, as every day",
        (OrdersAboveRiskLimit(per_second=0.4, enough=1),),
    ),
)
