"""A login that is refused now, told from one that was, from users' own passwords, and from words that look like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from database_examples import silent
from triage_examples import NOW, replica, services

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.credentials import refusal_in
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.logs.tracebacks import HEADING
from flowrex_ops.model import Definition, LogLine, Reading, Replica, Severity, Verdict, VerdictKind
from flowrex_ops.services import checks
from flowrex_ops.services.configuration import VARIANT_COLUMNS
from flowrex_ops.services.credentials import CredentialsSource, count_refusals

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
POSTGRES = 'connection to server at "db" failed: FATAL:  password authentication failed for user "flowrex"'
REDIS = "redis.exceptions.AuthenticationError: Authentication required."

REFUSED = {
    POSTGRES: ("PostgreSQL", "flowrex"),
    r'{"level":"error","msg":"failed SASL auth (FATAL: password authentication failed for user \"app\" (SQLSTATE 28P01))"}': (
        "PostgreSQL",
        "app",
    ),
    'asyncpg.exceptions.InvalidPasswordError: password authentication failed for user "app"': ("PostgreSQL", "app"),
    'pq: role "worker_2" does not exist': ("PostgreSQL", "worker_2"),
    'FATAL:  role "worker_2" is not permitted to log in': ("PostgreSQL", "worker_2"),
    "  code: '28P01',": ("PostgreSQL", ""),
    "fe_sendauth: no password supplied": ("PostgreSQL", ""),
    "FATAL: SASL authentication failed": ("PostgreSQL", ""),
    REDIS: ("Redis", ""),
    "ReplyError: WRONGPASS invalid username-password pair or user is disabled.": ("Redis", ""),
    "kombu.exceptions.OperationalError: invalid username-password pair or user is disabled.": ("Redis", ""),
    "NOAUTH Authentication required.": ("Redis", ""),
    "AuthenticationError: HELLO must be called with the client already authenticated, otherwise the HELLO AUTH": (
        "Redis",
        "",
    ),
    "NOPERM User worker has no permissions to run the 'get' command": ("Redis", "worker"),
    "NoPermissionError: this user has no permissions to run the 'get' command or its subcommand": ("Redis", ""),
}
NOT_REFUSED = (
    "INFO login: password authentication failed for user bob@example.org",
    'WARNING two-factor authentication failed for user "bob"',
    "401 Unauthorized: Authentication required. path=/api/orders",
    'ERROR:  role "readers" does not exist',
    "user 17 has no permissions to run reports",
    'GET /docs/NOAUTH HTTP/1.1" 200',
    'connection to server at "db" failed: Connection refused',
)  # fmt: skip
"""An application's own users, its own words, a GRANT, and what else fails."""


@pytest.mark.parametrize(("line", "expected"), [*REFUSED.items(), *((line, None) for line in NOT_REFUSED)])
def test_words_of_servers_and_clients(line: str, expected: tuple[str, str] | None) -> None:
    assert refusal_in(line) == expected


def lines(name: str, text: str, *seconds_ago: float | None) -> list[LogLine]:
    """So many of one text."""
    at = [None if ago is None else NOW - timedelta(seconds=ago) for ago in seconds_ago]
    return [LogLine(name.rpartition("-")[0], name, text, one) for one in at]


def refusals(*found: list[LogLine], requests: int = 100) -> Reading[pd.DataFrame]:
    """What two replicas' logs tell, a second apart, with *found* among their requests."""
    fine = [lines(name, "GET /", *map(float, range(requests))) for name in ("backend-1", "backend-2")]
    frame = count_refusals(line for one in (*fine, *found) for line in one)
    return Reading("credentials", "refused logins", frame, taken_at=NOW)


def variants(*differs: str) -> Reading[pd.DataFrame]:
    rows = [
        ("backend", "backend-1", NOW, "backend-2", True, differs),
        ("backend", "backend-2", NOW, "backend-2", True, ()),
    ]
    return Reading("configuration", "definitions", pd.DataFrame(rows, columns=VARIANT_COLUMNS), taken_at=NOW)


def failing(share: float) -> Reading[LogSummary]:
    summary = LogSummary(lines=400, requests=400)
    for minute in range(4):
        at = NOW - timedelta(minutes=minute)
        summary.answers.update({(at, True): int(100 * share), (at, False): int(100 * (1 - share))})
    return Reading("logs", "backend log", summary, taken_at=NOW)


def judge(found: Reading[pd.DataFrame], **given: Any) -> Verdict:
    rows = given.get("services", services(replica("backend-1"), replica("backend-2")))
    return checks.check_rotated_halfway(
        found, rows, given.get("variants", variants()), given.get("log", failing(given.get("share", 0)))
    )


def started(ago: float, **other: Any) -> Reading[pd.DataFrame]:
    """backend-1 was started so many seconds ago."""
    one = {"started_at": NOW - timedelta(seconds=ago)} | other
    return services(replica("backend-1", **one), replica("backend-2"))


