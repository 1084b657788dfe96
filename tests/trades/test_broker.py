"""The broker source against the stand-in broker over real sockets: down, slow, strict, picky, talking nonsense, silent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from outside_process import BACKEND, Outside, running

from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.logs.broker_errors import classify
from flowrex_ops.model import Execution, Replica
from flowrex_ops.trades.broker import BrokerSource, parse_adapter_answer
from flowrex_sandbox import control as sandbox_package
from tests.metrics.test_prometheus import answering

TOKEN, ACCOUNT = "s3cret-token", "101-001"
LIMIT_SECONDS = 2.0


@pytest.fixture(scope="module")
def process() -> Iterator[Outside]:
    """The stand-in as a process of its own."""
    with running(BROKER_TOKEN=TOKEN, BROKER_ACCOUNT=ACCOUNT) as found:
        yield found


def order(outside: Outside, **order: Any) -> tuple[int, Any]:
    return outside.ask("POST", f"/v3/accounts/{ACCOUNT}/orders", {"order": order}, token=TOKEN)


@pytest.fixture
def outside(process: Outside) -> Iterator[Outside]:
    """The stand-in without a fault, before and after."""
    yield process
    process.heal("broker")


def source(url: str, *, token: str = TOKEN, stack: Any = None, limit_seconds: float = LIMIT_SECONDS) -> BrokerSource:
    return BrokerSource(stack, "backend", url=url, token=token, account=ACCOUNT, limit_seconds=limit_seconds)


def kinds(url: str, **options: Any) -> list[str]:
    return source(url, **options).check_from_here().require()["kind"].tolist()


STILL_LOADING = """\
Timeout (0:00:03.200000)!
Thread 0x00007f2b (most recent call first):
  File "/code/app/__init__.py", line 8 in <module>
  File "<frozen importlib._bootstrap>", line 1178 in _find_and_load
  File "<string>", line 3 in <module>
"""
"""A busy machine, and an application that does much while it is imported: the broker was not asked yet."""


class TestProtocol:
    """The stand-in answers as OANDA documents it."""

    def test_order_is_filled(self, outside: Outside) -> None:
        status, answer = order(outside, type="MARKET", instrument="EUR_USD", units="100")
        assert status == 201
        assert answer["orderFillTransaction"]["units"] == "100"

    def test_order_that_cannot_be_filled_is_cancelled(self, outside: Outside) -> None:
        """201 also then: the order was accepted."""
        outside.fail("broker", fault="reject", symbol="XAUUSD", reason="MARKET_HALTED")
        status, answer = order(outside, type="MARKET", instrument="XAU_USD", units="1")
        assert (status, answer["orderCancelTransaction"]["reason"]) == (201, "MARKET_HALTED")
        assert "orderFillTransaction" in order(outside, type="MARKET", instrument="EUR_USD", units="1")[1]

    def test_order_that_is_wrong_is_rejected(self, outside: Outside) -> None:
        status, answer = order(outside, type="MARKET", instrument="DOGE_USD", units="1")
        assert (status, answer["errorCode"]) == (400, "INSTRUMENT_NOT_TRADEABLE")
        assert "orderRejectTransaction" in answer

    def test_wrong_token(self, outside: Outside) -> None:
        status, answer = outside.ask("GET", f"/v3/accounts/{ACCOUNT}/summary", token="wrong")
        assert (status, answer["errorMessage"]) == (401, "Insufficient authorization to perform request.")

    def test_unknown_fault(self, outside: Outside) -> None:
        assert outside.ask("POST", "/_control/broker", {"fault": "flood"})[0] == 404


@contextmanager
def full_backlog() -> Iterator[str]:
    """An address at which connections are neither taken nor refused."""
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class TestFromHere:
    def test_answers(self, outside: Outside) -> None:
        """Asked a few times, for the latency."""
        found = source(outside.url).check_from_here(times=3).require()
        assert found["kind"].tolist() == ["ok", "ok", "ok"]
        assert found["connected"].all()
        assert (found["seconds"] < LIMIT_SECONDS).all()

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [("unauthorized", "credentials"), ("rate-limit", "rejected"), ("malformed", "unreachable")],
    )
    def test_fault(self, outside: Outside, fault: str, expected: str) -> None:
        outside.fail("broker", fault=fault)
        assert kinds(outside.url) == [expected]

    @pytest.mark.parametrize("fault", [{"fault": "slow", "seconds": 4}, {"fault": "silent"}])
    def test_no_answer_in_time(self, outside: Outside, fault: dict[str, Any]) -> None:
        """Slow beyond the limit, or accepts and never answers: bounded."""
        outside.fail("broker", **fault)
        started = time.monotonic()
        assert kinds(outside.url) == ["timeout"]
        assert time.monotonic() - started < LIMIT_SECONDS + 1

    def test_socket_that_accepts_and_says_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert kinds(f"http://127.0.0.1:{server.getsockname()[1]}") == ["timeout"]

    def test_socket_that_takes_no_connection(self) -> None:
        """Nobody knows of our orders there: that is unreachable, not slow."""
        with full_backlog() as url:
            assert kinds(url) == ["unreachable"]

    def test_down(self) -> None:
        assert kinds("http://127.0.0.1:1") == ["unreachable"]

    def test_old_token(self, outside: Outside) -> None:
        assert kinds(outside.url, token="expired") == ["credentials"]

    @pytest.mark.parametrize("url", ["http://[", "not a url", "http://nowhere.invalid"])
    def test_address_that_cannot_be(self, url: str) -> None:
        """A slip in the settings is an answer too, not a traceback."""
        assert kinds(url) == ["unreachable"]

    def test_not_configured_says_what_to_set(self) -> None:
        assert "set broker.url" in str(source("").check_from_here().error)


class FakeStack:
    """A stack in which commands answer as told; one entry a replica."""

    def __init__(self, *answers: Execution | StackUnavailableError) -> None:
        self._answers = dict(enumerate(answers, start=1))

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        return [Replica("backend", f"backend-{number}", "running", "none", str(number)) for number in self._answers]

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        answer = self._answers[int(replica.identity)]
        if isinstance(answer, StackUnavailableError):
            raise answer
        return answer


class LocalStack(FakeStack):
    """A stack with one replica, in which commands really run: the backend's own code, against *broker*."""

    def __init__(self, broker: str, **environment: str) -> None:
        super().__init__(OK)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(BACKEND),
            "BROKER_URL": broker,
            "BROKER_TOKEN": TOKEN,
            "BROKER_ACCOUNT": ACCOUNT,
            **environment,
        }

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        command = [sys.executable, *argv[1:]]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=20, check=False)
        return Execution(done.returncode, done.stdout, done.stderr)


