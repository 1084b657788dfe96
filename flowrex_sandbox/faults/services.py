"""What triage sees: a service that is gone, crashes again and again, or has no room to write; and what others announce.

A full disk is drilled under Docker Compose alone, on a small filesystem of NGINX's: where there are no containers,
mounting one takes root.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, ClassVar

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.drill import COMPOSE_ONLY, drills_of
from flowrex_sandbox.faults.answers import failures, seconds_since_failure
from flowrex_sandbox.faults.base import ENOUGH, Fault, PastFault
from flowrex_sandbox.faults.http import NameGone, RedisStopped, Release, RouteRaises
from flowrex_sandbox.faults.pool import OpenTransactions
from flowrex_sandbox.faults.postgres import PastLock, PostgresStopped
from flowrex_sandbox.faults.proxy import NginxHanging, nginx
from flowrex_sandbox.faults.redis import connect_redis
from flowrex_sandbox.faults.replicas import RESTART_SECONDS, kill_replica, run_inside
from flowrex_sandbox.faults.trades import SLOW, clear_faults, set_fault
from flowrex_sandbox.health import await_backends, await_monitoring
from flowrex_sandbox.monitoring.configuration import FOR, SETTLED_SECONDS, WINDOW, rules
from flowrex_sandbox.sandbox import Sandbox, get_answer

_TIMES = 2
_RULES = rules(WINDOW, FOR, SETTLED_SECONDS) + "\n"
_FILE = "/var/cache/flowrex/core.1"
_FOLDER, _INODES = "/var/cache/flowrex/parts", 2000


class ReplicaCrashing(Fault):
    """A replica dies again and again."""

    def start(self, sandbox: Sandbox) -> None:
        for _ in range(_TIMES):
            kill_replica(sandbox, sandbox.stack().get_replicas("backend")[0], from_within=True)
            await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return sandbox.stack().get_replicas("backend")[0].restarts >= _TIMES

    def stop(self, sandbox: Sandbox) -> None:
        """A restart by hand begins a new count."""
        for replica in sandbox.stack().get_replicas("backend"):
            if replica.restarts and replica.running:
                sandbox.stack().restart(replica, timeout_seconds=RESTART_SECONDS)
                await_backends(sandbox, timeout_seconds=RESTART_SECONDS)


class DiskFilled(Fault):
    """NGINX's cache, a filesystem of its own, has no room left.

    Under supervisord there is none that is ours to fill.
    """

    def start(self, sandbox: Sandbox) -> None:
        # dd ends with an error once there is no room left; that is what is wanted.
        run_inside(nginx(sandbox), "sh", "-c", f"dd if=/dev/zero of={_FILE} bs=1M 2>/dev/null; true")

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return run_inside(nginx(sandbox), "sh", "-c", f"df --output=avail {_FILE} | tail -1").strip() == "0"

    def stop(self, sandbox: Sandbox) -> None:
        if sandbox.state.stack == "compose" and nginx(sandbox).running:
            run_inside(nginx(sandbox), "rm", "-f", _FILE)


class FilesLeft(Fault):
    """NGINX's cache holds files without end, each of them empty.

    Under supervisord there is no filesystem that is ours to fill.
    """

    number: int = 4000

    def start(self, sandbox: Sandbox) -> None:
        # Once there is no inode left each further file fails, as it should; `:` would end the shell then (POSIX: special built-ins).
        made = f"mkdir -p {_FOLDER}; for n in $(seq {self.number}); do true > {_FOLDER}/$n; done 2>/dev/null; true"
        run_inside(nginx(sandbox), "sh", "-c", made)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        files = run_inside(nginx(sandbox), "sh", "-c", f"ls {_FOLDER} | wc -l")
        return int(files) >= min(self.number, _INODES - 10)

    def stop(self, sandbox: Sandbox) -> None:
        if sandbox.state.stack == "compose" and nginx(sandbox).running:
            run_inside(nginx(sandbox), "rm", "-rf", _FOLDER)


class RuleAdded(Fault):
    """Somebody adds a rule to Prometheus."""

    service = "prometheus"
    rank = 2
    expression: str = "flowrex_database_connections * on() flowrex_database_connections_max"
    """What it asks; this one matches many to many, which is seen only as it is evaluated."""

    def start(self, sandbox: Sandbox) -> None:
        if not sandbox.replicas(self.service):
            raise SandboxError(f"no '{self.service}' runs in this sandbox; install it and start a new sandbox")
        self._take(
            sandbox, f"{_RULES}      - {{alert: PoolsFull, expr: '{self.expression}', labels: {{severity: P2}}}}\n"
        )

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        url = f"http://127.0.0.1:{sandbox.state.ports[self.service]}/api/v1/rules"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # our own http URL
                (group,) = json.loads(answer.read())["data"]["groups"]
        except (OSError, ValueError):
            return False
        return group["rules"][-1]["name"] == "PoolsFull" and all(rule["health"] != "unknown" for rule in group["rules"])

    def stop(self, sandbox: Sandbox) -> None:
        file = sandbox.home / "monitoring" / "rules.yml"
        if file.exists() and file.read_text(encoding="utf-8") != _RULES:
            self._take(sandbox, _RULES)

    def _take(self, sandbox: Sandbox, text: str) -> None:
        """In place: a container sees the file that was there when it started."""
        (sandbox.home / "monitoring" / "rules.yml").write_text(text, encoding="utf-8")
        for replica in sandbox.replicas(self.service):
            sandbox.stack().restart(replica, timeout_seconds=RESTART_SECONDS)
            await_monitoring(sandbox, timeout_seconds=RESTART_SECONDS)


class RedisPasswordChanged(Fault):
    """Redis has another password, and one replica connects anew since: it is refused, the others' connections go on."""

    rank = 1
    config: ClassVar[str] = "requirepass"
    password: ClassVar[str] = "changed-by-a-drill"  # noqa: S105  # of a drill

    def start(self, sandbox: Sandbox) -> None:
        with connect_redis(sandbox) as client:
            client.config_set(self.config, self.password)
        sandbox.stack().restart(sandbox.replicas()[0], timeout_seconds=RESTART_SECONDS)
        await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return len(failures(sandbox, made_by="backend", path="/api/session")) >= ENOUGH

    def stop(self, sandbox: Sandbox) -> None:
        """Where Redis is down it has forgotten it."""
        import redis

        # As this user any password does while none is set, and so the same words reach it either way.
        with (
            suppress(redis.ConnectionError, redis.TimeoutError),
            connect_redis(sandbox, "default", self.password) as client,
        ):
            client.config_set(self.config, "")


