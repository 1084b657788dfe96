"""Readings on the left, the verdict on the right: what the runbook says of WebSockets that end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from database_examples import NOW, silent
from websocket_examples import closing, handshakes, location, locations, log, proxy_errors, replicas, samples

from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.websocket import checks, views
from flowrex_ops.websocket.closings import ConnectionLog

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
NO_LOG = silent("WebSocket closings", "the log cannot be read", None)
NO_CONFIGURATION = silent("proxy configuration", "nginx -T cannot be run", None)
NO_HANDSHAKES = silent("WebSocket handshakes", "no place is known", None)
NO_STACK = silent("services", "the stack does not answer", None)
NO_PROXY_LOG = silent("proxy errors", "the stack has no service 'nginx'", None)
NO_UPGRADE = location(upgrade_header="", connection_header="", http_version="1.0")
QUIET = proxy_errors()
AT_60 = [closing(1006, age=60.0 + n / 10, ago=200 - 40 * n) for n in range(4)]
"""Four connections that ended at different times, each a minute old."""
AT_ONCE = [60.0 - n / 30 for n in range(90)]
"""How long ago ninety connections began, within three seconds."""
CUT = [closing(1012, age=900.0, ago=64.0, restart=True)] * 90
LEAVING = [closing(1001, age=5.0 * n) for n in range(9)]

REFUSED_BY_PROXY_ALONE = handshakes("refused", "unknown", status=404)
REFUSED_BY_PROXY_ALONE.require().loc[1:, "status"] = None
EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "all come back at once after a restart": (
        lambda: back(log(*CUT, began_ago=AT_ONCE)),
        CONFIRMED,
        "90 WebSockets came back within 5 s at 04:11:00 UTC, after backend-1 had started",
    ),
    "whose replicas were killed is known to have ended once these start": (
        lambda: back(log(*[closing(1006, "lost", age=900.0, ago=58.0)] * 90, began_ago=AT_ONCE)),
        CONFIRMED,
        "90 WebSockets came back within 5 s",
    ),
    "each waits by chance before it comes back": (
        lambda: back(log(*CUT, began_ago=[60.0 - n / 3 for n in range(90)])),
        RULED_OUT,
        "at most 16 of 90 WebSockets that began lately did so within 5 s",
    ),
    "users come as the market moves": (
        lambda: back(log(*LEAVING, began_ago=AT_ONCE)),
        RULED_OUT,
        "hardly any had ended in the minute before: these are new",
    ),
    "they came, and were cut off soon after": (
        lambda: back(log(*[closing(1012, age=2.0, ago=56.0)] * 90, began_ago=AT_ONCE)),
        RULED_OUT,
        "these are new",
    ),
    "a few of many thousand come back": (
        lambda: back(log(*CUT, began_ago=AT_ONCE), 9000),
        RULED_OUT,
        "at most 90 of 90",
    ),
    "a log that does not tell when they begin": (
        lambda: back(log(*CUT)),
        INCONCLUSIVE,
        "does not tell when WebSockets begin",
    ),
    "no log at all": (lambda: back(NO_LOG), INCONCLUSIVE, "the log cannot be read"),
    "the handshake goes through": (
        lambda: checks.check_proxy_misconfigured(handshakes(), locations(), QUIET),
        RULED_OUT,
        "101 in 0.02 s",
    ),
    "the location lacks its headers": (
        lambda: checks.check_proxy_misconfigured(handshakes("refused", status=404), locations(NO_UPGRADE), QUIET),
        CONFIRMED,
        "no header Upgrade, no header Connection: upgrade, HTTP/1.0",
    ),
    "a header that closes the connection is no upgrade": (
        lambda: checks.check_proxy_misconfigured(
            handshakes("refused", status=400), locations(location(connection_header="close")), QUIET
        ),
        CONFIRMED,
        "no header Connection: upgrade",
    ),
    "without its configuration, the comparison decides": (
        lambda: checks.check_proxy_misconfigured(handshakes("refused", status=426), NO_CONFIGURATION, QUIET),
        CONFIRMED,
        "straight to 2 replicas it succeeds",
    ),
    "without a handshake, the configuration decides": (
        lambda: checks.check_proxy_misconfigured(NO_HANDSHAKES, locations(NO_UPGRADE), QUIET),
        CONFIRMED,
        "no header Upgrade",
    ),
    "without a handshake, a sound configuration rules it out": (
        lambda: checks.check_proxy_misconfigured(handshakes(""), locations(), QUIET),
        RULED_OUT,
        "no handshake was tried",
    ),
    "neither can be read": (
        lambda: checks.check_proxy_misconfigured(NO_HANDSHAKES, NO_CONFIGURATION, QUIET),
        INCONCLUSIVE,
        "nginx -T cannot be run",
    ),
    "a configuration without WebSockets tells nothing": (
        lambda: checks.check_proxy_misconfigured(
            NO_HANDSHAKES, locations(location("/", carries_websockets=False)), QUIET
        ),
        INCONCLUSIVE,
        "set proxy.websocket_path",
    ),
    "the backend refuses everybody, so it is not the proxy": (
        lambda: checks.check_proxy_misconfigured(
            handshakes("refused", "refused", "refused", status=403), locations(), QUIET
        ),
        RULED_OUT,
        "straight to the replicas it fails too",
    ),
    "a path at which no replica knows a WebSocket needs no headers": (
        lambda: checks.check_proxy_misconfigured(
            handshakes("refused", "refused", "refused", status=404), locations(NO_UPGRADE), QUIET
        ),
        INCONCLUSIVE,
        "set proxy.websocket_path, or there are no WebSockets",
    ),
    "a platform without WebSockets misses none": (
        lambda: checks.check_unexplained_disconnections(
            log(), NO_CONFIGURATION, replicas(), QUIET, handshakes("refused", "refused", status=404), samples()
        ),
        INCONCLUSIVE,
        "set proxy.websocket_path, or there are no WebSockets",
    ),
    "nor does one whose replicas could not be asked": (
        lambda: checks.check_unexplained_disconnections(
            log(), NO_CONFIGURATION, replicas(), QUIET, REFUSED_BY_PROXY_ALONE, samples()
        ),
        INCONCLUSIVE,
        "what is behind the proxy refuses it, it was refused with 404: set proxy.websocket_path",
    ),
    "no worker connections left is another cause": (
        lambda: checks.check_proxy_misconfigured(
            handshakes("dropped"), locations(), proxy_errors(worker_connections=8)
        ),
        RULED_OUT,
        "no worker connections left",
    ),
    "a 502 with a sound configuration is not understood": (
        lambda: checks.check_proxy_misconfigured(handshakes("refused", status=502), locations(), QUIET),
        INCONCLUSIVE,
        "read NGINX's log",
    ),
    "what this machine cannot reach says nothing": (
        lambda: checks.check_proxy_misconfigured(handshakes("unknown", "unknown"), NO_CONFIGURATION, QUIET),
        INCONCLUSIVE,
        "nginx -T cannot be run",
    ),
    "memory climbs with every message": (
        lambda: checks.check_memory_leak(samples(60, 62, 64, 66, 68)),
        CONFIRMED,
        "backend-1 grows by 120 MB a minute to 68 MB while its connections went from 5 to 5",
    ),
    "memory climbs with connections that are gone": (
        lambda: checks.check_memory_leak(samples(60, 62, 64, 66, messages=0, closed=3)),
        CONFIRMED,
        "120 MB a minute",
    ),
    "new connections hold it": (
        lambda: checks.check_memory_leak(samples(60, 62, 64, 66, 68, connections=(5, 10, 15, 20, 25))),
        RULED_OUT,
        "new connections hold it",
    ),
    "it climbs, and no WebSocket did anything": (
        lambda: checks.check_memory_leak(samples(60, 62, 64, 66, 68, messages=0)),
        RULED_OUT,
        "no WebSocket sent or closed",
    ),
    "one big allocation is no leak": (
        lambda: checks.check_memory_leak(samples(60, 70, 70, 70, 70, 70)),
        RULED_OUT,
        "10.0 MB at most",
    ),
    "memory stands still": (
        lambda: checks.check_memory_leak(samples(60, 60.2, 60.1, 60.3)),
        RULED_OUT,
        "a slow leak takes a longer look",
    ),
    "a replica that was restarted meanwhile starts anew": (
        lambda: checks.check_memory_leak(samples(200, 210, 60, 60.5, 61)),
        RULED_OUT,
        "1.0 MB at most",
    ),
    "a backend that does not tell its memory": (
        lambda: checks.check_memory_leak(samples(None, None, None)),
        INCONCLUSIVE,
        "process_resident_memory_bytes",
    ),
    "gauges that cannot be read": (
        lambda: checks.check_memory_leak(silent("WebSocket gauges", "no replica answered")),
        INCONCLUSIVE,
        "no WebSocket gauges",
    ),
    "the backend is full": (
        lambda: checks.check_connection_limit(
            log(*[closing(1013, age=0.0, reason="limit of 200 connections")] * 5),
            QUIET,
            handshakes(),
            locations(),
            samples(60),
        ),
        CONFIRMED,
        "5 were closed with 1013 lately, on backend-1: limit of 200 connections",
    ),
    "it is full right now, by our own handshake": (
        lambda: checks.check_connection_limit(
            NO_LOG, NO_PROXY_LOG, handshakes("ok", "closed", close_code=1013), locations(), samples(60)
        ),
        CONFIRMED,
        "refuses WebSockets above its limit",
    ),
    "NGINX is full": (
        lambda: checks.check_connection_limit(
            log(), proxy_errors(worker_connections=8), handshakes(), NO_CONFIGURATION, samples(60)
        ),
        CONFIRMED,
        "it said so 8 times lately",
    ),
    "nobody is turned away": (
        lambda: checks.check_connection_limit(log(*LEAVING), QUIET, handshakes(), locations(), samples(60)),
        RULED_OUT,
        "0 connections were refused",
    ),
    "without NGINX's log its limit is unknown": (
        lambda: checks.check_connection_limit(log(), NO_PROXY_LOG, handshakes(), locations(), samples(60)),
        INCONCLUSIVE,
        "no proxy errors",
    ),
    "the handler raises": (
        lambda: checks.check_backend_error(log(*[closing(1011)] * 4, errors=(("KeyError: 'EURUSD'", 4),))),
        CONFIRMED,
        "KeyError: 'EURUSD' (4 of 4 recent closings)",
    ),
    "without a traceback its reason does": (
        lambda: checks.check_backend_error(log(*[closing(1011, reason="ValueError")] * 4)),
        CONFIRMED,
        "The WebSocket handler fails: ValueError",
    ),
    "a client that fails is not our handler": (
        lambda: checks.check_backend_error(log(*[closing(1011, "client")] * 9)),
        RULED_OUT,
        "0 of 9",
    ),
    "it raised an hour ago": (
        lambda: checks.check_backend_error(log(*[closing(1011, recent=False)] * 9)),
        RULED_OUT,
        "0 of 0",
    ),
    "a log that cannot be read": (lambda: checks.check_backend_error(NO_LOG), INCONCLUSIVE, "the log cannot be read"),
    "a polite restart": (
        lambda: checks.check_backend_restart(log(*[closing(1012)] * 4), locations(), replicas(backend_1=9)),
        CONFIRMED,
        "backend-1 restarted and took 4 connections along, the last at 04:11:50 UTC",
    ),
    "a process that died without a word": (
        lambda: checks.check_backend_restart(log(*[closing(1006, "lost", restart=True)] * 4), locations(), NO_STACK),
        CONFIRMED,
        "took 4 connections along",
    ),
    "connections that broke off just before the engine started the replica": (
        lambda: checks.check_backend_restart(log(*[closing(1006, ago=10)] * 4), locations(), replicas(backend_1=8)),
        CONFIRMED,
        "backend-1 restarted",
    ),
    "another replica's start explains nothing": (
        lambda: checks.check_backend_restart(log(*[closing(1006, ago=10)] * 4), locations(), replicas(backend_2=8)),
        INCONCLUSIVE,
        "4 of 4 recent connections broke off (1006)",
    ),
    "a deployment half an hour ago": (
        lambda: checks.check_backend_restart(
            log(*[closing(1012, ago=1800, recent=False)] * 9, *LEAVING), locations(), replicas(backend_1=1800)
        ),
        RULED_OUT,
        "0 of 9 recent closings",
    ),
    "users who leave just before a restart left by themselves": (
        lambda: checks.check_backend_restart(log(*LEAVING), locations(), replicas(backend_1=8)),
        RULED_OUT,
        "0 of 9",
    ),
    "closings bunch at the proxy's timeout": (
        lambda: checks.check_proxy_timeout(log(*AT_60), locations(), replicas(), QUIET),
        CONFIRMED,
        "quiet for 60 s: 4 of 4 recent closings",
    ),
    "silence counts where the log tells it, and not the age": (
        lambda: checks.check_proxy_timeout(
            log(*[closing(1006, age=900.0 + n, idle_seconds=60.1) for n in range(4)]), locations(), replicas(), QUIET
        ),
        CONFIRMED,
        "quiet for 60 s",
    ),
    "a connection that just ended may be told as 1005": (
        lambda: checks.check_proxy_timeout(log(*[closing(1005, age=60.0)] * 4), locations(), replicas(), QUIET),
        CONFIRMED,
        "4 of 4 recent closings",
    ),
    "users who leave after a minute are no timeout": (
        lambda: checks.check_proxy_timeout(log(*[closing(1001, age=60.0)] * 9), locations(), replicas(), QUIET),
        RULED_OUT,
        "0 of 9 recent closings came after the proxy's read timeout (60 s)",
    ),
    "a short timeout elsewhere": (
        lambda: checks.check_proxy_timeout(
            log(*LEAVING, closing(1006, age=2.0)),
            locations(location("/api/", carries_websockets=False, read_timeout_seconds=2.0), location()),
            replicas(),
            QUIET,
        ),
        RULED_OUT,
        "(60 s)",
    ),
    "NGINX says so itself": (
        lambda: checks.check_proxy_timeout(NO_LOG, NO_CONFIGURATION, NO_STACK, proxy_errors(timeout=5)),
        CONFIRMED,
        "NGINX says so of 5 connections",
    ),
    "without its configuration, one age at different times is enough": (
        lambda: checks.check_proxy_timeout(log(*AT_60), NO_CONFIGURATION, replicas(), NO_PROXY_LOG),
        CONFIRMED,
        "most after 60 s of silence; NGINX's timeout could not be read",
    ),
    "without its configuration, all ages are no answer": (
        lambda: checks.check_proxy_timeout(
            log(*[closing(1006, age=7.0 * n, ago=20 * n) for n in range(9)]), NO_CONFIGURATION, replicas(), NO_PROXY_LOG
        ),
        INCONCLUSIVE,
        "no proxy configuration: nginx -T cannot be run",
    ),
    "without its configuration, nobody dropped is an answer": (
        lambda: checks.check_proxy_timeout(log(*LEAVING), NO_CONFIGURATION, replicas(), QUIET),
        RULED_OUT,
        "which could not be read",
    ),
    "connections that break off for no visible reason": (
        lambda: checks.check_proxy_timeout(
            log(*[closing(1006, age=7.0 * n) for n in range(1, 6)]), locations(), replicas(), QUIET
        ),
        INCONCLUSIVE,
        "was the proxy restarted, or a network cut?",
    ),
    "a few that break off among many are mobile phones": (
        lambda: checks.check_proxy_timeout(
            log(*LEAVING, *[closing(1006, age=7.0 * n) for n in range(1, 5)]), locations(), replicas(), QUIET
        ),
        RULED_OUT,
        "0 of 13",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    judge, kind, words = EXAMPLES[example]
    verdict = judge()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason


def back(found: Reading[ConnectionLog], open_now: int = 100) -> Verdict:
    """Whether all came back at once; a replica started a minute ago."""
    gauges = samples(80, 80, connections=(open_now, open_now))
    return checks.check_reconnect_storm(found, gauges, replicas(backend_1=62, backend_2=9000))


def test_nobody_gets_through_is_worse_than_drops() -> None:
    """P1 when no upgrade is passed on, P2 for what drops some."""
    nobody = checks.check_proxy_misconfigured(handshakes("refused", status=404), locations(), QUIET)
    some = checks.check_backend_error(log(*[closing(1011)] * 4))
    assert (nobody.severity, some.severity) == (Severity.P1, Severity.P2)


class TestCharging:
    def kinds(self, *closings: dict[str, object]) -> list[str]:
        return list(views.attributed(log(*closings).require(), locations(), replicas(backend_2=8))["kind"])

    def test_each_code_has_its_cause(self) -> None:
        """What a close code says outright needs no other evidence."""
        assert self.kinds(closing(1013), closing(1012), closing(1011), closing(1000), closing(1001, "server")) == [
            "limit",
            "restart",
            "error",
            "client",
            "server",
        ]

    def test_a_restart_goes_before_a_timeout(self) -> None:
        """A minute old when its replica died: the replica's death ended it."""
        assert self.kinds(closing(1006, age=60.0, replica="backend-2", ago=9)) == ["restart"]

    def test_a_timeout_in_a_replica_that_did_not_restart(self) -> None:
        assert self.kinds(closing(1006, age=60.0, replica="backend-1", ago=9)) == ["timeout"]

    def test_left_without_a_code(self) -> None:
        """1005 is a client's, unless its silence was the proxy's timeout."""
        assert self.kinds(closing(1005, age=17.0), closing(1005, age=60.0)) == ["client", "timeout"]


