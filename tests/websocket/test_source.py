"""The handshake probe against real servers on a socket: good, strict, proxied, silent, rude, gone."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.model import Replica, TlsEndpoint
from flowrex_ops.settings import Settings
from flowrex_ops.websocket.source import PROXY, ProbeTarget, WebSocketSource, find_targets

LIMIT_SECONDS = 2.0


@contextmanager
def websocket_server(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A real WebSocket server."""
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/ws"
        server.shutdown()
        thread.join()


@contextmanager
def answering(status: int) -> Iterator[str]:
    """An HTTP server that answers whatever is asked with *status*."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.server_port}/ws"
        server.shutdown()
        thread.join()


@contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A socket that accepts once and does what *answer* does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                answer(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/ws"
        thread.join(LIMIT_SECONDS + 2)


def ask(*urls: str, hold_seconds: float = 0.2) -> Any:
    places = [ProbeTarget(f"backend-{number}", url) for number, url in enumerate(urls, start=1)]
    source = WebSocketSource(lambda: places, limit_seconds=LIMIT_SECONDS)
    return source.shake_hands(hold_seconds=hold_seconds)


def test_a_good_server() -> None:
    """101, the ping is answered, what came is counted."""

    def ticks(connection: ServerConnection) -> None:
        for _ in range(3):
            connection.send("tick")
        for _ in connection:
            pass

    with websocket_server(ticks) as url:
        row = ask(url).require().iloc[0]

    assert (row["kind"], row["status"], row["messages"]) == ("ok", 101, 3)
    assert row["ping_seconds"] < 0.5


@pytest.mark.parametrize("code", [1011, 1013])
def test_closed_while_it_is_held(code: int) -> None:
    """The close code tells why."""
    with websocket_server(lambda connection: connection.close(code)) as url:
        row = ask(url).require().iloc[0]

    assert (row["kind"], row["close_code"]) == ("closed", code)


@pytest.mark.parametrize("status", [200, 403, 404, 426, 502])
def test_another_status_than_101(status: int) -> None:
    """A proxy that passes no upgrade on, a server that wants a login, a page."""
    with answering(status) as url:
        row = ask(url).require().iloc[0]

    assert (row["kind"], row["status"]) == ("refused", status)
    assert f"HTTP {status} instead of 101" in row["error"]


def test_closed_without_an_answer() -> None:
    """As NGINX does when it has no connections left."""
    with raw(lambda _: None) as url:
        assert ask(url).require()["kind"].tolist() == ["dropped"]


def test_an_answer_that_is_no_http() -> None:
    with raw(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert ask(url).require()["kind"].tolist() == ["dropped"]


def test_a_server_that_hangs() -> None:
    """Its own part of the time limit, and no longer."""
    with raw(lambda _: time.sleep(LIMIT_SECONDS)) as url:
        started = time.monotonic()
        assert ask(url).require()["kind"].tolist() == ["timeout"]
        assert time.monotonic() - started < LIMIT_SECONDS


def test_nobody_listens() -> None:
    """One that is gone does not cost the answers of the others."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"ws://127.0.0.1:{server.getsockname()[1]}/ws"
    with answering(HTTPStatus.FORBIDDEN) as url:
        assert ask(gone, url).require()["kind"].tolist() == ["unreachable", "refused"]


@pytest.mark.parametrize("url", ["ws://no-such-name.invalid/ws", "http://127.0.0.1/ws", "ws://"])
def test_what_says_more_of_us(url: str) -> None:
    """A name that this machine cannot resolve, an address that is none."""
    assert ask(url).require()["kind"].tolist() == ["unknown"]


def test_no_place_is_known() -> None:
    assert "set proxy.websocket_url" in ask().error


class TestPlaces:
    def places(self, endpoints: Endpoints, **proxy: Any) -> list[ProbeTarget]:
        return find_targets(Settings(proxy=proxy), endpoints, {"backend-1": "http://10.0.0.1:8000"})

    def test_as_configured(self) -> None:
        """Before anything discovered; the replicas beside it."""
        found = self.places(Endpoints(None, ""), websocket_url="wss://flowrex.app/stream")  # type: ignore[arg-type]  # a stand-in for what is not asked
        assert found == [
            ProbeTarget(PROXY, "wss://flowrex.app/stream", straight=False),
            ProbeTarget("backend-1", "ws://10.0.0.1:8000/ws"),
        ]

    def test_the_first_tls_endpoint(self) -> None:
        """By the name that clients use, at the address that is reached."""
        endpoints = Endpoints(None, "", tls=(TlsEndpoint("10.0.0.9", 8443, "flowrex.app"),))  # type: ignore[arg-type]  # a stand-in for what is not asked
        assert self.places(endpoints)[0] == ProbeTarget(
            PROXY, "wss://flowrex.app/ws", straight=False, host="10.0.0.9", port=8443
        )

    def test_the_published_port(self) -> None:
        proxy = Replica("nginx", "nginx-1", "running", "none", "x", ports={80: ("127.0.0.1", 8080)})
        endpoints = Endpoints(None, "", replicas=(proxy,))  # type: ignore[arg-type]  # a stand-in for what is not asked
        assert self.places(endpoints)[0].url == "ws://127.0.0.1:8080/ws"
