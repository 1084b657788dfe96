"""Connections of which only the proxy's access log tells: what their ages and moments say, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from database_examples import NOW
from websocket_examples import closing, handshakes, location, locations, log, proxy_errors, replicas, samples

from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.websocket import checks, views
from flowrex_ops.websocket.closings import ConnectionLog
from flowrex_ops.websocket.upgraded import UNREPORTED

CONFIRMED, INCONCLUSIVE, RULED_OUT = VerdictKind.CONFIRMED, VerdictKind.INCONCLUSIVE, VerdictKind.RULED_OUT
OLD = replicas(backend_1=3600.0, backend_2=3600.0)
TIMEOUT = locations(location(read_timeout_seconds=15.0))
NOBODY = Reading("backend", "WebSocket gauges", error="no gauge")


def ended(*ago: float, age: float | None = None, replica: str = "") -> list[dict[str, Any]]:
    return [closing(UNREPORTED, "unreported", ago=seconds, age=age, replica=replica) for seconds in ago]


def proxy_log(*closings: dict[str, Any], opened: tuple[float, ...] = ()) -> Reading[ConnectionLog]:
    """What *closings* and uvicorn's openings, so many seconds ago, make."""
    reported = log(*closings)
    facts = {
        "openings": tuple(NOW - timedelta(seconds=seconds) for seconds in opened),
        "opened": len(opened) or len(closings),
        "unreported": len(closings),
        "replicas": frozenset({"backend-1", "backend-2"}),
        "begins_at": NOW - timedelta(minutes=5),
    }
    return replace(reported, value=replace(reported.require(), **facts))


def unexplained(
    reported: Reading[ConnectionLog], running: Any = OLD, shaken: Any = None, open_now: Any = NOBODY
) -> Verdict:
    return checks.check_unexplained_disconnections(
        reported, TIMEOUT, running, proxy_errors(), shaken if shaken is not None else handshakes(), open_now
    )


class TestTimeout:
    def test_ages_in_the_log(self) -> None:
        """``$request_time`` bunches at the timeout, at different times."""
        reported = proxy_log(*ended(90, 60, 40, 20, age=15.01))
        verdict = checks.check_proxy_timeout(reported, TIMEOUT, OLD, proxy_errors())
        assert (verdict.kind, "quiet for 15 s: 4 of 4" in verdict.reason) == (CONFIRMED, True), verdict.reason

    def test_other_ages_rule_it_out(self) -> None:
        """All ages are known, and none is the timeout's."""
        reported = proxy_log(*ended(90, 60, 40, 20, age=44.0))
        verdict = checks.check_proxy_timeout(reported, TIMEOUT, OLD, proxy_errors())
        assert (verdict.kind, "0 of 4" in verdict.reason) == (RULED_OUT, True), verdict.reason

    def test_ages_by_openings(self) -> None:
        """``combined`` has no ages; most connections began just one timeout before another ended."""
        reported = proxy_log(*ended(100, 83, 61, 40, 12), opened=(115.2, 98.3, 76.1, 55.4, 27.0, 3.0))
        verdict = checks.check_proxy_timeout(reported, TIMEOUT, OLD, proxy_errors())
        assert (verdict.kind, "5 of 5" in verdict.reason) == (CONFIRMED, True), verdict.reason

    def test_pairs_by_chance_are_no_ages(self) -> None:
        """Where connections begin every second, one began at any time before: nothing is known of their ages."""
        reported = proxy_log(*ended(100, 83, 61, 40, 12), opened=tuple(float(second) for second in range(1, 180)))
        verdict = checks.check_proxy_timeout(reported, TIMEOUT, OLD, proxy_errors())
        assert verdict.kind is INCONCLUSIVE

    def test_an_earlier_break_is_no_chance(self) -> None:
        """All were cut twice, 15 s after they began; they began first after a restart of the proxy, 24 s before the first cut."""
        ends, opened = (*(60.0,) * 6, *(44.5,) * 5), (*(84.0,) * 6, *(75.0,) * 6, *(59.5,) * 6)
        verdict = checks.check_proxy_timeout(proxy_log(*ended(*ends), opened=opened), TIMEOUT, OLD, proxy_errors())
        assert (verdict.kind, "11 of 11" in verdict.reason) == (CONFIRMED, True), verdict.reason


