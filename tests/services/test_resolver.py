"""Names that do not resolve, told from a service that does not run, a failure that is over, and a name that nobody needs."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from database_examples import silent
from hypothesis import given
from hypothesis import strategies as st
from triage_examples import NOW, replica, services

from flowrex_ops.logs.resolver import name_in, tells_of_lookup
from flowrex_ops.logs.source import LogSummary, summarise
from flowrex_ops.model import Definition, Execution, LogLine, Reading, Replica, Severity, Verdict, VerdictKind
from flowrex_ops.services import checks
from flowrex_ops.services.resolver import LOOKUP_COLUMNS, ResolverSource, needed_names

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
BROKER = "api.broker.example"


def lookups(*rows: tuple[str, bool | None]) -> Reading[pd.DataFrame]:
    """Names, and whether they resolve, in each of two replicas."""
    found = [
        (
            f"backend-{n}",
            *row,
            {True: "", False: "not found"}.get(bool(row[1]) if row[1] is not None else None, "no answer in time"),
        )
        for row in rows
        for n in (1, 2)
    ]
    frame = pd.DataFrame(found, columns=LOOKUP_COLUMNS).astype({"resolves": object})
    return Reading("resolver", "name lookups", frame, taken_at=NOW)


def log(
    lines: int | None = 0, *names: str, seconds: float = 5, requests: int = 400, source: str = "logs"
) -> Reading[LogSummary]:
    """So many lines of these names, the last so many seconds ago."""
    last = NOW - timedelta(seconds=seconds) if lines else None
    found = LogSummary(
        lines=requests,
        requests=requests,
        unresolved=lines,
        first_unresolved=last and last - timedelta(minutes=2),
        last_unresolved=last,
        unresolved_names=Counter(dict.fromkeys(names, lines or 0)),
        unresolved_example="ConnectError: [Errno -3] Temporary failure in name resolution",
    )
    return Reading(source, "backend log", found, taken_at=NOW)


def one_silent() -> Reading[pd.DataFrame]:
    """Both names resolve in the first replica, and nothing in the second."""
    found = lookups(("postgres", True), (BROKER, True))
    found.require().loc[found.require()["replica"].eq("backend-2"), ["resolves", "error"]] = None, "no answer in time"
    return found


WELL = lookups(("postgres", True), (BROKER, True))
NOT_ASKED = silent("name lookups", "the stack cannot be asked", None)


def judge(told: Reading[pd.DataFrame], lines: Reading[LogSummary], **given: Any) -> Verdict:
    proxy = given.get("proxy", log(0, source="proxy logs"))
    return checks.check_dns_failing(told, lines, proxy, given.get("services", services()))


EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "nothing resolves": (
        lambda: judge(lookups(("postgres", False), (BROKER, False)), log(80, "postgres", BROKER)),
        CONFIRMED,
        "Names do not resolve: api.broker.example, postgres: not found in backend-1, backend-2",
    ),
    "by the logs alone": (
        lambda: judge(NOT_ASKED, log(80, BROKER)),
        CONFIRMED,
        "Names do not resolve: api.broker.example: 80 lines of api.broker.example (80), 04:09:55 to 04:11:55 UTC, such as 'Conn",
    ),
    "the log does not say which, and everything runs": (
        lambda: judge(NOT_ASKED, log(80)),
        CONFIRMED,
        "a name that is not told",
    ),
    "by getent alone, before anybody has asked": (
        lambda: judge(lookups(("postgres", True), (BROKER, False)), log()),
        CONFIRMED,
        "api.broker.example: not found in backend-1, backend-2",
    ),
    "the proxy's upstream": (
        lambda: judge(NOT_ASKED, log(), proxy=log(9, "api.internal", source="proxy logs")),
        CONFIRMED,
        "9 lines of api.internal (9)",
    ),
    "every name resolves": (lambda: judge(WELL, log(requests=0)), RULED_OUT, "2 names resolve in each of 2 replicas"),
    "the resolver of one replica is silent, whose connections are open still": (
        lambda: judge(one_silent(), log()),
        INCONCLUSIVE,
        "backend-2: no answer in time for any name, which resolve elsewhere",
    ),
    "nobody can be asked, and the log is clean": (
        lambda: judge(NOT_ASKED, log()),
        RULED_OUT,
        "no line of the log tells of a name that did not resolve, 400 requests among them",
    ),
    "addresses alone, and a night without requests": (
        lambda: judge(lookups(), log(requests=3)),
        INCONCLUSIVE,
        "no replica's environment names a host; the log of 3 requests does not suffice",
    ),
    "it was so, and every name that failed resolves again": (
        lambda: judge(WELL, log(80, BROKER, seconds=200)),
        RULED_OUT,
        "over is: 80 lines of api.broker.example",
    ),
    "a moment ago, and it resolves again": (lambda: judge(WELL, log(80, BROKER)), RULED_OUT, "over is"),
    "it was so, and whether it is cannot be asked": (
        lambda: judge(NOT_ASKED, log(80, BROKER, seconds=200)),
        INCONCLUSIVE,
        "over, or rare; look again",
    ),
    "a customer's own webhook": (lambda: judge(WELL, log(2, "shop.customer.example")), INCONCLUSIVE, "over, or rare"),
    "PostgreSQL is stopped, and Docker has no name for it": (
        lambda: judge(
            lookups(("postgres", False), (BROKER, True)),
            log(80, "postgres"),
            services=services(replica("backend-1"), replica("postgres-1", "exited")),
        ),
        INCONCLUSIVE,
        "postgres does not run, and so its name leads nowhere: see service.down",
    ),
    "PostgreSQL is stopped, and replicas know it by an alias": (
        lambda: judge(
            lookups(("db", False), (BROKER, True)),
            log(80, "db"),
            services=services(replica("backend-1"), replica("postgres-1", "exited")),
        ),
        INCONCLUSIVE,
        "does not run, and so its name leads nowhere: see service.down",
    ),
    "a name that is spelt wrong, while everything runs": (
        lambda: judge(lookups(("postgress", False)), log(), services=services(replica("postgres-1"))),
        CONFIRMED,
        "Names do not resolve: postgress",
    ),
    "so it may be where the name is not told": (
        lambda: judge(NOT_ASKED, log(80), services=services(replica("backend-1"), replica("redis-1", "exited"))),
        INCONCLUSIVE,
        "redis, redis-1 does not run",
    ),
    "PostgreSQL is stopped, and the broker's name is gone as well": (
        lambda: judge(NOT_ASKED, log(80, "postgres", BROKER), services=services(replica("postgres-1", "exited"))),
        CONFIRMED,
        "Names do not resolve: api.broker.example: ",
    ),
    "whether PostgreSQL runs is not known": (
        lambda: judge(lookups(("postgres", False)), log(), services=silent("services")),
        INCONCLUSIVE,
        "whether that service runs is not known",
    ),
    "PostgreSQL refuses connections": (lambda: judge(WELL, log()), RULED_OUT, "2 names resolve"),
    "a lookup that did not end": (
        lambda: judge(lookups(("postgres", None)), log(requests=0)),
        INCONCLUSIVE,
        "postgres in backend-1: no answer in time",
    ),
    "a log of an earlier version": (lambda: judge(NOT_ASKED, log(None)), INCONCLUSIVE, "the stack cannot be asked"),
    "nothing can be read": (
        lambda: judge(NOT_ASKED, Reading("logs", "backend log", error="it is gone")),
        INCONCLUSIVE,
        "no backend log: it is gone",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    ask, kind, words = EXAMPLES[example]
    verdict = ask()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason
    assert verdict.severity in (None, Severity.P1)


NAMES = st.sampled_from(["postgres", "redis", BROKER])


@given(
    st.dictionaries(NAMES, st.booleans() | st.none()), st.none() | st.integers(0, 9), st.sets(NAMES), st.integers(0, 90)
)
def test_nothing_that_fails_now_is_ruled_out(
    told: dict[str, bool | None], lines: int | None, names: set[str], seconds: int
) -> None:
    """Whatever is told: a name that is not found confirms; ruled out is that all resolve, or that a log of many requests is clean."""
    verdict = judge(lookups(*told.items()), log(lines, *names, seconds=seconds))
    all_well = bool(told) and all(told.values())
    assert verdict.confirmed or False not in told.values()
    assert verdict.kind is not RULED_OUT or all_well or lines == 0
    assert verdict.kind is RULED_OUT or not (all_well and not lines)


LINES = {
    'psycopg.OperationalError: could not translate host name "postgres" to address: Name or service not known': "postgres",
    r'{"error": "could not translate host name \"db\" to address: Temporary failure in name resolution"}': "db",
    "redis.exceptions.ConnectionError: Error -3 connecting to redis:6379. Temporary failure in name resolution.": "redis",
    "socket.gaierror: [Errno -2] Name or service not known": "",
    "aiohttp: Cannot connect to host api.x.example:443 ssl:default [nodename nor servname provided, or not known]": "api.x.example",
    "HTTPSConnectionPool(host='api.x.example', port=443): Failed to resolve 'api.x.example' ([Errno -2] Name or service not known)": (
        "api.x.example"
    ),
    "dial tcp: lookup api.x.example on 127.0.0.11:53: no such host": "api.x.example",
    "dial tcp: lookup api.x.example on 127.0.0.11:53: server misbehaving": "api.x.example",
    "[proxy:error] [pid 7:tid 84] (EAI 2)Name or service not known: AH00898: DNS lookup failure for: core returned by /": "core",
    "Error: getaddrinfo ENOTFOUND api.x.example": "api.x.example",
    "Error: getaddrinfo EAI_AGAIN postgres postgres:5432": "postgres",
    "java.net.UnknownHostException: api.x.example: Name or service not known": "api.x.example",
    '2026/01/31 04:11:50 [emerg] 1#1: host not found in upstream "backend:8000" in /etc/nginx/nginx.conf:40': "backend",
    "2026/01/31 04:11:50 [error] 29#29: *1 backend could not be resolved (3: Host not found), client: 198.51.100.7": "backend",
}


@pytest.mark.parametrize("line", LINES)
def test_words_of_resolvers(line: str) -> None:
    assert (tells_of_lookup(line.lower()), name_in(line)) == (True, LINES[line])


@pytest.mark.parametrize(
    "line", ["conflict could not be resolved", "broker unreachable: [Errno 111] Connection refused", "user not found"]
)
def test_other_words(line: str) -> None:
    assert not tells_of_lookup(line.lower())


def test_lines_are_counted() -> None:
    at = [NOW - timedelta(seconds=seconds) for seconds in (9, 6, 3)]
    texts = ["getaddrinfo ENOTFOUND a.example", "all is well", "socket.gaierror: [Errno -2] Name or service not known"]
    found = summarise(
        [LogLine("backend", "backend-1", text, moment) for text, moment in zip(texts, at, strict=True)], slow_seconds=5
    )
    assert (found.unresolved, found.unresolved_names) == (2, {"a.example": 1})
    assert (found.first_unresolved, found.last_unresolved) == (at[0], at[2])


def test_names_that_are_needed() -> None:
    """Of URLs the host alone, and none where a password that was not quoted may pass for one."""
    environment = {
        "DATABASE_URL": "postgresql://flowrex:p@ss:w0rd@db.example:5432/flowrex",
        "REDIS_URL": "redis://:s3cret@redis:6379/0",
        "CELERY_BROKER": "amqp://u:p@queue/vhost",
        "BROKER_URL": "https://API.broker.example/v3",
        "PGHOST": "pg-1",
        "SHADOW_URL": "postgresql://u:s3/cret@hidden:5432/x",
        "REPLICA_URL": "postgresql://u:p@10.0.0.7:5432/x",
        "CACHE_URL": "redis://[::1]:6379",
        "DOCS": "https://docs.example/old",
        "PATH": "/usr/bin",
    }
    assert needed_names(environment) == ["api.broker.example", "db.example", "pg-1", "queue", "redis"]


class Stack:
    """Two replicas, in which commands are run on this machine."""

    def __init__(self, environment: dict[str, str]) -> None:
        made = Definition(environment=environment)
        self.replicas = [Replica(**BASE, name=f"backend-{n}", definition=made) for n in (1, 2)]

    def get_replicas(self, _service: str) -> list[Replica]:
        return self.replicas

    def execute(self, _replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_seconds)
        return Execution(done.returncode, done.stdout, done.stderr)


BASE: dict[str, Any] = {"service": "backend", "state": "running", "health": "none", "identity": "x"}


def test_getent_is_asked_in_each_replica() -> None:
    """One name that every machine knows, and one that none does, where a name server answers; never within more than the limit."""
    stack: Any = Stack({"DATABASE_URL": "postgresql://localhost/x", "REDIS_URL": "redis://cache.flowrex.invalid/0"})
    found = ResolverSource(stack, "backend", limit_seconds=5).get_lookups().require()
    told = found.set_index(["replica", "name"])["resolves"].to_dict()
    assert [told[f"backend-{n}", "localhost"] for n in (1, 2)] == [True, True]
    assert {told[f"backend-{n}", "cache.flowrex.invalid"] for n in (1, 2)} <= {False, None}


def test_nobody_runs() -> None:
    stack: Any = SimpleNamespace(get_replicas=lambda _service: [])
    assert "by hand: getent hosts NAME" in str(ResolverSource(stack, "backend", limit_seconds=1).get_lookups().error)
