"""The three messages: filled in, kept, and sent to a real receiver only when they are complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import ParameterError, SettingsError
from flowrex_ops.incident.incident import Incident, Status, load, open_new
from flowrex_ops.incident.messages import (
    KINDS,
    Recorded,
    choose_receivers,
    compose,
    placeholders,
    read_records,
    require_complete,
    save_draft,
    send,
)
from flowrex_ops.model import Severity
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import NotifySettings

STARTED = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
WHOLE = Incident(
    id="INC-20260131-0412-abcd",
    status=Status.MITIGATING,
    severity=Severity.P1,
    started=STARTED,
    opened=STARTED,
    service="backend",
    impact="no orders are filled",
    root_cause="a report held a lock",
    resolution="the report has a time limit",
    resolved=datetime(2026, 1, 31, 5, 40, tzinfo=UTC),
    next_update=datetime(2026, 1, 31, 4, 45, tzinfo=UTC),
)


class Receiver:
    """Somebody who is told, over HTTP: apprise's ``json://``. ``fails`` answers are 500 first."""

    def __init__(self, fails: int = 0) -> None:
        self.heard: list[dict[str, Any]] = []
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                good = receiver.asked > fails
                if good:
                    receiver.heard.append(json.loads(body))
                self.send_response(200 if good else 500)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_address[1]}/s3cret-path"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers."""
    one = Receiver()
    yield one
    one.server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An incident of which all is known that the first message says."""
    facts = {"title": "Orders time out", "severity": "P1", "service": "backend", "impact": "no orders are filled"}
    return open_new(tmp_path, facts, by="ada", redactor=Redactor())


def settings(**urls: str) -> NotifySettings:
    return NotifySettings.model_validate(
        {"urls": {k.replace("_", "-"): v for k, v in urls.items()}, "retry_seconds": 0}
    )


def test_the_first_message() -> None:
    """By the playbook's template."""
    lines = ["Severity: P1", "Service: backend", "Impact: no orders are filled", "Started: 04:12 UTC"]
    assert compose("initial", WHOLE).splitlines()[2:6] == lines


def test_the_update() -> None:
    """The cause as far as known, and when the next one comes."""
    text = compose("update", WHOLE)
    assert text.splitlines()[2:5] == [
        "Status: Mitigating",
        "Impact: no orders are filled",
        "Root Cause: a report held a lock",
    ]
    assert "Next update at 04:45 UTC." in text


def test_the_update_says_what_a_runbook_confirmed_where_nobody_has_named_the_cause() -> None:
    """That it is not known yet would be untrue of an incident whose record shows it."""
    sample = next((Path(__file__).parents[2] / "outputs" / "sample").glob("INC-*"))
    opened = WHOLE.model_copy(update={"root_cause": "", "status": Status.INVESTIGATING})
    text = compose("update", opened, recorded=read_records(sample))
    assert re.search(r"^Root Cause: \d+ sessions wait behind PID \d+$", text, re.MULTILINE)
    assert "Status: Identified" in text


def test_the_update_says_what_people_have_said_of_it() -> None:
    """A run knows less than they do."""
    told = WHOLE.model_copy(update={"status": Status.IDENTIFIED})
    assert "Status: Identified" in compose("update", told, recorded=Recorded("x", Status.MITIGATING))
    opened = WHOLE.model_copy(update={"status": Status.INVESTIGATING})
    assert "Status: Investigating" in compose("update", opened)


def test_times_where_people_are() -> None:
    """Beside UTC; the day where it is another there."""
    assert "Started: 04:12 UTC (05:12 CET)" in compose("initial", WHOLE, timezone="Europe/Berlin")
    assert "Next update at 04:45 UTC (Fri 20:45 PST)." in compose("update", WHOLE, timezone="America/Los_Angeles")


OVER = WHOLE.model_copy(update={"status": Status.RESOLVED})


def test_the_last_message() -> None:
    """From the first suffering to the end."""
    text = compose("resolved", OVER)
    assert text.startswith("✅ INCIDENT RESOLVED")
    assert "Duration: 1 h 28 min" in text
    assert "Resolution: the report has a time limit" in text


def test_the_last_message_of_an_open_incident_says_that_it_is_open() -> None:
    """As a placeholder, so that it is not sent by hand either; whoever forces it answers for it."""
    text = compose("resolved", WHOLE)
    assert placeholders(text) == ["[not yet so: INC-20260131-0412-abcd is 'Mitigating']"]
    assert compose("resolved", WHOLE, force=True) == text.partition("\n\n")[2]


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_said_stays_marked(kind: str) -> None:
    """A text with placeholders is never sent; a marker of redaction is none."""
    empty = Incident(id="INC-20260131-0412-abcd", started=STARTED, opened=STARTED)
    assert placeholders(compose(kind, empty))
    assert placeholders(compose(kind, OVER) + " [redacted:secret]") == []
    with pytest.raises(ParameterError, match="the message still says"):
        require_complete(compose(kind, empty))


class TestSending:
    """Kept before it is sent; each receiver's fate is on the timeline."""

    def send(self, folder: Path, notify: NotifySettings, *names: str) -> list[str]:
        _, incident = load(folder.parent, folder.name)
        redactor = Redactor([url.get_secret_value() for url in notify.urls.values()])
        message = save_draft(folder, "initial", compose("initial", incident), by="ada", redactor=redactor)
        receivers = choose_receivers(notify, names)
        sent = send(folder, message, receivers, incident=incident, by="ada", settings=notify, redactor=redactor)
        assert verify(folder) == []
        return [one.error for one in sent.deliveries]

    def test_arrives_as_it_was_kept(self, folder: Path, receiver: Receiver) -> None:
        assert self.send(folder, settings(incident=receiver.url)) == [""]
        kept = (folder / "messages" / "001-initial.txt").read_text()
        assert receiver.heard[0]["message"].strip() == kept.strip()
        assert timeline.read(folder)[-1]["text"] == "message 001-initial sent to incident"

    def test_is_tried_again(self, folder: Path) -> None:
        receiver = Receiver(fails=2)
        assert self.send(folder, settings(incident=receiver.url)) == [""]
        assert receiver.asked == 3

    def test_one_that_fails_costs_no_other_and_names_no_url(self, folder: Path, receiver: Receiver) -> None:
        notify = settings(dead="json://127.0.0.1:9/s3cret-dead", nonsense="no url at all", incident=receiver.url)
        dead, nonsense, good = self.send(folder, notify)
        assert dead.endswith("look whether it is up and its URL is right")
        assert (nonsense, good) == ("its URL is none that apprise understands; correct notify.urls", "")
        assert all("s3cret" not in path.read_text() for path in folder.rglob("*") if path.is_file())

    def test_a_receiver_named_like_a_role_notifies_the_role(self, folder: Path, receiver: Receiver) -> None:
        self.send(folder, settings(team_lead=receiver.url))
        assert timeline.read(folder)[-1]["text"] == "Team lead notified by message"

    def test_nobody_to_notify_is_said_before_anything_is_written(self) -> None:
        with pytest.raises(SettingsError, match=r"set notify\.urls\.NAME to an apprise URL"):
            choose_receivers(NotifySettings(), ())
        with pytest.raises(ParameterError, match="'slak' is no receiver; there are: slack"):
            choose_receivers(settings(slack="json://127.0.0.1:9/"), ("slak",))