class TestViews:
    def test_codes_have_their_names(self) -> None:
        """As RFC 6455 has them, the recent ones first."""
        table = views.count_codes(log(closing(1000, recent=False), closing(1006), closing(1006, age=None)).require())
        assert table[["code", "name", "closings", "recent"]].values.tolist() == [
            [1006, "abnormal closure (no closing frame)", 2, 2],
            [1000, "normal closure", 1, 0],
        ]

    def test_a_bunch_needs_different_times(self) -> None:
        """Connections of one age that end at one moment began at one moment, and tell nothing of a timeout."""
        at_once = views.attributed(log(*[closing(1006, age=50.0)] * 5).require(), NO_CONFIGURATION, NO_STACK)
        assert views.find_bunch(at_once, few=3) is None

    def test_locations_say_what_is_not_set(self) -> None:
        shown = views.websocket_locations(locations(NO_UPGRADE, location("/", carries_websockets=False)).require())
        assert shown["WebSockets"].tolist() == ["yes", "no"]
        assert shown["Upgrade"].tolist()[0] == "not set"


OF_A_LOG = (
    checks.check_backend_error,
    lambda reported: checks.check_backend_restart(reported, locations(), replicas()),
    lambda reported: checks.check_proxy_timeout(reported, locations(), replicas(), QUIET),
    lambda reported: checks.check_connection_limit(reported, QUIET, handshakes(""), locations(), samples(60, 60)),
)