class PastRedisPassword(PastFault):
    """Redis had another password for a moment, and has the old one again."""

    def start(self, sandbox: Sandbox) -> None:
        fault = RedisPasswordChanged()
        fault.start(sandbox)
        fault.await_in_place(sandbox)
        fault.stop(sandbox)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_failure(sandbox) > age_seconds


class HalfDeployed(Fault):
    """A deployment stopped after the first replica."""

    rank = 4
    version: str = "1.4.3"

    def start(self, sandbox: Sandbox) -> None:
        sandbox.stack().replace(sandbox.replicas()[0], self.version, timeout_seconds=RESTART_SECONDS)
        await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Deploy, and return once nobody would take it for a deployment that goes on."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("settled_minutes", 0.0) + 1)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        made = [one.created_at or one.started_at for one in sandbox.replicas() if one.version == self.version]
        return bool(made) and all(at and (datetime.now(UTC) - at).total_seconds() > age_seconds for at in made)

    def stop(self, sandbox: Sandbox) -> None:
        Release().stop(sandbox)


class ReplicaRestarted(Fault):
    """One replica was restarted, and is what it was."""

    def start(self, sandbox: Sandbox) -> None:
        sandbox.stack().restart(sandbox.replicas()[0], timeout_seconds=RESTART_SECONDS)
        await_backends(sandbox, timeout_seconds=RESTART_SECONDS)

    def inject(self, sandbox: Sandbox, thresholds: Mapping[str, float]) -> None:
        """Return once what the proxy could not reach meanwhile is no longer recent."""
        self.start(sandbox)
        self.await_in_place(sandbox, 60 * thresholds.get("recent_minutes", 0.0))

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:
        return seconds_since_failure(sandbox) > age_seconds


class Announced(Fault):
    """Something that an outside service says of itself, or does not: Sentry, or a status page."""

    at: str = "status-pages"
    fault: Mapping[str, Any] = field(default_factory=dict)

    def start(self, sandbox: Sandbox) -> None:
        set_fault(sandbox, self.at, self.fault)

    def in_place(self, sandbox: Sandbox, age_seconds: float) -> bool:  # noqa: ARG002  # its age does not matter
        return bool(get_answer(f"{sandbox.outside_url}/health", timeout_seconds=1))

    def stop(self, sandbox: Sandbox) -> None:
        clear_faults(sandbox, "status-pages", "sentry")


