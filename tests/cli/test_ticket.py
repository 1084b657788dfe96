"""An incident's ticket, made by one POST at a tracker over a real socket, and kept; and what becomes of it where that fails."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import in_process
import pytest

TOKEN = "ghp-0123456789-of-the-tracker"


class Tracker(BaseHTTPRequestHandler):
    """GitHub's issues (POST /repos/OWNER/REPO/issues): 201 with ``html_url``; the server's ``answers`` come first."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((dict(self.headers), body))
        status, answer = 201, json.dumps({"number": 7, "html_url": "https://github.com/flowrex/platform/issues/7"})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, answer = 401, '{"message": "Bad credentials"}'
        if server.answers:
            status, answer = server.answers.pop(0)
        if not status:
            server.over.wait(30)  # and says nothing: who asked has hung up by then
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def tracker() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Tracker) as server:
        server.daemon_threads = True
        server.asked, server.answers = [], []  # type: ignore[attr-defined]
        server.over = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path, tracker: Any) -> Path:
    """Where an incident is open, and the tracker is set."""
    write(tmp_path, f"http://127.0.0.1:{tracker.server_port}/repos/flowrex/platform/issues")
    flowrex(tmp_path, "incident", "open", "Orders time out", "--severity", "P1", "--impact", f"the token is {TOKEN}")
    return tmp_path


def write(folder: Path, url: str, **more: object) -> None:
    values = {"url": url, "token": TOKEN, "seconds": 1, "retry_seconds": 0, **more}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    (folder / "flowrex-ops.toml").write_text(f"[ticket]\n{lines}", encoding="utf-8")


def flowrex(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(words, *in_process.call(*words, cwd=folder))


def said(folder: Path, *more: str) -> tuple[int, str]:
    done = flowrex(folder, "incident", "ticket", "latest", *more)
    return done.returncode, done.stdout + done.stderr


def test_shown_then_made_once_and_kept(folder: Path, tracker: Any) -> None:
    code, text = said(folder)
    assert (code, tracker.asked) == (0, []), text
    assert '"title": "P1 Orders time out"' in text
    assert "nothing was sent" in text
    assert TOKEN not in text
    for _ in range(2):
        assert said(folder, "--send")[1].endswith("has its ticket: https://github.com/flowrex/platform/issues/7\n")
    ((headers, body),) = tracker.asked
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Impact: the token is [redacted:" in body["body"]
    shown = flowrex(folder, "incident", "show", "latest").stdout
    assert "ticket       https://github.com/flowrex/platform/issues/7" in shown
    assert "ticket https://github.com/flowrex/platform/issues/7" in shown.partition("channel")[2]


def test_tried_again_only_while_nobody_takes_it(folder: Path, tracker: Any) -> None:
    tracker.answers += [(503, "later"), (429, "later")]
    assert said(folder, "--send")[0] == 0
    assert len(tracker.asked) == 3


@pytest.mark.parametrize(
    ("answer", "words", "perhaps"),
    [
        ((401, "{}"), "correct ticket.token", False),
        ((422, '{"message": "Validation Failed"}'), "Validation Failed", False),
        ((302, ""), "correct ticket.url", False),
        ((503, "later"), "no ticket was made", False),
        ((500, f"oops, {TOKEN}"), "the ticket may be there (oops, [redacted:", True),
        ((0, "{}"), "did not answer to the end", True),
        ((201, "<html>"), "no '{html_url}' in the answer", True),
        ((201, '{"number": 7}'), "no '{html_url}' in the answer", True),
        ((201, '{"html_url": null}'), "no '{html_url}' in the answer", True),
        ((201, "[]"), "no '{html_url}' in the answer", True),
    ],
)
def test_what_failed_and_whether_it_may_be_there(
    folder: Path, tracker: Any, answer: tuple[int, str], words: str, *, perhaps: bool
) -> None:
    """Where it may be, nobody makes a second one without having looked."""
    tracker.answers += [answer] * (3 if answer[0] == 503 else 1)
    code, text = said(folder, "--send")
    assert (code, len(text.splitlines()), words in text) == (1, 1, True), text
    code, text = said(folder, "--send")
    assert ("may be there" in text, code) == ((True, 1) if perhaps else (False, 0)), text
    assert said(folder, "--send", *(["--force"] if perhaps else []))[0] == 0


def test_made_by_hand(folder: Path, tracker: Any) -> None:
    for more in (("--address", "https://tracker.example/1"), ("--send",)):
        assert said(folder, *more)[1].endswith("has its ticket: https://tracker.example/1\n")
    assert tracker.asked == []


def test_nobody_there(folder: Path) -> None:
    write(folder, "http://127.0.0.1:9/")
    code, text = said(folder, "--send")
    assert (code, "was not reached" in text, "no ticket was made" in text) == (1, True, True), text
    (folder / "flowrex-ops.toml").write_text("", encoding="utf-8")
    code, text = said(folder)
    assert (code, "no tracker is set; set ticket.url" in text) == (2, True), text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"address": "https://flowrex.atlassian.net/browse/{key}"}, "browse/OPS-7"),
        ({"headers": {"PRIVATE-TOKEN": "{token}"}, "address": "{web_url}"}, "gitlab.example/7"),
    ],
)
def test_other_trackers(folder: Path, tracker: Any, more: dict[str, Any], words: str) -> None:
    tracker.answers += [(201, '{"key": "OPS-7", "web_url": "https://gitlab.example/7"}')]
    write(folder, f"http://127.0.0.1:{tracker.server_port}/", **{k: v for k, v in more.items() if k == "address"})
    text = (folder / "flowrex-ops.toml").read_text(encoding="utf-8")
    headers = "".join(f"{name} = {json.dumps(value)}\n" for name, value in more.get("headers", {}).items())
    nested = '[ticket.body.fields]\nproject = {key = "OPS"}\nsummary = "{severity} {title}"\n'
    (folder / "flowrex-ops.toml").write_text(f"{text}[ticket.headers]\n{headers}{nested}", encoding="utf-8")
    assert words in said(folder, "--send")[1]
    ((sent, body),) = tracker.asked
    assert body == {"fields": {"project": {"key": "OPS"}, "summary": "P1 Orders time out"}}
    assert sent.get("PRIVATE-TOKEN") == (TOKEN if "headers" in more else None)


def test_a_name_that_is_none(folder: Path) -> None:
    write(folder, "http://127.0.0.1:9/", link="https://ops.example/{incident}")
    code, text = said(folder)
    assert (code, "'{incident}' is no name there; there are id" in text) == (2, True), text