@pytest.mark.parametrize("judge", OF_A_LOG)
@pytest.mark.parametrize(
    ("facts", "words"),
    [({"opened": 15, "unreported": 15}, "without saying how"), ({"opened": 0, "closed": 0}, "tells of no WebSocket")],
    ids=["the server's own lines", "no line at all"],
)
def test_a_log_that_does_not_tell_how_connections_end_rules_nothing_out(
    judge: Callable[[Reading[ConnectionLog]], Verdict], facts: dict[str, int], words: str
) -> None:
    """0 of 0 is no evidence, and neither are closings without a code."""
    empty = log()
    reported = replace(empty, value=replace(empty.require(), **facts))
    verdict = judge(reported)
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert words in verdict.reason


def test_no_replica_was_asked_straight() -> None:
    """Then nobody knows whether it is the proxy, and nobody says that the replicas fail too."""
    verdict = checks.check_proxy_misconfigured(handshakes("refused", status=426), locations(), QUIET)
    alone = handshakes("refused", status=426)
    alone = replace(alone, value=alone.require().query("straight != True"))
    alone_verdict = checks.check_proxy_misconfigured(alone, NO_CONFIGURATION, QUIET)
    assert verdict.kind is VerdictKind.CONFIRMED
    assert (alone_verdict.kind, "no replica could be asked" in alone_verdict.reason) == (VerdictKind.INCONCLUSIVE, True)


def test_an_upgrade_to_what_no_server_takes() -> None:
    verdict = checks.check_proxy_misconfigured(NO_HANDSHAKES, locations(location(upgrade_header="upgrade")), QUIET)
    assert (verdict.kind, "which no server takes" in verdict.reason) == (VerdictKind.CONFIRMED, True)


def test_only_replicas_of_the_log_are_said_to_have_started() -> None:
    """What else started lately took no WebSockets of the backend along."""
    empty = log()
    facts = {"opened": 5, "closed": 0, "begins_at": NOW - timedelta(hours=1), "replicas": frozenset({"backend-1"})}
    reported = replace(empty, value=replace(empty.require(), **facts))
    verdict = checks.check_backend_restart(reported, locations(), replicas(backend_1=60.0, streams_1=60.0))
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "backend-1 started within the time looked at" in verdict.reason
    assert "streams-1" not in verdict.reason