OK = Execution(0, '{"connected": true, "latency_ms": 12, "error": null}\n', "")


class TestFromTheBackend:
    def test_in_the_sandbox(self, any_sandbox: sandbox_package.Sandbox) -> None:
        """The adapter itself, with each replica's own environment."""
        asked = BrokerSource(any_sandbox.stack(), "backend", url="", token="", account="", limit_seconds=20)
        found = asked.check_from_backend().require()
        assert found[["place", "kind"]].values.tolist() == [[f"backend-{n}", "ok"] for n in (1, 2, 3)]

    def asked(self, broker: str, **environment: str) -> tuple[str, str]:
        # A fifth of it is for an interpreter to start, and to be ended, on a machine that does much else.
        asked = source("", stack=LocalStack(broker, **environment), limit_seconds=6)
        found = asked.check_from_backend().require().iloc[0]
        return found["kind"], found["error"]

    def test_answers(self, outside: Outside) -> None:
        assert self.asked(outside.url) == ("ok", "")

    @pytest.mark.parametrize("patience", ["0.3", "60"])
    def test_no_connection_is_not_slow(self, patience: str) -> None:
        """Whether the adapter's own time limit strikes or ours does."""
        with full_backlog() as url:
            kind, error = self.asked(url, BROKER_TIMEOUT_SECONDS=patience)
        assert kind == "unreachable"
        assert "no connection" in error

    @pytest.mark.parametrize("patience", ["0.3", "60"])
    def test_no_answer_is_slow(self, outside: Outside, patience: str) -> None:
        outside.fail("broker", fault="silent")
        kind, error = self.asked(outside.url, BROKER_TIMEOUT_SECONDS=patience)
        assert kind == "timeout"
        assert "no answer" in error

    def test_one_that_cannot_be_asked_does_not_hide_the_others(self) -> None:
        stack = FakeStack(OK, StackUnavailableError("no such container"))
        found = source("", stack=stack).check_from_backend().require()
        assert found["kind"].tolist() == ["ok", "unknown"]

    def test_none_that_can_be_asked_is_unavailable(self) -> None:
        reading = source("", stack=FakeStack(StackUnavailableError("engine is gone"))).check_from_backend()
        assert "engine is gone" in str(reading.error)

    def test_no_replica(self) -> None:
        assert "no running replica" in str(source("", stack=FakeStack()).check_from_backend().error)

    @pytest.mark.parametrize(
        ("done", "expected"),
        [
            (OK, ("ok", 0.012)),
            (Execution(0, "noise\ntrue\n", ""), ("ok", 9.0)),
            (Execution(0, "false", ""), ("other", 9.0)),
            (Execution(0, '{"connected": false, "error": "broker timeout: no answer in 2 s"}', ""), ("timeout", 9.0)),
            (Execution(0, "[]", ""), ("other", 9.0)),
            (Execution(1, "", "Traceback …\nConnectionRefusedError: [Errno 111] refused"), ("unreachable", 9.0)),
            (Execution(1, "", "ModuleNotFoundError: No module named 'app'"), ("unknown", 9.0)),
            (Execution(1, "", STILL_LOADING), ("unknown", 9.0)),
            (Execution(1, "", STILL_LOADING.replace("line 3", "line 5")), ("timeout", 9.0)),
            (Execution(127, "", ""), ("unknown", 9.0)),
            (Execution(0, "", ""), ("unknown", 9.0)),
        ],
    )
    def test_whatever_the_adapter_prints(self, done: Execution, expected: tuple[str, float]) -> None:
        row = parse_adapter_answer("backend-1", done, 9.0)
        assert (row["kind"], row["seconds"]) == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "trade failed id=401 symbol=EURUSD side=buy reason=broker-timeout: broker timeout: no answer in 2 s",
            "timeout",
        ),
        ("broker credentials refused: HTTP 401", "credentials"),
        ("OAuth token has expired", "credentials"),
        ("broker unreachable: no connection in 2 s", "unreachable"),
        ("[Errno 110] Connection timed out", "unreachable"),
        ("httpx.ConnectTimeout: timed out", "unreachable"),
        ("broker unreachable: [Errno -3] Temporary failure in name resolution", "unreachable"),
        ("broker unavailable: HTTP 503", "unreachable"),
        ("broker rate limit: HTTP 429 Too many requests.", "rejected"),
        ("rejected by broker: INSUFFICIENT_MARGIN", "rejected"),
        ("risk limit max_notional: BTCUSD worth # is above #", "risk"),
        ("trade failed reason=database: permission denied for table trades", "database"),
        ("couldn't get a connection after 2.00 sec", "database"),
        ("", "other"),
    ],
)
def test_kind_of_an_error(text: str, kind: str) -> None:
    assert classify(text) == kind


