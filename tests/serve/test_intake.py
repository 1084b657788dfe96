"""What alerts lead to that come in odd ways: other words for severity, flapping, by two routes, from Grafana."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from serve_bench import a_payload, an_alert

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import INCIDENT_FILE, ensure_folder
from flowrex_ops.catalog import find_runbooks
from flowrex_ops.errors import RecordError
from flowrex_ops.jobs.table import Job, JobTable, Outcome
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import ServeSettings
from flowrex_ops.webhook.deduplication import Decision
from flowrex_ops.webhook.intake import SCHEMA, Intake
from flowrex_ops.webhook.payload import read_payload
from flowrex_ops.webhook.timeline_sync import sync_alerts

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
Send = Callable[..., Decision]


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    table = JobTable(tmp_path / "jobs.sqlite", SCHEMA)
    yield Intake(table, ServeSettings(), {}, Job(str(tmp_path), 60.0))
    table.close()


@pytest.fixture
def send(intake: Intake) -> Send:
    """Send *alerts* so many minutes after noon; whatever was queued before has begun by then."""

    def send(*alerts: dict[str, Any], minutes: float = 0, group: str = "{}:{}") -> Decision:
        now = NOON + timedelta(minutes=minutes)
        while job := intake.table.claim(now):
            intake.table.finish(job, Outcome("complete"))
        return intake.accept(read_payload(json.dumps(a_payload(*alerts, group=group)).encode()), now)

    return send


def moved(alert: dict[str, Any], minutes: float) -> dict[str, Any]:
    return alert | {"startsAt": (NOON + timedelta(minutes=minutes)).isoformat()}


@pytest.mark.parametrize(
    ("word", "rank"),
    [("critical", "P1"), ("page", "P1"), ("P0", "P0"), ("Warning", "P2"), ("info", "P3"), ("purple", ""), ("", "")],
)
def test_severity_by_other_words(word: str, rank: str) -> None:
    alert = an_alert() | {"labels": {"alertname": "X", "severity": word}}
    assert read_payload(json.dumps(a_payload(alert)).encode()).alerts[0].rank == rank


def test_the_worst_is_claimed_first(intake: Intake) -> None:
    """``critical`` before ``P3``, whoever came first."""
    intake = replace(intake, settings=ServeSettings(join_seconds=0))
    for name, severity in (("Minor", "P3"), ("Big", "critical")):
        alert = an_alert(fingerprint=name) | {"labels": {"alertname": name, "severity": severity}}
        intake.accept(read_payload(json.dumps(a_payload(alert, group=name)).encode()), NOON)
    first = intake.table.claim(NOON)
    assert first is not None
    assert (first.title[:3], first.trigger) == ("Big", "alert 2")


def test_flapping_is_one_incident_looked_into_once_and_verified_once(send: Send) -> None:
    """Twelve times in an hour it fires for two minutes and is quiet for three."""
    sent = []
    for number in range(12):
        begins = number * 5.0
        sent.append(send(moved(an_alert(), begins), minutes=begins))
        sent.append(send(moved(an_alert(status="resolved"), begins), minutes=begins + 2))
    assert sum(decision.new_incident for decision in sent) == 1
    assert [kind.value for decision in sent for _, kind in decision.runs] == ["alert", "verification"]


def test_after_a_long_quiet_it_is_another_incident(send: Send) -> None:
    send(an_alert(), minutes=0)
    send(an_alert(status="resolved"), minutes=2)
    later = send(moved(an_alert(), 30), minutes=30)
    assert (later.new_incident, len(later.runs)) == (True, 1)


def test_after_people_resolved_it_it_is_another_incident(send: Send, tmp_path: Path) -> None:
    incident = send(an_alert(), minutes=0).group.incident
    send(an_alert(status="resolved"), minutes=2)
    (ensure_folder(tmp_path, incident, title="") / INCIDENT_FILE).write_text('{"resolved": "2026-01-02T12:03:00Z"}')
    later = send(moved(an_alert(), 5), minutes=5)
    assert (later.new_incident, len(later.runs)) == (True, 1)


def test_one_alert_by_two_routes_is_one_incident_and_one_run(send: Send) -> None:
    """Alertmanager's ``continue: true`` sends the same alert under two group keys."""
    first, second = send(an_alert(), group="by team"), send(an_alert(), group="by service", minutes=1)
    assert (first.new_incident, second.new_incident) == (True, False)
    assert (len(first.runs), second.runs) == (1, ())
    assert second.group.incident == first.group.incident


def test_the_same_alert_of_a_later_time_is_no_twin(send: Send) -> None:
    send(an_alert(), group="by team")
    assert send(moved(an_alert(), 5), group="by service", minutes=5).new_incident


def test_each_begin_and_end_is_told_once_however_often_it_is_sent(intake: Intake, tmp_path: Path) -> None:
    """A firing alert that comes after its end was told is no firing alert any more."""
    folder = None
    for sent in (an_alert(), an_alert(), an_alert(status="resolved"), an_alert(status="resolved"), an_alert()):
        payload = read_payload(json.dumps(a_payload(sent)).encode())
        decision = intake.accept(payload, NOON)
        folder = ensure_folder(tmp_path, decision.group.incident, title="")
        sync_alerts(folder, payload, decision, Redactor([]))
    assert folder is not None
    reported = [line["state"] for line in timeline.read(folder) if line["kind"] == "alert"]
    assert reported == ["firing", "resolved", "told late"]


def test_a_table_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "serve.sqlite")) as earlier:
        earlier.execute("CREATE TABLE jobs (id INTEGER)")
    with pytest.raises(RecordError, match=r"was written by another version of this tool; move it away"):
        JobTable(tmp_path / "serve.sqlite")


def test_grafana_calls_its_version_one() -> None:
    """Its members are Alertmanager's, and some of its own that nobody needs."""
    alert = an_alert() | {"values": {"A": 6.7}, "valueString": "[ var='A' ]", "dashboardURL": ""}
    body = a_payload(alert) | {"version": "1", "orgId": 1, "title": "[FIRING:1]", "state": "alerting"}
    assert read_payload(json.dumps(body).encode()).alerts[0].name == "PoolExhausted"


def test_a_storm_is_one_incident_and_each_runbook_once(intake: Intake) -> None:
    """750 groups within minutes: none is refused, all are kept, and triage goes first."""
    storm = replace(intake, runbooks=find_runbooks())
    names = ("DatabasePoolExhausted", "HighErrorRate", "NobodyKnowsThis")
    decisions = [
        storm.accept(
            read_payload(json.dumps(a_payload(an_alert(names[n % 3], fingerprint=f"f{n}"), group=f"g{n}")).encode()),
            NOON + timedelta(seconds=0.5 * n),
        )
        for n in range(750)
    ]
    assert len({one.group.incident for one in decisions}) == 1
    jobs = []
    while job := storm.table.claim(NOON + timedelta(hours=1)):
        jobs.append(job.slug)
    assert sorted(jobs) == ["database_connections", "error_rate", "triage"]
    assert jobs[0] == "triage"


def test_what_comes_later_is_another_incident(send: Send) -> None:
    """Ten minutes after the last alert nobody takes a new one for part of the same trouble."""
    first = send(an_alert(fingerprint="a"), group="a")
    soon = send(moved(an_alert(fingerprint="b"), 4), minutes=4, group="b")
    late = send(moved(an_alert(fingerprint="c"), 14), minutes=14, group="c")
    assert soon.group.incident == first.group.incident != late.group.incident
