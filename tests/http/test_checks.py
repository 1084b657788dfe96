"""Readings on the left, the verdict on the right: what the runbook says of requests that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from database_examples import silent
from error_examples import (
    BUG,
    FILES,
    FLOODERS,
    POOL,
    REDIS,
    access,
    ago,
    answer,
    ask,
    errors,
    exhausted,
    failed,
    files,
    fine,
    on_all,
    said,
    services,
    surge,
    unreached,
)

from flowrex_ops.http import checks, responses
from flowrex_ops.http.attribution import attribute
from flowrex_ops.http.context import Limits
from flowrex_ops.model import Severity, Verdict, VerdictKind

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
ROUTES = ("/api/prices", "/api/portfolio")
CHECKS = (
    checks.check_worker_connections,
    checks.check_open_files,
    checks.check_upstream_unreachable,
    checks.check_dependency_failing,
    checks.check_bad_deploy,
    checks.check_traffic_flood,
    checks.check_client_errors,
    checks.check_single_replica,
    checks.check_single_route,
    checks.check_new_exception,
    checks.check_unexplained_errors,
)


def proxy(requests: int, status: int, **facts: Any) -> dict[str, Any]:
    return answer(requests, status, made_by="proxy", version="", **facts)


LIMITED = 'limiting requests, excess: 2.3 by zone "perip"'
EXPIRED = "upstream SSL certificate verify error: (10:certificate has expired) while SSL handshaking to upstream"

NEW = services("1.5.0", "1.5.0", "1.5.0", started=ago(3))
"""Release 1.5.0 everywhere, three minutes ago."""
BEFORE = fine(at=ago(10))
AFTER = fine(at=ago(1), version="1.5.0")

EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "NGINX has no connections left": (
        lambda: ask(checks.check_worker_connections, exhausted(*fine(), proxy(50, 500)), errors(), services()),
        CONFIRMED,
        "'worker_connections are not enough': 50 of 350 recent requests were answered 500 for it",
    ),
    "it cuts users off before they have asked": (
        lambda: ask(checks.check_worker_connections, exhausted(*fine()), errors(), services()),
        CONFIRMED,
        "0 of 300 recent requests were answered 500 for it; who is cut off first is not logged",
    ),
    "the same, minutes ago": (
        lambda: ask(
            checks.check_worker_connections,
            exhausted(*fine(at=ago(3)), *fine(at=ago(0.5)), at=ago(3)),
            errors(),
            services(),
        ),
        CONFIRMED,
        "Over since",
    ),
    "the proxy's own limit refuses users with NGINX's 503": (
        lambda: ask(
            checks.check_client_errors,
            said(LIMITED, *fine(), proxy(150, 503), failed={f"198.51.100.{n}": 5 for n in range(1, 31)}),
            errors(*on_all(100, status=200)),
            services(),
        ),
        CONFIRMED,
        'The proxy\'s own limit refuses users with 503: limiting requests, excess: 2.3 by zone "perip" (150 of 450',
    ),
    "it holds back its busiest clients alone": (
        lambda: ask(
            checks.check_client_errors,
            said(LIMITED, *fine(), proxy(150, 503), failed={"198.51.100.1": 90, "198.51.100.2": 60}),
            errors(*on_all(100, status=200)),
            services(),
        ),
        CONFIRMED,
        "The proxy's own limit refuses only its busiest clients with 503",
    ),
    "the proxy fails by itself, and says why": (
        lambda: ask(
            checks.check_unexplained_errors,
            said('open() "/srv/page" failed (24: …)', *fine(), proxy(50, 500)),
            errors(*on_all(100, status=200)),
            services(),
        ),
        CONFIRMED,
        'no known cause explains it: open() "/srv/page" failed (24: …)',
    ),
    "the backend's certificate is refused by the proxy": (
        lambda: ask(checks.check_upstream_unreachable, said(EXPIRED, *fine(), proxy(300, 502)), errors(), services()),
        CONFIRMED,
        f"it says: {EXPIRED}",
    ),
    "the proxy gets no answer of a worker that its server ended": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), proxy(300, 502)),
            errors(failed(1, signature="[CRITICAL] WORKER TIMEOUT (pid:7)")),
            services(),
        ),
        CONFIRMED,
        "the backend: it is [CRITICAL] WORKER TIMEOUT (pid:7)",
    ),
    "a replica can open no more, and says so": (
        lambda: ask(
            checks.check_open_files,
            access(*fine(), answer(40, 500)),
            errors(failed(40, **FILES)),
            services(),
            files(1020.0, 31.0, 30.0),
        ),
        CONFIRMED,
        "No files left to open on backend-1: it is OSError in export.py:write (40 of 340 recent requests)",
    ),
    "a replica can hardly open more, and no request has failed yet": (
        lambda: ask(checks.check_open_files, access(*fine()), errors(), services(), files(30.0, 1000.0, 30.0)),
        CONFIRMED,
        "backend-2 runs out of open files: 1000 of 1024 files are open; 0 of 300 recent requests failed of it",
    ),
    "it takes no connections for a moment: no request is lost, and it is logged": (
        lambda: ask(checks.check_open_files, access(*fine()), errors(failed(0, **FILES)), services()),
        CONFIRMED,
        "backend-1 runs out of open files: logged lately (1): it is OSError",
    ),
    "half of the files are open": (
        lambda: ask(checks.check_open_files, access(*fine()), errors(), services(), files(512.0, 30.0, 30.0)),
        RULED_OUT,
        "backend-1 holds most: 512 of 1024 files are open",
    ),
    "one replica does not tell its files": (
        lambda: ask(checks.check_open_files, access(*fine()), errors(), services(), files(30.0, None, 30.0)),
        INCONCLUSIVE,
        "backend-2 does not tell its open files: no process_open_fds",
    ),
    "files are told, and the log is silent": (
        lambda: ask(checks.check_open_files, access(*fine()), silent("errors in the log"), services()),
        INCONCLUSIVE,
        "no errors in the log",
    ),
    "nothing tells of files": (
        lambda: ask(checks.check_open_files, access(*fine()), silent("log"), services(), silent("open files")),
        INCONCLUSIVE,
        "no open files",
    ),
    "one line of an hour ago": (
        lambda: ask(checks.check_worker_connections, exhausted(*fine(), at=ago(60)), errors(), services()),
        RULED_OUT,
        "0 lines",
    ),
    "a 500 of the proxy's own, and its error log goes elsewhere": (
        lambda: ask(checks.check_worker_connections, access(*fine(), proxy(50, 500)), errors(), services()),
        INCONCLUSIVE,
        "50 of 350 answers are 500 of its own: read why",
    ),
    "a 500 that the backend made": (
        lambda: ask(
            checks.check_worker_connections, access(*fine(), answer(50, 500)), errors(failed(50, **BUG)), services()
        ),
        RULED_OUT,
        "0 of 350",
    ),
    "the backend is gone": (
        lambda: ask(checks.check_upstream_unreachable, access(proxy(50, 502)), errors(), services()),
        CONFIRMED,
        "50 refused or not there (502)",
    ),
    "one replica broke a moment ago, after minutes in which it served as the others": (
        lambda: ask(
            checks.check_single_replica,
            access(*fine(600, at=ago(4)), *fine(60, at=ago(0.1)), answer(9, 500, at=ago(0.1))),
            errors(failed(9, at=ago(0.1), **BUG)),
            services(),
        ),
        CONFIRMED,
        "Only backend-1 fails",
    ),
    "one replica hangs": (
        lambda: ask(checks.check_upstream_unreachable, access(*fine(), proxy(9, 504)), errors(), services()),
        CONFIRMED,
        "does not reach backend-1: 9 without an answer in time (504)",
    ),
    "a 502 that the backend made is not the proxy's": (
        lambda: ask(checks.check_upstream_unreachable, access(*fine(), answer(50, 502)), errors(), services()),
        RULED_OUT,
        "made 0 of 350",
    ),
    "a log that does not tell who answered, and a backend that logged none": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), answer(9, 502, made_by="unknown")),
            errors(*on_all(99, status=200)),
            services(),
        ),
        CONFIRMED,
        "9 refused",
    ),
    "HAProxy has no server for them": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), answer(50, 503, made_by="proxy", replica="app/<NOSRV>")),
            errors(),
            services(),
        ),
        CONFIRMED,
        "The proxy does not reach the backend: 50 that no server took (503)",
    ),
    "its error log says that no server takes them, and the requests name none": (
        lambda: ask(
            checks.check_upstream_unreachable,
            unreached(*fine(), answer(50, 503, made_by="unknown", replica=""), status=503),
            errors(*on_all(99, status=200)),
            services(),
        ),
        CONFIRMED,
        "The proxy does not reach the backend: 50 that no server took (503)",
    ),
    "its error log says that their name leads nowhere, which it answers with 500": (
        lambda: ask(
            checks.check_upstream_unreachable,
            unreached(*fine(), answer(50, 500, made_by="unknown", replica=""), status=500),
            errors(*on_all(99, status=200)),
            services(),
        ),
        CONFIRMED,
        "The proxy does not reach the backend: 50 whose name leads nowhere (500)",
    ),
    "two replicas, each alone with an error of its own": (
        lambda: ask(
            checks.check_single_replica,
            access(*fine(), answer(30, 500), answer(20, 500, replica="backend-2")),
            errors(failed(30, **BUG), failed(20, replica="backend-2", **REDIS)),
            services(),
        ),
        CONFIRMED,
        "; backend-2 with another error (50 of 350 recent requests)",
    ),
    "a maintenance page is not that": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), answer(50, 503, made_by="proxy", replica="")),
            errors(),
            services(),
        ),
        RULED_OUT,
        "made 0",
    ),
    "one route waits for something, and the others are served": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), answer(9, 504, made_by="proxy", replica="", route="/api/trades")),
            errors(*on_all(99, status=200)),
            services(),
        ),
        CONFIRMED,
        "The backend does not answer on /api/trades in time: 9 without an answer in time (504), while other routes are",
    ),
    "the same, and the backend did log them": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*fine(), answer(9, 502, made_by="unknown")),
            errors(failed(9, 502)),
            services(),
        ),
        RULED_OUT,
        "made 0",
    ),
    "some seconds after a release the 502 of its rollout are over": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*BEFORE, proxy(60, 502, at=ago(0.2)), *fine(30, at=ago(0.1), version="1.5.0")),
            errors(),
            services("1.5.0", "1.5.0", "1.5.0", started=ago(0.2)),
        ),
        RULED_OUT,
        "60 of 90 recent answers itself (502, 503, 504) for want of one from the backend, while 1.5.0 replaced",
    ),
    "without a release so short a rest is none": (
        lambda: ask(
            checks.check_upstream_unreachable,
            access(*BEFORE, proxy(60, 502, at=ago(0.2)), *fine(30, at=ago(0.1))),
            errors(),
            services(),
        ),
        CONFIRMED,
        "60 refused",
    ),
    "the proxy's log cannot be read": (
        lambda: ask(checks.check_upstream_unreachable, silent("requests at the proxy"), errors(), services()),
        INCONCLUSIVE,
        "no requests at the proxy",
    ),
    "Redis is gone": (
        lambda: ask(checks.check_dependency_failing, access(*fine()), errors(*on_all(5, **REDIS)), services()),
        CONFIRMED,
        "Requests fail because of redis",
    ),
    "two dependencies fail, minutes apart, and the first is back": (
        lambda: ask(
            checks.check_dependency_failing,
            access(*fine(at=ago(4)), *fine(at=ago(2)), *fine(at=ago(0.5))),
            errors(*on_all(40, at=ago(4), **REDIS), *on_all(40, at=ago(0.5), **POOL)),
            services(),
        ),
        CONFIRMED,
        f"Requests fail because of redis (until {ago(4):%H:%M:%S} UTC) and postgres (since {ago(0.5):%H:%M:%S} UTC): ",
    ),
    "a pool that is empty without any flood is PostgreSQL's": (
        lambda: ask(
            checks.check_dependency_failing, access(*fine()), errors(*on_all(5, status=503, **POOL)), services()
        ),
        CONFIRMED,
        "because of postgres",
    ),
    "the market's server hangs since a minute, after four good ones": (
        lambda: ask(
            checks.check_dependency_failing,
            access(*fine(9000, at=ago(4)), *fine(12, at=ago(0.5)), answer(10, 500, at=ago(0.6), replica="backend-2")),
            errors(*on_all(4, at=ago(0.6), **REDIS)),
            services(),
        ),
        CONFIRMED,
        "Requests fail because of redis",
    ),
    "Redis is gone for one replica alone": (
        lambda: ask(checks.check_dependency_failing, access(*fine()), errors(failed(30, **REDIS)), services()),
        RULED_OUT,
        "0 of 300",
    ),
    "a release that comes while Redis is gone is not at fault": (
        lambda: ask(checks.check_bad_deploy, access(*BEFORE, *AFTER), errors(*on_all(5, **REDIS)), NEW),
        RULED_OUT,
        "1.5.0 replaced 1.4.2",
    ),
    "errors begin with a release": (
        lambda: ask(checks.check_bad_deploy, access(*BEFORE, *AFTER), errors(*on_all(5, at=ago(2.9), **BUG)), NEW),
        CONFIRMED,
        "Errors began with release 1.5.0: it is KeyError",
    ),
    "what failed before it, in containers that have taken their logs along, is not its doing": (
        lambda: ask(
            checks.check_bad_deploy,
            access(
                *BEFORE, answer(30, 500, at=ago(4.5), route="/api/portfolio"), *AFTER, answer(103, 500, version="1.5.0")
            ),
            errors(failed(100, at=ago(2.9), **BUG), failed(3, at=ago(2.9))),
            NEW,
        ),
        CONFIRMED,
        "Errors began with release 1.5.0: it is KeyError in trading.py:get_prices (100 of",
    ),
    "the same routes failed before it": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*BEFORE, answer(60, 500, at=ago(10)), *AFTER, answer(20, 500, version="1.5.0")),
            errors(*on_all(5, at=ago(2.9), **BUG)),
            NEW,
        ),
        RULED_OUT,
        "no error began with it",
    ),
    "errors that begin long after it": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*BEFORE, *fine(at=ago(2.9), version="1.5.0"), *AFTER),
            errors(*on_all(5, at=ago(1), **BUG)),
            NEW,
            deploy_lag_minutes=1.0,
        ),
        RULED_OUT,
        "no error began with it",
    ),
    "a release that takes its time to start": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*BEFORE, *AFTER),
            errors(*on_all(5, at=ago(0.9), **BUG)),
            NEW,
            deploy_lag_minutes=0.2,
        ),
        CONFIRMED,
        "Errors began with release 1.5.0",
    ),
    "a release beside the older one fails alone": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*fine()),
            errors(failed(30, replica="backend-3", **BUG)),
            services("1.4.2", "1.4.2", "1.5.0", started=ago(30)),
        ),
        CONFIRMED,
        "release 1.5.0",
    ),
    "a restart is no release": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*fine(at=ago(10)), *fine()),
            errors(*on_all(5, at=ago(2.9), **BUG)),
            services(started=ago(3)),
        ),
        RULED_OUT,
        "no release came",
    ),
    "nothing tells which release served before": (
        lambda: ask(
            checks.check_bad_deploy,
            access(*fine(at=ago(10), version=""), *fine(version="")),
            errors(*on_all(5, at=ago(2.9), **BUG)),
            NEW,
        ),
        INCONCLUSIVE,
        "no log tells which release",
    ),
    "the stack does not answer": (
        lambda: ask(checks.check_bad_deploy, access(*fine()), errors(*on_all(5, **BUG)), silent("services")),
        INCONCLUSIVE,
        "no services",
    ),
    "one replica fails": (
        lambda: ask(checks.check_single_replica, access(*fine()), errors(failed(30, **BUG)), services()),
        CONFIRMED,
        "Only backend-1 fails",
    ),
    "the only replica that is asked": (
        lambda: ask(checks.check_single_replica, access(answer(90)), errors(failed(30, **BUG)), services("1.4.2")),
        RULED_OUT,
        "0 of 90",
    ),
    "one route fails on every replica": (
        lambda: ask(checks.check_single_route, access(*fine()), errors(*on_all(10, **BUG)), services()),
        CONFIRMED,
        "Only /api/prices fails",
    ),
    "one route fails, and the proxy alone can be read": (
        lambda: ask(
            checks.check_single_route,
            access(*fine(), *(answer(9, 500, replica=f"backend-{n}") for n in (1, 2, 3))),
            silent("errors in the log"),
            services(),
        ),
        CONFIRMED,
        "Only /api/prices fails",
    ),
    "three in a thousand are noise": (
        lambda: ask(checks.check_single_route, access(*fine(6000)), errors(*on_all(1, **BUG)), services()),
        RULED_OUT,
        "3 of 6000",
    ),
    "a new error everywhere": (
        lambda: ask(checks.check_new_exception, access(*fine()), errors(*on_all(5, routes=ROUTES, **BUG)), services()),
        CONFIRMED,
        "New error on every route",
    ),
    "an error that is as old as the log": (
        lambda: ask(
            checks.check_new_exception,
            access(*fine()),
            errors(*on_all(5, routes=ROUTES, **BUG), begins=ago(2)),
            services(),
        ),
        INCONCLUSIVE,
        "30 failed requests fit none",
    ),
    "an error of every quarter of an hour": (
        lambda: ask(
            checks.check_new_exception,
            access(*fine()),
            errors(*(row for m in range(1, 120, 10) for row in on_all(5, routes=ROUTES, at=ago(m), **BUG))),
            services(),
        ),
        INCONCLUSIVE,
        "fit none",
    ),
    "failures without any error in the log": (
        lambda: ask(checks.check_single_replica, access(*fine()), errors(*on_all(5, routes=ROUTES)), services()),
        INCONCLUSIVE,
        "no error logged",
    ),
    "two clients take every connection": (
        lambda: ask(
            checks.check_traffic_flood,
            access(*fine(), clients=FLOODERS | {f"c{n}": 8 for n in range(40)}),
            errors(*on_all(9, **POOL)),
            services(),
        ),
        CONFIRMED,
        "2 clients send 85% of all requests",
    ),
    "two clients send most, and the status alone says why requests fail": (
        lambda: ask(
            checks.check_traffic_flood,
            access(*fine(), answer(30, 503), clients=FLOODERS | {f"c{n}": 8 for n in range(40)}),
            silent(),
            services(),
        ),
        CONFIRMED,
        "2 clients send",
    ),
    "two clients send most, and nobody can tell why requests fail": (
        lambda: ask(
            checks.check_traffic_flood,
            access(*fine(), answer(30, 500), clients=FLOODERS | {f"c{n}": 8 for n in range(40)}),
            silent(),
            services(),
        ),
        INCONCLUSIVE,
        "did not answer",
    ),
    "two clients send most, and nobody is refused for it": (
        lambda: ask(
            checks.check_traffic_flood,
            access(*fine(), clients=FLOODERS | {f"c{n}": 8 for n in range(40)}),
            errors(*on_all(9, **BUG)),
            services(),
        ),
        RULED_OUT,
        "none fails of it",
    ),
    "all clients look like one behind their proxy": (
        lambda: ask(
            checks.check_traffic_flood,
            access(*fine(), clients={"10.0.0.1": 300}),
            errors(*on_all(9, **POOL)),
            services(),
        ),
        INCONCLUSIVE,
        "all requests come from one address",
    ),
    "logins are refused that were not before": (
        lambda: ask(checks.check_client_errors, surge(*BEFORE), errors(), services()),
        CONFIRMED,
        "33% of 450 recent requests were answered 401, 0% before",
    ),
    "a third has always been refused": (
        lambda: ask(checks.check_client_errors, surge(*BEFORE, answer(150, 401, at=ago(10))), errors(), services()),
        RULED_OUT,
        "33% of 450 recent requests were answered 401, 33% before",
    ),
    "one client with a wrong password": (
        lambda: ask(checks.check_client_errors, surge(*BEFORE, refused={"203.0.113.9": 150}), errors(), services()),
        RULED_OUT,
        "150 of 150 by 1 clients",
    ),
    "three clients, and now and then another's mistake": (
        lambda: ask(
            checks.check_client_errors,
            surge(*BEFORE, refused={"203.0.113.9": 142, "198.51.100.1": 4, "198.51.100.2": 2, "198.51.100.3": 2}),
            errors(),
            services(),
        ),
        RULED_OUT,
        "by 3 clients",
    ),
    "a scanner asks for what there is not": (
        lambda: ask(
            checks.check_client_errors,
            access(*BEFORE, *fine(), answer(200, 404), refused={"203.0.113.9": 200}, status=404),
            errors(),
            services(),
        ),
        RULED_OUT,
        "were answered 404",
    ),
    "nothing was logged before": (
        lambda: ask(checks.check_client_errors, surge(), errors(), services()),
        INCONCLUSIVE,
        "of 450 now and 0 before, too few to compare",
    ),
    "who is refused, a proxy in front hides": (
        lambda: ask(
            checks.check_client_errors,
            surge(*BEFORE, clients={"10.0.0.1": 450}, refused={"10.0.0.1": 150}),
            errors(),
            services(),
        ),
        INCONCLUSIVE,
        "all requests come from one address",
    ),
    "who did not wait for an answer was not refused": (
        lambda: ask(checks.check_client_errors, access(*BEFORE, *fine(), answer(200, 499)), errors(), services()),
        RULED_OUT,
        "no recent request was answered 4xx",
    ),
    "refusals that have ended": (
        lambda: ask(
            checks.check_client_errors,
            access(*BEFORE, answer(150, 401, at=ago(4)), *fine(), refused={f"c{n}": 5 for n in range(30)}),
            errors(),
            services(),
        ),
        CONFIRMED,
        "Over since",
    ),
    "failures of an hour ago are over": (
        lambda: ask(
            checks.check_single_route,
            access(*fine()),
            errors(*on_all(90, at=ago(60), **BUG), *on_all(9, status=200)),
            services(),
        ),
        RULED_OUT,
        "0 of 300",
    ),
    "a client's mistakes are no failures": (
        lambda: ask(checks.check_single_route, access(*fine(), answer(200, 400)), errors(failed(200, 400)), services()),
        RULED_OUT,
        "0 of 500",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    judge, kind, words = EXAMPLES[example]
    verdict = judge()
    assert verdict.kind is kind, verdict.reason
    assert words in verdict.reason


class TestAttribution:
    def test_each_failed_request_has_one_cause(self) -> None:
        """A hanging replica, a bug on one route and a missing Redis at once: each has its own."""
        proxied = access(*fine(), proxy(7, 504))
        logged = errors(*on_all(10, **BUG), *on_all(5, **REDIS))
        found = attribute(proxied, logged, services(), Limits())
        assert found.rows.groupby("cause")["requests"].sum().to_dict() == {
            "http.dependency-failing": 15,
            "http.single-route": 30,
            "http.upstream-unreachable": 7,
        }

    def test_a_flood_takes_the_requests_that_found_no_connection_and_no_others(self) -> None:
        """PostgreSQL is not at fault then, and the bug beside it stays a bug."""
        proxied = access(*fine(), clients=FLOODERS | {f"c{n}": 8 for n in range(40)})
        found = attribute(proxied, errors(*on_all(9, **POOL), *on_all(4, **BUG)), services(), Limits())
        assert found.rows.groupby("cause")["requests"].sum().to_dict() == {
            "http.single-route": 12,
            "http.traffic-flood": 27,
        }

    def test_healthy(self) -> None:
        """Everything answers, nothing fails, all is ruled out."""
        verdicts = [ask(check, access(*fine()), errors(*on_all(9, status=200)), services()) for check in CHECKS]
        assert {verdict.kind for verdict in verdicts} == {RULED_OUT}

    def test_the_proxys_own_500_are_taken_by_its_want_of_connections(self) -> None:
        """Also where the log does not tell who made them, and the backend logged none; a bug beside it stays a bug."""
        asked = exhausted(*fine(), answer(55, 500, made_by="unknown"), proxy(25, 500))
        found = attribute(asked, errors(*on_all(10, **BUG)), services(), Limits())
        assert found.rows.groupby("cause")["requests"].sum().to_dict() == {
            "http.single-route": 30,
            "http.worker-connections": 50,
        }


class TestSeverity:
    @pytest.mark.parametrize(("number", "expected"), [(300, Severity.P1), (9, Severity.P2)])
    def test_by_the_share_of_requests_that_fail(self, number: int, expected: Severity) -> None:
        """An outage for users, or a part of them that suffers."""
        verdict = ask(checks.check_upstream_unreachable, access(*fine(), proxy(number, 502)), errors(), services())
        assert verdict.severity is expected


class TestViews:
    def test_failed_is_ours_and_refused_is_the_clients(self) -> None:
        log = access(answer(90), answer(8, 500), answer(2, 404), answer(5, 500, at=ago(60))).require()
        assert responses.count_by_route(log).to_dict("records") == [
            {"route": "/api/prices", "requests": 100, "failed": 8, "failed_share": "8.0%", "refused": 2, "mean_ms": 10}
        ]

    def test_who_made_it(self) -> None:
        log = access(answer(3, 502), proxy(5, 502)).require()
        assert responses.count_by_maker(log)[["made_by", "requests"]].values.tolist() == [["proxy", 5], ["backend", 3]]

    def test_what_ran_out(self) -> None:
        assert responses.list_exhausted(exhausted(lines=7).require())["lines"].tolist() == [7]

    def test_what_is_refused(self) -> None:
        counted = responses.count_refused(surge().require())
        assert counted[["status", "route", "requests", "clients_of_status"]].values.tolist() == [
            [401, "/api/prices", 150, 30]
        ]

    def test_statuses_by_replica(self) -> None:
        log = errors(failed(3), failed(4, 200), failed(5, 201, replica="backend-2")).require()
        assert responses.count_statuses(log).values.tolist() == [["backend-1", 4, 3], ["backend-2", 5, 0]]