HALF = lines("backend-1", POSTGRES, 100, 60, 30)
EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "one replica of two": (
        lambda: judge(refusals(HALF)),
        CONFIRMED,
        "PostgreSQL refuses backend-1, and not backend-2: PostgreSQL refused login 'flowrex' 3 times, 04:10:20 to 04:11:30 UTC",
    ),
    "all of them, of both": (
        lambda: judge(refusals(HALF, lines("backend-2", REDIS, 9, 6, 3)), share=0.6),
        CONFIRMED,
        "PostgreSQL and Redis refuse backend-1, backend-2",
    ),
    "a worker": (
        lambda: judge(refusals(lines("worker-1", REDIS, 9, 6, 3)), services=services(replica("worker-1"))),
        CONFIRMED,
        "Redis refuses worker-1: ",
    ),
    "it dies of it, and Docker starts it again": (
        lambda: judge(refusals(HALF), services=started(5, restarts=4)),
        CONFIRMED,
        "PostgreSQL refuses backend-1",
    ),
    "the stack does not answer": (
        lambda: judge(refusals(HALF), services=silent("services"), variants=silent("definitions")),
        CONFIRMED,
        "PostgreSQL refuses backend-1: ",
    ),
    "made anew since, with the password that is in force": (
        lambda: judge(refusals(HALF), services=started(20)),
        RULED_OUT,
        "none of 203 lines of backend tells of a login that is refused now; over is: PostgreSQL refused login",
    ),
    "started again by Docker, and well for a minute": (
        lambda: judge(refusals(lines("backend-1", POSTGRES, 90, 80, 70)), services=started(60, restarts=4)),
        RULED_OUT,
        "over is: PostgreSQL",
    ),
    "put back three minutes ago": (
        lambda: judge(refusals(lines("backend-1", POSTGRES, 280, 240, 200))),
        RULED_OUT,
        "over is: PostgreSQL",
    ),
    "one error is several lines in the same second": (
        lambda: judge(refusals(lines("backend-1", REDIS, 9.2, 9.1, 9.0, 8.9))),
        INCONCLUSIVE,
        "Redis refused login 1 times",
    ),
    "a log without times": (
        lambda: judge(refusals(lines("backend-1", POSTGRES, None, None, None))),
        INCONCLUSIVE,
        "when is not told",
    ),
    "a user's own password": (
        lambda: judge(refusals(lines("backend-1", NOT_REFUSED[0], 9, 6, 3))),
        RULED_OUT,
        "none of 203 lines",
    ),
    "all is well": (lambda: judge(refusals()), RULED_OUT, "none of 200 lines of backend tells of a login"),
    "a night without lines": (lambda: judge(refusals(requests=3)), INCONCLUSIVE, "these are too few"),
    "no log can be read": (lambda: judge(silent("refused logins")), INCONCLUSIVE, "no refused logins"),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    ask, kind, words = EXAMPLES[example]
    verdict = ask()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason


def test_a_right_that_is_missing_is_no_password() -> None:
    """Redis took the login: to make the replica anew, or to change the password, would change nothing. The example says so, also of a traceback in JSON."""
    last = "redis.exceptions.NoPermissionError: this user has no permissions to run the 'incr' command"
    entry = json.dumps({"message": "request crashed", "exc_info": f'{HEADING}:\n  File "/a.py", line 1, in b\n{last}'})
    verdict = judge(refusals(lines("backend-1", entry, 9, 6, 3)))
    assert "of which it has no right to some, 3 times" in verdict.reason
    assert f"such as 'request crashed: {last}'" in verdict.reason
    assert [step.target for step in verdict.next_steps if "password" in step.text] == []
    assert "ACL LOG" in verdict.next_steps[-1].text


def test_as_severe_as_what_fails_of_it() -> None:
    """Nothing yet: the pool has its old connections still."""
    severities = [judge(refusals(HALF), share=share).severity for share in (0, 0.3, 0.7)]
    assert severities == [Severity.P2, Severity.P2, Severity.P1]


def test_what_differs_is_named_and_no_value() -> None:
    verdict = judge(refusals(HALF), variants=variants("image", "environment DB_PASSWORD"))
    assert [one.value for one in verdict.evidence][-1] == "made with another environment DB_PASSWORD than backend-2"


class Stack:
    """A backend, a worker beside it, the database itself, and what has none."""

    def __init__(self, *unread: str) -> None:
        self.unread = unread
        leads = {"DATABASE_URL": "postgresql://app:x@db/app"}
        made = {"backend": leads, "worker": leads, "db": {"POSTGRES_USER": "app"}, "proxy": {}}
        base: dict[str, Any] = {"state": "running", "health": "none", "identity": "x"}
        self.replicas = [Replica(name, f"{name}-1", **base, definition=Definition(environment=own)) for name, own in made.items()]  # fmt: skip

    def get_replicas(self) -> list[Replica]:
        return self.replicas

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> list[LogLine]:
        assert max_bytes <= 8 * 2**20
        if service in self.unread:
            raise SourceUnavailableError("configured logging driver does not support reading")
        return [LogLine(service, f"{service}-1", POSTGRES, since + timedelta(seconds=n)) for n in range(3)]


def test_whoever_has_a_database_is_read_and_no_server() -> None:
    """The server's own log tells of anybody's login, ours too."""
    stack: Any = Stack()
    found = CredentialsSource(stack, "backend", limit_seconds=5).get_refusals(since=timedelta(minutes=5)).require()
    assert set(found["service"]) == {"backend", "worker"}
    assert found[found["dependency"].ne("")]["refused"].to_list() == [3, 3]


@pytest.mark.parametrize(("unread", "kind"), [("worker", CONFIRMED), ("backend", CONFIRMED), ("both", INCONCLUSIVE)])
def test_a_log_that_cannot_be_read_hides_only_itself(unread: str, kind: VerdictKind) -> None:
    """Docker's driver 'none' keeps nothing: what others tell counts, and nothing is ruled out for what they do not."""
    stack: Any = Stack(*(("backend", "worker") if unread == "both" else (unread,)))
    found = CredentialsSource(stack, "backend", limit_seconds=5).get_refusals(since=timedelta(minutes=2))
    verdict = judge(found)
    assert (verdict.kind, "cannot be read" in verdict.reason) == (kind, unread == "both"), verdict.reason
