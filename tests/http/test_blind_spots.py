"""Nothing is ruled out that could not have been seen, and what two logs tell together is not lost between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from database_examples import NOW, silent
from error_examples import (
    BUG,
    LONG_AGO,
    RECENT,
    REDIS,
    access,
    ago,
    answer,
    ask,
    errors,
    failed,
    fine,
    on_all,
    services,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrex_ops.http import checks
from flowrex_ops.http.attribution import attribute
from flowrex_ops.http.context import Limits
from flowrex_ops.logs.access_log import AccessCounter
from flowrex_ops.logs.error_log import read_errors
from flowrex_ops.model import LogLine, Reading, Severity, Verdict, VerdictKind
from flowrex_ops.services.impact import of_failures
from tests.http.test_checks import BEFORE, CHECKS

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
COMBINED = {"made_by": "unknown", "replica": "", "version": ""}
"""What NGINX's ``combined`` format does not tell."""


def plainly(**facts: Any) -> list[dict[str, Any]]:
    """Requests on two routes, as ``combined`` has them."""
    return [answer(150, route=route, **COMBINED, **facts) for route in ("/api/prices", "/api/portfolio")]


def causes(*readings: Reading[Any]) -> dict[str, VerdictKind]:
    return {verdict.cause: verdict.kind for verdict in (ask(check, *readings) for check in CHECKS)}


def confirmed(*readings: Reading[Any]) -> list[str]:
    return [cause for cause, kind in causes(*readings).items() if kind is CONFIRMED]


def with_requests(reading: Reading[Any], change: Callable[[pd.DataFrame], pd.DataFrame]) -> Reading[Any]:
    log = reading.require()
    return replace(reading, value=replace(log, requests=change(log.requests)))


class TestCombinedLogs:
    def test_one_route_that_fails_is_found_without_the_makers(self) -> None:
        """All its failures are in the proxy's log alone: the backend logs no requests."""
        asked = access(*plainly(), answer(160, 500, route="/api/orders", **COMBINED))
        assert confirmed(asked, errors(), services()) == ["http.single-route"]

    def test_a_502_of_the_application_is_its_own(self) -> None:
        """The backend has logged it, so the proxy has not made it."""
        asked = access(*plainly(), answer(30, 502, **COMBINED))
        assert confirmed(asked, errors(*on_all(10, status=502, **BUG), *on_all(90, status=200)), services()) == [
            "http.single-route"
        ]

    def test_a_502_that_nobody_can_tell_is_unexplained(self) -> None:
        """No upstream in the proxy's log, no requests in the backend's: not the proxy's, and not ruled out to be."""
        asked = access(*plainly(), answer(30, 502, **COMBINED))
        found = causes(asked, errors(), services())
        assert found["http.upstream-unreachable"] is INCONCLUSIVE
        assert [cause for cause, kind in found.items() if kind is CONFIRMED] == ["http.unexplained-errors"]

    def test_the_proxys_error_log_tells_it(self) -> None:
        """``connect() failed (111: Connection refused) while connecting to upstream``."""
        asked = access(*plainly(), answer(30, 502, **COMBINED))
        unreached = pd.DataFrame([(ago(1), 502, "backend-2", 30)], columns=["at", "status", "replica", "requests"])
        known = replace(asked, value=replace(asked.require(), unreached=unreached))
        assert confirmed(known, errors(), services()) == ["http.upstream-unreachable"]

    def test_failures_of_a_replica_whose_log_is_gone_are_counted(self) -> None:
        """Ten of forty are in the logs that are left; thirty stay, without an error."""
        asked = access(*fine(), answer(40, 500))
        found = attribute(asked, errors(failed(10, replica="backend-2", **BUG)), services(), Limits())
        assert found.rows.groupby("signature")["requests"].sum().to_dict() == {
            "KeyError in trading.py:get_prices": 10,
            "no error logged": 30,
        }

    def test_one_replica_is_known_from_the_replicas_own_logs(self) -> None:
        """Three logs of a foreign platform: ``combined``, and uvicorn's of two replicas, of which one fails every order."""
        logs = Path(__file__).parents[1] / "logs" / "samples"
        now = datetime(2026, 11, 27, 21, 25, 40, tzinfo=UTC)
        counter = AccessCounter(until=now, since=now - timedelta(minutes=30), recent_since=now - timedelta(minutes=5))
        counter.add((logs / "one-replica-nginx-combined.log").read_bytes())
        lines = [
            LogLine("backend", f"backend-{number}", text, now - timedelta(seconds=15 - n / 100))
            for number in (1, 2)
            for n, text in enumerate((logs / f"one-replica-backend{number}.log").read_text().splitlines())
        ]
        reported = read_errors(
            lines, until=now, since=now - timedelta(minutes=30), recent_since=now - timedelta(minutes=5)
        )
        readings = (
            Reading("access log", "requests at the proxy", counter.result()),
            Reading("logs", "errors in the log", reported),
            services("", ""),
        )
        assert confirmed(*readings) == ["http.single-replica"]
        assert "Only backend-2 fails: KeyError" in ask(checks.check_single_replica, *readings).reason