def outage(page: str, impact: str = "critical") -> Announced:
    """A status page announces an incident of that impact."""
    return Announced("status-pages", {"fault": "outage", "page": page, "impact": impact})


_PARAMETERS = {"recent_minutes": 0.15, "reading_seconds": 10.0}
drill = drills_of("triage", **_PARAMETERS)
"""Nine seconds, so that what failed in the drill before is old; and time enough on a machine that runs other tests."""

DRILLS = (
    drill("triage-healthy", title="nothing is wrong anywhere"),
    drill("triage-redis-down", RedisStopped(), expected="service.down", leads_to="error_rate", alerts="ServiceDown"),
    drill(
        "triage-nginx-hanging",
        NginxHanging(),
        expected="service.unhealthy",
        leads_to="error_rate",
        alerts="FrontDoorDown",
    ),
    drill("triage-replica-crashing", ReplicaCrashing(), expected="service.restarting"),
    # A filesystem of its own, which can be filled without harm, takes root to mount where there are no containers.
    drill("triage-disk-full", DiskFilled(), expected="service.disk-full", stacks=COMPOSE_ONLY),
    drill("triage-inodes-full", FilesLeft(), expected="service.inodes-full", stacks=COMPOSE_ONLY),
    drill(
        "triage-many-files",
        FilesLeft(1000),
        stacks=COMPOSE_ONLY,
        title="red herring: a thousand files, of two thousand that fit",
    ),
    drill(
        "monitoring-rule-fails",
        RuleAdded(),
        title="a rule was added that Prometheus cannot evaluate",
        expected="monitoring.blind",
    ),
    drill(
        "monitoring-rule-quiet",
        RuleAdded("nobody_has_this_total > 0"),
        title="red herring: a rule was added that never fires, and Prometheus was restarted for it",
    ),
    drill(
        "triage-outage-announced",
        outage("oanda"),
        title="the broker announces an outage",
        expected="external.outage",
    ),
    drill(
        "triage-postgres-down",
        PostgresStopped(),
        title="PostgreSQL is stopped: it is down, and no replica of the backend is ready",
        expected="service.down service.unhealthy",
        leads_to="database_connections",
        alerts="PostgresDown DatabasePoolErrors",
    ),
    drill(
        "triage-pool-leak",
        OpenTransactions(),
        expected="service.unhealthy",
        leads_to="database_connections",
        alerts="DatabasePoolExhausted DatabaseConnectionsHigh",
    ),
    drill(
        "triage-broker-slow",
        SLOW,
        title="no service is ill, and trades fail: the broker takes three seconds",
        leads_to="trade_failures",
        alerts="TradeFailuresIncreasing TradeFailureRateHigh TradesNotExecuting BackendErrorsLogged",
    ),
    drill("triage-past-lock", PastLock(), leads_to="database_connections", alerts="SlowResponses"),
    drill(
        "triage-route-broken",
        RouteRaises(),
        title="no service is ill, and one route raises",
        leads_to="error_rate",
        alerts="HighErrorRate",
    ),
    drill(
        "redis-password-changed",
        RedisPasswordChanged(),
        title="Redis has another password: the replica that was restarted since is refused, the others go on",
        expected="credentials.rotated-halfway",
    ),
    drill("redis-password-put-back", PastRedisPassword()),
    drill(
        "deployed-halfway",
        HalfDeployed(),
        title="a deployment stopped after the first replica",
        expected="config.drift",
        parameters={**_PARAMETERS, "settled_minutes": 0.05},
    ),
    drill("one-replica-restarted", ReplicaRestarted()),
    drill("triage-name-gone", NameGone(), expected="net.dns-failing", leads_to="error_rate"),
    drill(
        "triage-down-and-outage",
        RedisStopped(),
        outage("twelvedata", "major"),
        title="two at once: Redis is stopped, and TwelveData announces an outage",
        expected="service.down external.outage",
        leads_to="error_rate",
    ),
    drill(
        "triage-degraded-elsewhere",
        Release("1.4.3"),
        outage("cloudflare", "minor"),
        title="red herring: a status page tells of degraded performance, and the backend was deployed just now",
    ),
)
