"""What is let in over HTTP: every refusal has its code and a line that names what would be right."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from serve_bench import Server, a_payload, an_alert, until

from flowrex_ops.errors import SettingsError
from flowrex_ops.settings import ServeSettings
from flowrex_ops.webhook.server import require_token_for

TOKEN = "open-sesame-open-sesame"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token, a small limit, and no patience."""
    options = f'token = "{TOKEN}"\nmax_request_bytes = 4096\nrequest_seconds = 0.5'
    server = Server.prepare(tmp_path_factory.mktemp("guarded") / "serve", options)
    server.token = TOKEN
    yield server.start()
    server.stop()


def chunks(count: int) -> Iterator[bytes]:
    """A body whose length nobody announces."""
    yield from (b" " * 1024 for _ in range(count))


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no token": ({"headers": {"Authorization": ""}}, 401, "serve.token"),
    "another scheme": ({"headers": {"Authorization": f"Basic {TOKEN}"}}, 401, "serve.token"),
    "wrong token": ({"headers": {"Authorization": "Bearer close-sesame"}}, 401, "serve.token"),
    "token that is no ASCII": ({"headers": {"Authorization": "Bearer sésame".encode()}}, 401, "serve.token"),
    "not JSON": ({"headers": {"Content-Type": "text/plain"}}, 415, "'text/plain' is not 'application/json'"),
    "malformed": ({"content": b"{"}, 400, "the body is not JSON"),
    "too large": ({"content": b" " * 5000}, 413, "larger than 4096 bytes"),
    "too large, in chunks": ({"content": chunks(9)}, 413, "larger than 4096 bytes"),
}


@pytest.mark.parametrize("example", REFUSED)
def test_refused_in_one_line(guarded: Server, example: str) -> None:
    options, status, words = REFUSED[example]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"} | options.get("headers", {})
    answer = httpx.post(f"{guarded.url}/alertmanager", content=options.get("content", b"{}"), headers=headers)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_a_body_that_does_not_come_is_not_waited_for(guarded: Server) -> None:
    host, port = guarded.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_full_disk_refuses_until_there_is_room_and_loses_nothing(prepare: Callable[..., Server]) -> None:
    """What was accepted before is run; what was refused comes again, as Alertmanager does after a 503."""
    server = prepare('jobs = 1\nstate = "small/jobs.sqlite"')
    small = server.folder / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True, check=False)
    if mount.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("a small disk cannot be mounted here")
    try:
        server.start()
        server.hold()
        assert server.send(a_payload(an_alert(fingerprint="a"), group="a")).status_code == 200
        until(server.busy)
        with contextlib.suppress(OSError), (small / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        refused = server.send(a_payload(an_alert(fingerprint="b"), group="b"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
        assert server.get("/health/ready").status_code == 503
        assert [line for line in server.said if "Traceback" in line] == []
        assert "free some space" in "\n".join(server.said)
        (small / "ballast").unlink()
        assert server.get("/health/ready").status_code == 200
        assert server.send(a_payload(an_alert(fingerprint="b"), group="b")).status_code == 200
        server.release()
        assert [record.status for record in server.ended(2)] == ["complete", "complete"]
    finally:
        server.stop()
        subprocess.run(["umount", "--lazy", small], check=True)


def test_other_paths_and_methods_say_what_there_is(guarded: Server) -> None:
    assert guarded.get("/").json() == {"error": "there are POST /alertmanager, GET /health/ready and GET /metrics"}
    assert guarded.get("/alertmanager").status_code == 405


def test_health_is_open_and_metrics_are_not(guarded: Server) -> None:
    assert guarded.get("/health/ready").json() == {"status": "ready"}
    assert guarded.get("/metrics").status_code == 401
    metrics = guarded.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'flowrex_ops_requests_refused_total{reason="malformed"}' in metrics
    assert "flowrex_ops_queue_length 0.0" in metrics


def test_nothing_that_was_refused_left_a_trace(guarded: Server) -> None:
    assert list(guarded.outputs.glob("INC-*")) == []


def test_a_full_queue_says_when_to_come_again_and_a_stopped_server_keeps_it(prepare: Callable[..., Server]) -> None:
    """One runs, one waits, the third is told 429. SIGTERM interrupts the first, whose record says so; the second stays queued."""
    server = prepare("jobs = 1\nqueue_size = 1\ngrace_seconds = 0.2\njoin_seconds = 0").start()
    server.hold()
    assert server.send(a_payload(an_alert(fingerprint="a"), group="a")).status_code == 200
    until(lambda: "flowrex_ops_queue_length 0.0" in server.get("/metrics").text)
    assert server.send(a_payload(an_alert(fingerprint="b"), group="b")).status_code == 200
    refused = server.send(a_payload(an_alert(fingerprint="c"), group="c"))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert server.send(a_payload(an_alert(fingerprint="a"), group="a")).status_code == 200, (
        "a repeat needs no place in the queue"
    )
    until(server.busy)
    server.stop()
    assert [(record.status, record.metadata.trigger) for record in server.records()] == [("interrupted", "alert 1")]
    assert "1 runs go on, 1 wait and stay in the queue" in "\n".join(server.said)
    server.start()
    assert [record.metadata.trigger for record in server.ended(2)] == ["alert 1", "alert 2"]


def test_others_may_not_reach_it_without_a_token() -> None:
    with pytest.raises(SettingsError, match=r"'0\.0\.0\.0' can be reached by others, and there is no serve\.token"):
        require_token_for(ServeSettings(host="0.0.0.0"))  # noqa: S104  (that is the point)
    for host in ("127.0.0.1", "::1", "localhost"):
        require_token_for(ServeSettings(host=host))