class TestFills:
    """What the broker has filled, by its own list of transactions."""

    def test_by_the_id_that_we_gave(self, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
        """Page after page; an order that was rejected is none, and one that was sent by hand has no id of ours."""
        monkeypatch.setattr("flowrex_ops.trades.broker._PAGE", 2)
        for name in ("desk-1", "desk-2", "desk-3"):
            order(outside, type="MARKET", instrument="EUR_USD", units="7", clientExtensions={"id": name})
        order(outside, type="MARKET", instrument="EUR_USD", units="5")
        order(outside, type="MARKET", instrument="DOGE_USD", units="5", clientExtensions={"id": "desk-4"})
        found = source(outside.url).get_fills(minutes=5).require()
        assert [name for name in found.table["client_order"].dropna() if name.startswith("desk")] == [
            "desk-1",
            "desk-2",
            "desk-3",
        ]
        assert found.table["client_order"].isna().any()
        assert found.table["filled_at"].between(found.begins_at, found.until).all()

    def test_no_further_back_than_was_read(self, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of many pages the newest; what is older is not compared."""
        monkeypatch.setattr("flowrex_ops.trades.broker._PAGE", 1)
        monkeypatch.setattr("flowrex_ops.trades.broker.MOST_PAGES", 2)
        for _ in range(3):
            order(outside, type="MARKET", instrument="EUR_USD", units="7")
        found = source(outside.url).get_fills(minutes=5).require()
        assert (len(found.table), found.begins_at) == (2, found.table["filled_at"].min())

    def test_the_token_goes_nowhere_else(self) -> None:
        """A list whose pages lie on another machine is asked for where the settings say."""
        pages = {
            "from": "2026-01-31T04:00:00Z",
            "to": "2026-01-31T04:30:00Z",
            "pages": ["http://192.0.2.1/x?from=1&to=2"],
        }
        fill = {"type": "ORDER_FILL", "id": "2", "time": "2026-01-31T04:12:00.123456789Z", "clientOrderID": "7"}
        with answering(json.dumps(pages | {"transactions": [fill]}).encode()) as url:
            assert source(url).get_fills(minutes=5).require().table["client_order"].tolist() == ["7"]

    @pytest.mark.parametrize(("fault", "said"), [("unauthorized", "HTTP 401"), ("malformed", "can be understood")])
    def test_a_list_that_cannot_be_read_is_none(self, outside: Outside, fault: str, said: str) -> None:
        outside.fail("broker", fault=fault)
        assert said in str(source(outside.url).get_fills(minutes=5).error)

    def test_without_an_address(self) -> None:
        assert "set broker.url" in str(source("").get_fills(minutes=5).error)