class TestReleases:
    def test_a_complete_deploy_is_known_by_its_containers(self) -> None:
        """No log names a release; all containers were made while requests were served already, and fail since."""
        replaced = services("", "", "", started=ago(3))
        replaced = replace(replaced, value=replaced.require().assign(created_at=ago(3.1)))
        asked = access(*plainly(at=ago(10)), *plainly(at=ago(1)))
        logged = errors(*on_all(5, at=ago(2.9), **BUG), begins=ago(3))
        assert confirmed(asked, logged, replaced) == ["http.bad-deploy"]

    def test_a_platform_that_was_just_started_has_replaced_nothing(self) -> None:
        """The proxy was there first, and answered 502 until there was somebody to ask."""
        started = services("", "", "", started=ago(3))
        started = replace(started, value=started.require().assign(created_at=ago(3.1)))
        asked = access(answer(40, 502, at=ago(3.5), **COMBINED), *plainly(at=ago(1)))
        assert "http.bad-deploy" not in confirmed(asked, errors(*on_all(5, at=ago(2.9), **BUG)), started)

    def test_a_restart_of_the_same_containers_is_none(self) -> None:
        restarted = services("", "", "", started=ago(3))
        restarted = replace(restarted, value=restarted.require().assign(created_at=LONG_AGO))
        asked = access(*plainly(at=ago(10)), *plainly(at=ago(1)))
        assert "http.bad-deploy" not in confirmed(asked, errors(*on_all(5, at=ago(2.9), **BUG)), restarted)

    def test_what_the_proxy_missed_while_it_was_rolled_out_is_over(self) -> None:
        """Fifteen 502s of its own while containers were replaced, none of hundreds since."""
        new = services("1.5.0", "1.5.0", "1.5.0", started=ago(3))
        missed = answer(15, 502, made_by="proxy", version="", at=ago(3))
        asked = access(*BEFORE, missed, *fine(at=ago(1), version="1.5.0"))
        verdict = ask(checks.check_upstream_unreachable, asked, errors(*on_all(5, at=ago(2.9), **BUG)), new)
        assert verdict.kind is RULED_OUT
        assert "while 1.5.0 replaced 1.4.2" in verdict.reason


class TestRank:
    def test_what_explains_more_has_the_larger_share(self) -> None:
        """A dependency that costs 199 of 945 comes before a proxy that missed 15; both are of one outage."""
        asked = access(*fine(900), answer(15, 502, made_by="proxy"), answer(30, 502, made_by="proxy", at=ago(0.1)))
        logged = errors(*on_all(66, **REDIS))
        few = ask(checks.check_upstream_unreachable, asked, logged, services())
        many = ask(checks.check_dependency_failing, asked, logged, services())
        assert many.share > few.share > 0
        assert many.severity is few.severity

    def test_an_outage_that_began_just_now_is_a_whole_one(self) -> None:
        """Most of the window went well; since a minute nothing does."""
        asked = access(*fine(900, at=ago(4)), answer(100, 502, made_by="proxy", at=ago(1)))
        assert ask(checks.check_upstream_unreachable, asked, errors(), services()).severity is Severity.P0

    def test_what_has_ended_is_told_as_past(self) -> None:
        asked = access(*fine(), answer(60, 500, at=ago(4)), *fine(at=ago(0.5)))
        verdict = ask(checks.check_single_route, asked, errors(*on_all(20, at=ago(4), **BUG)), services())
        assert (verdict.kind, verdict.severity) == (CONFIRMED, Severity.P3)
        assert verdict.title.startswith("Over since ")

    @pytest.mark.parametrize(
        ("failing", "requests", "expected"),
        [
            (100, 100, Severity.P0),
            (50, 100, Severity.P1),
            (49, 100, Severity.P2),
            (3, 3, Severity.P1),
            (0, 0, Severity.P2),
        ],
    )
    def test_severity_is_by_impact(self, failing: int, requests: int, expected: Severity) -> None:
        assert of_failures(failing, requests) is expected


def broken() -> tuple[Reading[Any], ...]:
    """One route fails on every replica, and Redis is gone beside it."""
    asked = access(*fine(), *(answer(25, 500, replica=f"backend-{number}") for number in (1, 2, 3)))
    logged = errors(*on_all(15, **BUG), *on_all(10, **REDIS), *on_all(90, status=200))
    return asked, logged, services()


