"""Faults of what is outside: a broker that is down, slow, strict or picky; by its control endpoint, or by stopping it."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrex_ops.errors import SandboxError
from flowrex_ops.model import Replica
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.observe import count, last_failure_age
from flowrex_sandbox.health import await_outside
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition

_STOP_SECONDS = 20.0
_ADAPTER_SECONDS = 2.0
"""How long the backend's adapter waits for the broker."""

_ENOUGH = 4
"""Failed trades that a fault must have cost before the runbook is asked."""

_FAILED = """
SELECT count(*) FROM trades
WHERE status = 'failed' AND error_message LIKE '{message}' AND created_at > now() - interval '30 seconds'
"""


def set_fault(sandbox: Sandbox, service: str, fault: Mapping[str, Any]) -> None:
    """Give an outside service a fault; an empty one takes it away."""
    url = f"{sandbox.outside_url}/_control/{service}"
    data = json.dumps(fault).encode() if fault else None
    request = urllib.request.Request(url, data, method="POST" if fault else "DELETE")  # noqa: S310  # our own http URL
    try:
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310  # our own http URL
            return
    except (OSError, http.client.HTTPException) as error:
        raise SandboxError(f"'{url}' did not take the fault: {error}; run 'flowrex-ops drill heal'") from None


@dataclass(frozen=True, slots=True)
class BrokerFault(Fault):
    """A fault of the broker's own; ``message`` is how trades that failed of it say so in SQL's LIKE."""

    name = "broker-fault"
    message: str = ""
    fault: Mapping[str, Any] = field(default_factory=dict)

    def start(self, sandbox: Sandbox) -> None:
        set_fault(sandbox, "broker", self.fault)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return not self.message or count(sandbox, _FAILED.format(message=self.message)) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        if get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1):
            set_fault(sandbox, "broker", {})


def broker_slow(seconds: float = 3.0) -> BrokerFault:
    """The broker takes *seconds* to answer; the adapter waits for two."""
    message = "broker timeout%" if seconds > _ADAPTER_SECONDS else ""
    return BrokerFault(message, {"fault": "slow", "seconds": seconds})


def broker_silent() -> BrokerFault:
    """The broker accepts and never answers."""
    return BrokerFault("broker timeout%", {"fault": "silent"})


def broker_unauthorized() -> BrokerFault:
    """Our token has expired: 401."""
    return BrokerFault("broker credentials refused%", {"fault": "unauthorized"})


def broker_throttles() -> BrokerFault:
    """Too many requests: 429."""
    return BrokerFault("broker rate limit%", {"fault": "rate-limit"})


def broker_malformed() -> BrokerFault:
    """Half of a JSON document instead of an answer."""
    return BrokerFault("broker answer is malformed%", {"fault": "malformed"})


def broker_rejects(symbol: str = "XAUUSD", reason: str = "MARKET_HALTED") -> BrokerFault:
    """The broker cancels every order of one symbol."""
    return BrokerFault(f"rejected by broker: {reason}%", {"fault": "reject", "symbol": symbol, "reason": reason})


@dataclass(frozen=True, slots=True)
class BrokerStopped(Fault):
    """The broker's process was stopped; its port refuses."""

    name = "broker-stopped"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.stack().stop(_outside(sandbox), timeout_seconds=_STOP_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _FAILED.format(message="broker unreachable%")) >= _ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        replica = _outside(sandbox)
        if not replica.running:
            sandbox.stack().start(replica, timeout_seconds=_STOP_SECONDS)
        await_outside(sandbox, timeout_seconds=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class PastBrokerOutage(Fault):
    """The broker was down for a moment and is back; its failed trades stand in the table."""

    name = "past-broker-outage"

    def start(self, sandbox: Sandbox) -> None:
        outage = BrokerStopped()
        outage.start(sandbox)
        await_condition(
            lambda: outage.in_place(sandbox, 0),
            "trades failed",
            timeout_seconds=30,
            details=lambda: "is the traffic running? look with 'flowrex-ops sandbox status'",
        )
        outage.stop(sandbox)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Have the outage, and return once it is no longer recent."""
        self.start(sandbox)
        recent_seconds = 60 * thresholds.get("recent_minutes", 5)
        await_condition(
            lambda: self.in_place(sandbox, recent_seconds),
            f"fault '{self.name}' was over",
            timeout_seconds=recent_seconds + 30,
            details=lambda: "trades still fail; run 'flowrex-ops drill heal' and try again",
        )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        """Whether it is over."""
        return seconds_since_trouble(sandbox) > age_seconds

    def stop(self, sandbox: Sandbox) -> None:
        BrokerStopped().stop(sandbox)


def _outside(sandbox: Sandbox) -> Replica:
    return sandbox.stack().get_replicas("outside")[0]


def seconds_since_trouble(sandbox: Sandbox) -> float:
    """Since when every trade has been filled, by the table and by what the replicas say of their last failure."""
    newest = "SELECT extract(epoch FROM now() - max(created_at)) FROM trades WHERE status IN ('failed', 'blocked')"
    age = sandbox.query(newest)[0][0]
    return min(float(age) if age is not None else float("inf"), last_failure_age(sandbox))