class TestRestart:
    def test_many_ended_just_before_replicas_started(self) -> None:
        reported = proxy_log(*ended(60, 60, 60.5, 59.5))
        verdict = checks.check_backend_restart(reported, TIMEOUT, replicas(backend_1=55.0, backend_2=54.0))
        words = "backend-1, backend-2 restarted and took 4 connections along"
        assert (verdict.kind, words in verdict.reason) == (CONFIRMED, True), verdict.reason

    def test_no_replica_started(self) -> None:
        """The stack knows of each: that is evidence, whatever the logs leave out."""
        verdict = checks.check_backend_restart(proxy_log(*ended(60, 60, 60)), TIMEOUT, OLD)
        assert (verdict.kind, "none of 2 replicas has started" in verdict.reason) == (RULED_OUT, True)

    @pytest.mark.parametrize("running", [replicas(backend_1=3600.0), Reading("stack", "services", error="gone")])
    def test_a_start_that_nobody_knows(self, running: Any) -> None:
        assert checks.check_backend_restart(proxy_log(*ended(60, 60, 60)), TIMEOUT, running).kind is INCONCLUSIVE


class TestUnexplained:
    def test_all_at_once(self) -> None:
        verdict = unexplained(proxy_log(*ended(60, 60, 60, 60, 60, 60, 58, 56)))
        assert (verdict.kind, verdict.severity) == (CONFIRMED, Severity.P2)
        assert "6 of 8 recent WebSockets ended at once" in verdict.reason

    def test_people_who_leave_one_by_one(self) -> None:
        """Ends without codes at odd moments may be that, and prove nothing."""
        assert unexplained(proxy_log(*ended(200, 150, 90, 30))).kind is INCONCLUSIVE

    def test_most_broke_off(self) -> None:
        verdict = unexplained(log(*[closing(1006, age=7.0 * n) for n in range(1, 6)]))
        assert "5 of 5 recent WebSockets broke off" in verdict.reason

    def test_a_few_of_many_open_ones(self) -> None:
        """Five phones that lose their network, of two hundred."""
        reported = log(*[closing(1006, age=7.0 * n) for n in range(1, 6)])
        assert unexplained(reported, open_now=samples(60, 60, connections=(200, 200))).kind is not CONFIRMED

    def test_a_restart_explains_them(self) -> None:
        reported = proxy_log(*ended(60, 60, 60.5, 59.5))
        assert unexplained(reported, replicas(backend_1=55.0, backend_2=54.0)).kind is not CONFIRMED

    def test_nobody_gets_through(self) -> None:
        """Neither through the proxy nor straight: whatever it is, users have no WebSocket."""
        verdict = unexplained(log(closing(1000)), shaken=handshakes("refused", "refused", status=500))
        assert (verdict.kind, verdict.severity) == (CONFIRMED, Severity.P1)

    def test_what_could_not_be_looked_at_is_said(self) -> None:
        gone = Reading("stack", "services", error="no engine")
        verdict = unexplained(log(*[closing(1006, age=7.0 * n) for n in range(1, 6)]), gone)
        assert "no services: no engine" in verdict.reason


def test_kinds_of_ends() -> None:
    reported = proxy_log(*ended(90, age=15.0), *ended(60, age=3.0))
    assert list(views.attributed(reported.require(), TIMEOUT, OLD)["kind"]) == ["timeout", "unreported"]


def test_moment_without_a_time() -> None:
    """A line without a time counts, and is part of no burst."""
    rows = [row | {"at": None} for row in ended(60, 60, 60)]
    assert unexplained(proxy_log(*rows)).kind is INCONCLUSIVE