NEEDED = {
    "http.worker-connections": set(),
    "http.upstream-unreachable": {"made_by"},
    "http.dependency-failing": {"signature"},
    "http.new-exception": {"signature"},
    "http.single-replica": {"replica"},
    "http.single-route": {"route"},
    "http.bad-deploy": {"started_at"},
    "http.traffic-flood": {"client"},
    "http.client-errors": set(),
    "http.unexplained-errors": set(),
}
"""The column that each check cannot do without, beside ``at``, ``status`` and ``requests``, which all of them need."""


class TestNothingIsRuledOutThatWasNotSeen:
    @pytest.mark.parametrize("total", [0, 1, 9])
    def test_too_few_requests(self, total: int) -> None:
        found = causes(access(*([answer(total)] if total else []), clients={"a": total}), errors(), services())
        assert RULED_OUT not in found.values()

    @given(st.floats(0.02, 1))
    def test_lines_that_were_not_understood(self, share: float) -> None:
        """However many, above one in a hundred."""
        asked = access(*fine())
        unread = replace(
            asked, value=replace(asked.require(), lines=1000, unread=int(1000 * share / (1 - min(share, 0.99))) + 1)
        )
        assert RULED_OUT not in causes(unread, errors(*on_all(9, status=200)), services()).values()

    @pytest.mark.parametrize("column", ["at", "status", "requests"])
    @pytest.mark.parametrize("empty", ["", None])
    def test_a_column_that_all_need(self, column: str, empty: str | None) -> None:
        asked, logged, running = broken()
        blanked = (with_requests(one, lambda rows: rows.assign(**{column: empty})) for one in (asked, logged))
        assert RULED_OUT not in causes(*blanked, running).values()

    @pytest.mark.parametrize("cause", [cause for cause, columns in NEEDED.items() if columns])
    def test_the_column_that_one_needs(self, cause: str) -> None:
        (column,) = NEEDED[cause]
        asked, logged, running = broken()
        check = next(one for one in CHECKS if one.cause == cause)

        def blank(rows: pd.DataFrame) -> pd.DataFrame:
            return rows.assign(
                **({column: ""} if column in rows else {}),
                status=rows["status"].replace(500, 502 if column == "made_by" else 500),
            )

        asked, logged = (with_requests(one, blank) for one in (asked, logged))
        if column == "made_by":
            logged = errors()
        if column == "client":
            asked = replace(asked, value=replace(asked.require(), clients=asked.require().clients.assign(client="")))
        running = replace(running, value=blank(running.require().assign(status=0)))
        assert ask(check, asked, logged, running).kind is not RULED_OUT

    def test_a_replica_without_a_log(self) -> None:
        """Neither log tells what backend-3 served."""
        asked = access(*plainly(), answer(20, 500, **COMBINED))
        logged = errors(*(failed(10, replica=name, **BUG) for name in ("backend-1", "backend-2")))
        verdict = ask(checks.check_single_replica, asked, logged, services())
        assert verdict.kind is INCONCLUSIVE
        assert "backend-3" in verdict.reason


columns = st.sampled_from(
    ["at", "method", "route", "status", "made_by", "replica", "version", "requests", "signature", "kind", "dependency"]
)
blanks = st.sampled_from(["", None, 0])


@settings(max_examples=settings().max_examples // 4)
@given(
    st.lists(columns, max_size=4), blanks, st.sampled_from([None, 0, 1, 2]), st.sampled_from(["drop", "blank", "empty"])
)
def test_no_gap_makes_a_check_raise(names: list[str], empty: object, part: int | None, how: str) -> None:
    """Columns blank or not there, no rows at all, a reading that is missing: there is a verdict, with a reason."""
    asked, logged, running = broken()

    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        present = [name for name in names if name in rows]
        if how == "empty":
            return rows.iloc[:0]
        return rows.assign(**dict.fromkeys(present, empty)) if how == "blank" else rows.drop(columns=present)

    asked, logged = (with_requests(one, spoil) for one in (asked, logged))
    readings: list[Reading[Any]] = [asked, logged, running]
    if part is not None:
        readings[part] = silent()
    verdicts: list[Verdict] = [ask(check, *readings) for check in CHECKS]
    assert all(verdict.reason for verdict in verdicts)
    if part is None and how == "empty":
        assert RULED_OUT not in {verdict.kind for verdict in verdicts}


def test_the_window_is_the_one_of_the_examples() -> None:
    """Five minutes, up to now."""
    assert timedelta(minutes=5) == NOW - RECENT
