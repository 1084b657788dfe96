"""One moment, one story: triage and the incident's own runbook call it as severe, from the same readings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from database_examples import NOW, idle_in_transaction, limits, pools, session, sessions, waiting
from error_examples import BUG, access, ago, answer, ask, errors, fine, on_all
from error_examples import services as replicas_of
from trade_examples import REFUSED, broker, here, row, trades
from triage_examples import front_door, health, survey, usage

from flowrex_ops.http import checks as error_rate
from flowrex_ops.incident.severity import assess_severity
from flowrex_ops.incident.symptoms import find_symptoms
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Reading, Severity, Verdict
from flowrex_ops.postgres import checks as database
from flowrex_ops.trades import checks as trade_failures

WELL = survey(
    pools=pools(1, 1),
    log=Reading("logs", "backend log", LogSummary(lines=100, requests=100)),
    limits=limits(10),
    trades=trades(row(30)),
    usage=usage(backend_1=0.4),
)

HUNG = {"pools": pools(5, 5), "health": health(503, 503), "front_door": front_door(504)}
"""What triage sees of a backend whose connections are all taken."""


def triage(**changes: Any) -> Severity | None:
    return assess_severity(find_symptoms(replace(WELL, **changes), alerts={}), []).severity


def log(*minutes: tuple[int, int]) -> Reading[LogSummary]:
    """Requests and how many of them failed, a minute each, up to now."""
    answers: Counter[Any] = Counter()
    for back, (requests, failed) in enumerate(reversed(minutes)):
        at = NOW.replace(second=0) - timedelta(minutes=back)
        answers.update({(at, True): failed, (at, False): requests - failed})
    total, bad = sum(one for one, _ in minutes), sum(one for _, one in minutes)
    return Reading("logs", "backend log", LogSummary(lines=total, requests=total, server_errors=bad, answers=answers))


def lock_chain() -> tuple[Severity | None, Verdict]:
    held = sessions(idle_in_transaction(1, 60), *(waiting(n, 30, 1) for n in range(2, 11)))
    return triage(**HUNG, log=log(*[(100, 0)] * 9, (100, 40))), database.check_lock_contention(
        held, Reading("postgres", "locks", error="not asked"), pools(5, 5)
    )


def pool_leak() -> tuple[Severity | None, Verdict]:
    held = sessions(*(session(n, state_age_seconds=60.0) for n in range(10)))
    return triage(**HUNG), database.check_pool_saturated(pools(5, 5), held)


def pools_nobody_explains() -> tuple[Severity | None, Verdict]:
    held = sessions(*(session(n, state_age_seconds=5.0) for n in range(10)))
    return triage(**HUNG), database.check_unexplained_pool_exhaustion(pools(5, 5), held, WELL.limits, log((1, 0)))


def leak_in_a_roomy_pool() -> tuple[Severity | None, Verdict]:
    """Users feel nothing yet: triage has nothing to say, and the runbook does not make more of it than a warning."""
    verdict = database.check_idle_in_transaction(sessions(idle_in_transaction(1, 60)), pools(1, 1))
    return triage() or Severity.P2, verdict


def bad_deploy(share: float) -> tuple[Severity | None, Verdict]:
    """Nine good minutes, then a release with which *share* of all requests fail."""
    failed = round(600 * share)
    new = replicas_of("1.5.0", "1.5.0", "1.5.0", started=ago(1))
    asked = access(
        *fine(5400, at=ago(4)),
        *(fine(600 - failed, at=ago(0.5), version="1.5.0") if failed < 600 else []),
        answer(failed, 500, at=ago(0.5), version="1.5.0"),
    )
    logged = errors(*on_all(failed // 3, at=ago(0.5), **BUG))
    return triage(log=log(*[(600, 0)] * 9, (600, failed))), ask(error_rate.check_bad_deploy, asked, logged, new)


def broker_down(failed: int, filled: int) -> tuple[Severity | None, Verdict]:
    table = trades(row(failed, REFUSED), row(filled))
    verdict = trade_failures.check_broker_unreachable(table, broker("unreachable"), here("unreachable"))
    return triage(trades=table), verdict


MOMENTS = {
    "a chain of locks": (lock_chain, Severity.P1),
    "a pool that leaks": (pool_leak, Severity.P1),
    "pools dry without a cause": (pools_nobody_explains, Severity.P1),
    "a leak that nobody feels yet": (leak_in_a_roomy_pool, Severity.P2),
    "a deploy with which a third fails": (lambda: bad_deploy(0.35), Severity.P2),
    "a deploy with which most fails": (lambda: bad_deploy(0.6), Severity.P1),
    "a deploy with which all fails": (lambda: bad_deploy(1.0), Severity.P0),
    "a broker that is gone": (lambda: broker_down(30, 0), Severity.P0),
    "a broker that is gone for some": (lambda: broker_down(3, 30), Severity.P1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_triage_and_the_runbook_agree(moment: str) -> None:
    play, expected = MOMENTS[moment]
    at_triage, verdict = play()
    assert verdict.confirmed, verdict.reason
    assert (at_triage, verdict.severity) == (expected, expected), verdict.reason
