"""A mitigation run as a notebook runs it: through an investigation of the sandbox, approved by an operator."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from redis import Redis, RedisError

from flowrex_ops.investigation import Investigation
from flowrex_ops.model import Outcome, Verdict, VerdictKind
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition


def investigate(sandbox: Sandbox, *approve: str, cause: str = "", runbook: str = "service_restart") -> Investigation:
    """An investigation in which *cause* is confirmed; call it in a folder of the test's own (``monkeypatch.chdir``)."""
    found = Investigation.open(
        runbook, settings=str(sandbox.settings_file), approve=list(approve), operator="ada", since="10m"
    )
    if cause:
        found.verdicts[cause] = Verdict(cause, VerdictKind.CONFIRMED, "for the test")
    return found


def mitigate(sandbox: Sandbox, slug: str, *, cause: str = "", approved: bool = True, **options: Any) -> Outcome:
    """The outcome of one mitigation."""
    return investigate(sandbox, *([slug] if approved else []), cause=cause).mitigate(slug, **options)


def await_redis(sandbox: Sandbox) -> None:
    """It was started, and answers once this returns."""

    def answers() -> bool:
        try:
            with closing(Redis.from_url(f"redis://127.0.0.1:{sandbox.state.ports['redis']}/0")) as client:
                return bool(client.ping())
        except RedisError:
            return False

    await_condition(answers, "Redis answered", timeout_seconds=20)
