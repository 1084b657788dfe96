"""Faults on our own side of a trade: a table that cannot be written, and orders above the risk limit."""

from __future__ import annotations

from dataclasses import dataclass

from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.clients import end_clients, start_client
from flowrex_sandbox.faults.observe import count, last_failure_age
from flowrex_sandbox.sandbox import BACKEND_PORT, Sandbox

_BLOCKED = """
SELECT count(*) FROM trades WHERE status = 'blocked' AND created_at > now() - interval '30 seconds'
"""
_JUST_NOW_SECONDS = 3.0
_ENOUGH = 4


@dataclass(frozen=True, slots=True)
class TradesNotWritable(Fault):
    """A migration took away the application's right to insert trades."""

    name = "trades-not-writable"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.execute("REVOKE INSERT ON trades FROM flowrex")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return last_failure_age(sandbox, "database") < _JUST_NOW_SECONDS

    def stop(self, sandbox: Sandbox) -> None:
        if not sandbox.query("SELECT has_table_privilege('flowrex', 'trades', 'INSERT')")[0][0]:
            sandbox.execute("GRANT INSERT ON trades TO flowrex")


_STRANGE = "desk 4 says no (E77)"


@dataclass(frozen=True, slots=True)
class TradesVetoed(Fault):
    """Somebody has put a trigger on the table, which fails every second trade with words that nobody else knows."""

    name = "trades-vetoed"

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
        recent = "created_at > now() - interval '30 seconds'"
        return count(sandbox, f"SELECT count(*) FROM trades WHERE error_message = '{_STRANGE}' AND {recent}") >= _ENOUGH  # noqa: S608  # our own words

    def stop(self, sandbox: Sandbox) -> None:
        sandbox.execute("DROP TRIGGER IF EXISTS veto ON trades")


@dataclass(frozen=True, slots=True)
class OrdersAboveRiskLimit(Fault):
    """A client whose orders are worth more than the risk engine lets pass, ``per_second`` of them."""

    name = "orders-above-risk-limit"
    per_second: float = 8.0
    enough: int = 8

    def start(self, sandbox: Sandbox) -> None:
        replicas = [replica for replica in sandbox.replicas() if BACKEND_PORT in replica.ports]
        urls = tuple("http://{}:{}".format(*replica.ports[BACKEND_PORT]) for replica in replicas)
        start_client(sandbox, "whale", urls=urls, rate=self.per_second)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return count(sandbox, _BLOCKED) >= self.enough

    def stop(self, sandbox: Sandbox) -> None:
        end_clients(sandbox, "whale")
