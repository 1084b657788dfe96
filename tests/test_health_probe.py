"""Health asked of real servers: whatever endpoint there is, wherever it leads."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from flowrex_ops.health import judge_answer, judge_door
from flowrex_ops.health_probe import ask_health
from flowrex_ops.metrics.backend import BackendSource
from flowrex_ops.model import TlsEndpoint
from flowrex_ops.proxy.source import FrontDoorSource
from flowrex_sandbox.certificates import Authority

SITE = "flowrex.test"


@contextmanager
def serving(answers: Mapping[str, int | str], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server with a status for each path, or where it redirects to; 404 for every other. Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, 404)
            self.send_response(answer if isinstance(answer, int) else 301)
            if isinstance(answer, str):
                self.send_header("Location", answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answers", "path", "status"),
    [
        ({"/health/ready": 503, "/health": 200}, "/health/ready", 503),
        ({"/health": 200}, "/health", 200),
        ({"/healthz": 204}, "/healthz", 204),
        ({"/readyz": 405, "/ping": 200}, "/ping", 200),
        ({"/health/ready": 401, "/health": 200}, "/health", 200),
        ({"/health": 403}, "/health", 403),
        ({"/health": "/health/", "/health/": 200}, "/health", 200),
        ({"/health": "https://login.example/"}, "/health", 301),
        ({"/metrics": 200}, "", 404),
    ],
)
def test_first_endpoint_that_exists(answers: dict[str, int | str], path: str, status: int) -> None:
    """A 404 is no answer about health, a login is the last resort; a redirect that leads out is not followed."""
    with serving(answers) as port:
        found = ask_health(f"http://127.0.0.1:{port}", "", timeout_seconds=2)
    assert (found.path, found.status, found.error) == (path, status, None)


def test_no_time_left_for_an_answer_is_no_fault_of_whoever_should_give_it() -> None:
    """A busy machine: it has answered twice that there is no such path, and half of the time is over."""
    over = Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            over.wait(0.4 if self.path != "/readyz" else 5)
            self.send_error(404)

        def log_message(self, *_args: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    tried, named = ask_health(url, "", timeout_seconds=1), ask_health(url, "/readyz", timeout_seconds=0.3)
    over.set()
    server.shutdown()
    server.server_close()
    assert (tried.status, tried.refused, named.status, named.refused) == (None, None, None, False)


def test_setting_wins() -> None:
    with serving({"/health": 500, "/up": 200}) as port:
        assert ask_health(f"http://127.0.0.1:{port}", "/up", timeout_seconds=2).status == 200


def tls_context(folder: Path) -> ssl.SSLContext:
    """A server's, with a certificate for which nobody vouches."""
    authority = Authority(folder / "tls")
    authority.prepare(afresh=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = authority.fullchain(SITE)
    context.load_cert_chain(chain, chain.with_name("privkey.pem"))
    return context


def test_who_speaks_tls_alone_is_asked_so(tmp_path: Path) -> None:
    """It hangs up on plain HTTP, as one does that is ill."""
    with serving({"/health": 200}, tls_context(tmp_path)) as port:
        found = ask_health(f"http://127.0.0.1:{port}", "", timeout_seconds=2)
    assert (found.status, found.error) == (200, None)


def test_redirect_to_https_is_followed_to_where_the_platform_has_it(tmp_path: Path) -> None:
    """Not to port 443 of whoever asks; that nobody vouches for its certificate is another runbook's affair."""
    with (
        serving({"/health": 200}, tls_context(tmp_path)) as https,
        serving({"/health/ready": f"https://{SITE}/health"}) as http,
    ):
        known = [TlsEndpoint("127.0.0.1", https, SITE)]
        door = FrontDoorSource(f"http://127.0.0.1:{http}", "", limit_seconds=3, tls=known)
        assert door.get_answer().require()["status"].tolist() == [200]


def test_redirect_to_https_that_cannot_be_followed_is_an_answer() -> None:
    """The door redirects its users: it is open, whatever lies behind."""
    with serving({"/health/ready": "https://127.0.0.1:1/health/ready"}) as port:
        answer = FrontDoorSource(f"http://127.0.0.1:{port}", "", limit_seconds=3).get_answer().require()
    assert judge_door(answer)[0] is True


def test_platform_without_any_health_endpoint_is_unknown() -> None:
    """Neither ready nor not, and what to set is said."""
    with serving({}) as port:
        source = BackendSource(lambda: {"app-1": f"http://127.0.0.1:{port}"}, limit_seconds=2, limit_rows=9)
        (row,) = source.get_readiness().require().to_dict("records")
    assert judge_answer(row) == (None, "there is no health endpoint; set backend.health_path")


@pytest.mark.parametrize(("guessed", "ready"), [(False, False), (True, None)])
def test_nobody_at_a_port_that_is_only_the_usual_one(guessed: bool, ready: bool | None) -> None:
    """Where nothing tells the port, that nobody listens there says nothing of the application."""
    source = BackendSource(lambda: {"app-1": "http://127.0.0.1:1"}, limit_seconds=2, limit_rows=9, guessed=guessed)
    (row,) = source.get_readiness().require().to_dict("records")
    assert judge_answer(row)[0] is ready
