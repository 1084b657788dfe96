"""Of every registered mitigation: how a sandbox comes to need it, and how its targets become others between plan and act."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import httpx
import psycopg
import restoring
from redis import Redis
from running import await_redis, mitigate

from flowrex_ops.model import MitigationState
from flowrex_sandbox.faults import pool, tls
from flowrex_sandbox.faults.base import DEFAULT_THRESHOLDS, Fault
from flowrex_sandbox.faults.http import deploy
from flowrex_sandbox.faults.postgres import LockChain
from flowrex_sandbox.faults.proxy import CorrectedNotReloaded
from flowrex_sandbox.sandbox import Sandbox, get_answer

Step = Callable[[Sandbox, ExitStack], None]

STANDING = 3
FLOODER, OTHER = "203.0.113.66", "203.0.113.67"


@dataclass(frozen=True, slots=True)
class Example:
    """``need`` makes the platform need it, ``change`` makes its targets others; what they open ends with the test."""

    need: Step
    change: Step
    options: Mapping[str, Any] = field(default_factory=dict)


def nothing(_sandbox: Sandbox, _opened: ExitStack) -> None:
    """It can be had at any time."""


def fault(one: Fault) -> Step:
    """In place everywhere, and old enough: a target that joined later would be another plan."""

    def start(sandbox: Sandbox, opened: ExitStack) -> None:
        opened.callback(one.stop, sandbox)
        one.inject(sandbox, dict.fromkeys(DEFAULT_THRESHOLDS, 1.0))

    return start


def applied(slug: str, **options: Any) -> Step:
    """Another mitigation, by somebody else."""

    def act(sandbox: Sandbox, _opened: ExitStack) -> None:
        cause = {"block-client": "http.traffic-flood", "scale-backend": "memory.container-limit"}.get(slug, "")
        outcome = mitigate(sandbox, slug, cause=cause, **options)
        assert outcome.state is MitigationState.VERIFIED, outcome.reason

    return act


def idle_session(sandbox: Sandbox, opened: ExitStack) -> None:
    """One more that opens a transaction and goes away."""
    connection = opened.enter_context(closing(psycopg.connect(sandbox.app_dsn, application_name="forgotten")))
    connection.execute("SELECT 1")


def run_aside(connection: psycopg.Connection[Any], statement: bytes) -> None:
    """In a thread, until it is ended from outside."""

    def run() -> None:
        with suppress(psycopg.Error):
            connection.execute(statement)

    Thread(target=run, daemon=True).start()


def long_query(sandbox: Sandbox, opened: ExitStack) -> None:
    """One more report without a limit."""
    connection = opened.enter_context(closing(psycopg.connect(sandbox.app_dsn, application_name="report")))
    run_aside(connection, b"SELECT pg_sleep(60)")


def another_lock(sandbox: Sandbox, opened: ExitStack) -> None:
    """One more session that holds what another one waits for."""
    lock = b"SELECT pg_advisory_xact_lock(4711)"
    holder = opened.enter_context(closing(psycopg.connect(sandbox.app_dsn, application_name="holder")))
    holder.execute(lock)
    run_aside(opened.enter_context(closing(psycopg.connect(sandbox.app_dsn, application_name="waiter"))), lock)


def fewer_replicas(sandbox: Sandbox, opened: ExitStack) -> None:
    """As many as it began with, where an attempt before has added some."""
    if len(sandbox.replicas()) > STANDING:
        applied("scale-backend", replicas=STANDING)(sandbox, opened)


def restart_one(sandbox: Sandbox, _opened: ExitStack) -> None:
    """The first replica is another process now."""
    sandbox.stack().restart(sandbox.replicas()[0], timeout_seconds=30)


def release(version: str) -> Step:
    """A deployment; the proxy has answered by the version before and by this one."""

    def act(sandbox: Sandbox, _opened: ExitStack) -> None:
        get_answer(f"{sandbox.url}/api/prices")
        deploy(sandbox, version)
        get_answer(f"{sandbox.url}/api/prices")

    return act


def old_backup(sandbox: Sandbox, opened: ExitStack) -> None:
    opened.callback(restoring.clear, sandbox)
    restoring.make_old_backup(sandbox)


def another_backup(sandbox: Sandbox, _opened: ExitStack) -> None:
    restoring.open_backup_store(sandbox).take(restoring.quiet)


def restored(sandbox: Sandbox, opened: ExitStack) -> None:
    old_backup(sandbox, opened)
    applied("restore-database")(sandbox, opened)


def flood_from(*clients: str) -> Step:
    """Most of the requests of the last half minute."""

    def act(sandbox: Sandbox, _opened: ExitStack) -> None:
        with httpx.Client(base_url=sandbox.url, timeout=5) as session:
            strangers = tuple(f"198.51.100.{number}" for number in range(20, 26))
            for client in strangers + clients * 400:
                session.get("/api/prices", headers={"X-Forwarded-For": client})

    return act


def keys(*prefixes: str) -> Step:
    """Redis holds some hundred of each."""

    def write(sandbox: Sandbox, opened: ExitStack) -> None:
        client = opened.enter_context(closing(Redis.from_url(f"redis://127.0.0.1:{sandbox.state.ports['redis']}/0")))
        names = [f"{prefix}{number}" for prefix in prefixes for number in range(300)]
        client.mset(dict.fromkeys(names, "x" * 100))
        opened.callback(client.unlink, *names)

    return write


def restart_redis(sandbox: Sandbox, _opened: ExitStack) -> None:
    for replica in sandbox.stack().get_replicas("redis"):
        sandbox.stack().restart(replica, timeout_seconds=20)
    await_redis(sandbox)


def edit_configuration(sandbox: Sandbox, _opened: ExitStack) -> None:
    """Somebody adds a snippet meanwhile."""
    (sandbox.control / "http-mine.conf").write_text("map $uri $flowrex_mine { default 1; }\n")


FAST = {"idle_after_seconds": 1.0}

EXAMPLES: dict[str, Example] = {
    "cancel-long-queries": Example(fault(pool.SlowReports(count=1)), long_query, {"long_query_seconds": 1.0}),
    "terminate-idle-in-transaction": Example(fault(pool.OpenTransactions(count=1)), idle_session, FAST),
    "terminate-root-blocker": Example(fault(LockChain()), another_lock),
    "restart-backend": Example(fault(pool.LeakedConnections()), restart_one, FAST),
    "rolling-restart": Example(nothing, restart_one),
    "scale-backend": Example(fewer_replicas, applied("scale-backend", replicas=4), {"replicas": 5}),
    "rollback-backend": Example(release("1.5.0"), release("1.6.0")),
    "rollback-bad-deploy": Example(release("1.5.0"), release("1.6.0")),
    "maintenance-on": Example(nothing, applied("maintenance-on", message="somebody else's")),
    "maintenance-off": Example(applied("maintenance-on"), applied("maintenance-off")),
    "block-client": Example(flood_from(FLOODER), flood_from(OTHER), {"recent_minutes": 0.5, "flood_share": 0.2}),
    "unblock-clients": Example(applied("block-client", clients=[FLOODER]), applied("block-client", clients=[OTHER])),
    "renew-certificate": Example(
        fault(tls.ExpiredCertificate(renewable=True)), fault(tls.ExpiringCertificate(tls.OTHER_SITE, renewable=True))
    ),
    "reload-nginx": Example(fault(tls.RenewedNotReloaded()), fault(tls.RenewedNotReloaded(tls.OTHER_SITE))),
    "unlink-keys": Example(keys("drill-cache:"), keys("drill-customers:"), {"pattern": "drill-c*"}),
    "flush-redis": Example(keys("drill-cache:"), restart_redis),
    "reload-websocket-proxy": Example(fault(CorrectedNotReloaded()), edit_configuration),
    "restore-database": Example(old_backup, another_backup),
    "swap-back-database": Example(restored, applied("restore-database")),
}
