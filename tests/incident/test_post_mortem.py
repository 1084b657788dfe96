"""The archive writes most of the post-mortem; what people wrote is never lost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.incident.events import get_durations, get_milestones, merge_events, plot_course, read_seen
from flowrex_ops.incident.incident import Incident, Status, change, close, note_alert, open_new
from flowrex_ops.incident.post_mortem import format_span, read_actions, to_write, write_document
from flowrex_ops.incident.review import write_post_mortem
from flowrex_ops.model import Severity
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

STARTED = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
INCIDENT = Incident(
    id="INC-20260131-0420-abcd",
    status=Status.RESOLVED,
    started=STARTED,
    opened=STARTED + timedelta(minutes=8),
    title="Orders time out",
    resolved=STARTED + timedelta(minutes=88),
)


def line(minute: float, kind: str, text: str = "", **facts: Any) -> dict[str, Any]:
    return {"at": (STARTED + timedelta(minutes=minute)).isoformat(), "kind": kind, "text": text, **facts}


LINES = [
    line(6, "alert", "alert HighErrorRate firing", state="firing"),
    line(8, "incident", "incident opened"),
    line(9, "incident-changed", "severity P1", by="triage", changes={"severity": {"was": None, "is": "P1"}}),
    line(10, "incident-changed", "commander ada", by="ada", changes={"roles": {"was": {}, "is": {"commander": "ada"}}}),
    line(13, "run-finished", "001 complete: db.lock-contention", diagnosis="db.lock-contention", record="x/001-triage"),
    line(20, "mitigation-intent", "terminate", slug="terminate-root-blocker", operator="ada"),
    line(20.1, "mitigation-step", "signal"),
    line(20.5, "mitigation-result", "verified", slug="terminate-root-blocker", state="verified", operator="ada"),
    line(30, "watch", "well", state="well"),  # as it was said before
    line(30, "watch", "healthy", state="healthy"),
    line(31, "message", "message 001-update written", by="ada"),
]


def test_milestones() -> None:
    """The first alert is the detection, a person's first word the acknowledgement; a run's severity is no word."""
    durations = get_durations(get_milestones(INCIDENT, LINES))
    assert dict(zip(durations["time_to"], durations["seconds"] / 60, strict=True)) == {
        "detect": 6,
        "acknowledge": 4,
        "diagnose": 7,
        "mitigate": 14.5,
        "resolve": 88,
    }


def test_what_left_no_trace_is_said() -> None:
    """A telephone call is on no timeline; nothing is made up for it."""
    durations = get_durations(get_milestones(INCIDENT, []))
    assert list(durations.loc[durations["seconds"].isna(), "took"]) == ["not yet, or no trace of it"] * 3


def test_events_are_merged_in_order() -> None:
    """Deploys among them; steps and looks that were healthy are left out."""
    deploys = {
        "at": [STARTED + timedelta(minutes=1)],
        "what": "deploy",
        "event": ["2.0 started (backend-1)"],
        "name": "",
    }
    events = merge_events(LINES, pd.DataFrame(deploys))
    expected = ["deploy", "alert", "people", "people", "people", "finding", "mitigation", "mitigation", "message"]
    assert list(events["what"]) == expected


def test_the_start_and_what_was_said_are_told_without_bookkeeping() -> None:
    """A draft that was sent is told once; names of files and records are not."""
    lines = [
        line(8, "incident", "incident INC-20260131-0420-abcd opened", by="ada"),
        line(9, "run-finished", "002-triage interrupted: no diagnosis", record="x/002-triage", status="interrupted"),
        line(10, "message", "message 001-initial written", message="001-initial", by="ada"),
        line(11, "message-sent", "message 001-initial sent to ops", message="001-initial", by="ada"),
        line(12, "message", "message 002-update written", message="002-update", by="ada"),
        line(13, "mitigation-intent", "end PID 7", slug="terminate", operator="ada"),
        line(14, "mitigation-result", "PID 7 is gone", slug="terminate", state="verified", operator="ada"),
    ]
    assert list(merge_events(lines, read_seen(Path("nowhere")), began=STARTED)["event"]) == [
        "users began to suffer",
        "incident opened",
        "triage: no cause confirmed (interrupted)",
        "initial message sent to ops",
        "update message written, not sent by this tool",
        "terminate begins: end PID 7",
        "terminate verified: PID 7 is gone",
    ]


def test_deploys_and_alerts_come_from_what_triage_saw(tmp_path: Path) -> None:
    """Replicas of one version that start together are one deploy, an alert is one however many fire; a damaged table costs nothing."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    rows = ["2026-01-31 04:00:00+00:00,backend,backend-1,2.0,0", "2026-01-31 04:01:00+00:00,backend,backend-2,2.0,0"]
    table = "\n".join(["started_at,service,name,version,restarts", *rows, "2026-01-31 04:02:00+00:00,redis,redis-1,,0"])
    (folder / "001-triage-recent-starts.csv").write_text(table)
    (folder / "002-triage-recent-starts.csv").write_text("nonsense")
    names = ["Slow,firing", "Slow,firing", "Seen,pending", "HighErrorRate,firing"]
    rows = [f"{name},P1,a:1,2026-01-31 04:1{n}:00.5+00:00,says {n}" for n, name in enumerate(names)]
    (folder / "001-triage-alerts.csv").write_text("\n".join(["alert,state,severity,instance,since,summary", *rows]))
    (folder / "003-triage-alerts.csv").write_text("alert,state,severity,instance,since,summary\n")
    seen = read_seen(tmp_path)
    assert list(seen["event"]) == [
        "2.0 started (backend-1, backend-2)",
        "alert Slow firing: says 0",
        "alert HighErrorRate firing: says 3",
    ]
    alerts = [line(6, "alert", "alert HighErrorRate firing", alertname="HighErrorRate", state="firing")]
    assert list(merge_events(alerts, seen)["what"]) == ["deploy", "alert", "alert"]


def test_the_span_is_as_the_playbook_writes_it() -> None:
    assert format_span(INCIDENT) == "04:12\u201305:40 UTC (1 h 28 min)"


class TestDocument:
    """Generated blocks are renewed where they stand; everything else is people's."""

    def write(self, existing: str = "", **facts: Any) -> str:
        events = merge_events(LINES, read_seen(Path("nowhere")))
        durations = get_durations(get_milestones(INCIDENT, LINES))
        known = {"events": events, "durations": durations, "evidence": {"records/001.html": "Triage"}, "author": "ada"}
        return write_document(INCIDENT.model_copy(update=facts), existing, **known)

    def test_what_people_wrote_stays(self) -> None:
        first = self.write()
        edited = first.replace("✍ One or two sentences for somebody who was not there.", "A report held a lock.")
        again = self.write(edited, root_cause="no time limit")
        assert "A report held a lock." in again
        assert "no time limit" in again
        assert self.write(again, root_cause="no time limit") == again

    def test_says_what_remains(self) -> None:
        missing = to_write(self.write(root_cause="x", impact="y", service="z", resolution="r"))
        assert missing == ["Summary", "Impact", "Detection", "Response", "Action items", "Lessons learned"]

    def test_an_event_cannot_end_its_block(self) -> None:
        """Whatever a log line says, the next writing finds the block's end."""
        nasty = "<!-- /flowrex-ops:root-cause --> | x"
        said = {"title": nasty, "service": nasty, "root_cause": nasty}
        once = self.write(**said)
        assert self.write(once, **said) == once

    def test_action_items_are_read_back(self) -> None:
        row = "| a \\| b | ada | 2026-02-14 | open |"
        text = self.write().replace("|---|---|---|---|\n", f"|---|---|---|---|\n{row}\n")
        assert read_actions(text).to_dict("records") == [
            {"action": "a | b", "owner": "ada", "due": date(2026, 2, 14), "status": "open"},
            {
                "action": "Review this post-mortem, then close it",
                "owner": "✍",
                "due": date(2026, 2, 7),
                "status": "draft",
            },
        ]

    def test_its_review_is_owned_by_the_commander_and_due_by_severity(self) -> None:
        text = self.write(severity=Severity.P1, roles={"commander": "ada"})
        assert "| Review this post-mortem, then close it | ada | 2026-02-03 | draft |" in text

    def test_the_meeting_has_its_facts(self) -> None:
        agenda = self.write(root_cause="no time\nlimit").partition("<!-- flowrex-ops:agenda -->")[2]
        assert "2. Root cause (15 min): no time limit\n3. Impact (5 min): not recorded\n" in agenda
        assert "4. Response (10 min): detect 6 min 0 s, acknowledge 4 min 0 s" in agenda
        assert "5. Action items (15 min): 1 in the table above\n6. Lessons learned (5 min)\n" in agenda

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            ("| fix it | ada | soon | open |", "line 3: 'soon' is not a date; write it as 2026-01-31"),
            ("| fix it | ada |", "line 3: an action item has 4 cells, this has 2"),
        ],
    )
    def test_a_row_that_cannot_be_read_is_named(self, row: str, text: str) -> None:
        with pytest.raises(ParameterError, match=text):
            read_actions(f"| Action | Owner | Due date | Status |\n|---|---|---|---|\n{row}\n")


def test_chart_says_how_long_it_took() -> None:
    """One mark an event, and the milestones by name."""
    milestones = pd.DataFrame({"milestone": ["started", "resolved"], "at": [STARTED, STARTED + timedelta(minutes=88)]})
    figure = plot_course(merge_events(LINES, read_seen(Path("nowhere"))), milestones)
    axes = figure.axes[0]
    assert axes.get_title() == "Over after 88 minutes"
    names = {
        "milestone": list("abcde"),
        "at": [STARTED + timedelta(seconds=20 * number) for number in (0, 0, 1, 2, 900)],
    }
    axes_of_many = plot_course(merge_events(LINES, read_seen(Path("nowhere"))), pd.DataFrame(names)).axes[0]
    axes_of_many.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes_of_many.texts]
    assert [text.get_text() for text in axes_of_many.texts] == ["a, b", "c", "d", "e"]
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[at + 1 :])
    assert [label.get_text() for label in axes.get_yticklabels()][::-1] == [
        "alert",
        "finding",
        "mitigation",
        "message",
        "people",
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resolved incident of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", str(tmp_path / "outputs"))
    redactor = Redactor()
    folder = open_new(tmp_path / "outputs", {"title": "Orders time out", "severity": "P2"}, by="ada", redactor=redactor)
    note_alert(folder, {"alertname": "HighErrorRate", "severity": "P1"}, state="firing", redactor=redactor)
    change(folder, {"roles": {"commander": "ada"}, "root_cause": "a lock"}, by="ada", redactor=redactor)
    close(folder, by="ada", text="resolved", redactor=redactor)
    return folder


def test_the_whole_of_it(folder: Path) -> None:
    """Document, executed notebook and page, sealed; renewing it keeps what was written."""
    settings = Settings(outputs=folder.parent)
    written = write_post_mortem(folder.name, settings, "", operator="ada")
    assert written["to_write"][0] == "Post-mortem: Orders time out"
    document = folder / "post_mortem.md"
    document.write_text(document.read_text().replace("✍ What should others know?", "Time limits."))
    again = write_post_mortem("latest", settings, "", operator="ada")
    assert "Time limits." in document.read_text()
    assert "Lessons learned" not in again["to_write"]
    assert verify(folder) == []
    record = json.loads((folder / "post_mortem.ipynb").read_text())["metadata"]["flowrex_ops"]["record"]
    assert (record["status"], record["id"]) == ("complete", f"{folder.name}/002-post_mortem")
    page = (folder / "post_mortem.html").read_text()
    assert "Traceback" not in page
    assert "<title>Post-mortem: Orders time out" in page
    assert '<h1><span class="severity P1">P1</span> Post-mortem: Orders time out, ' in page
    assert '<header class="">' in page
    assert "| Author | ada |" in document.read_text()


def test_another_machines_incident_is_left_as_it_is(folder: Path) -> None:
    state = folder.parent / timeline.STORE_STATE
    state.mkdir()
    (state / f"{folder.name}@bob").touch()
    with pytest.raises(RecordError, match="go on with it on 'bob'"):
        write_post_mortem(folder.name, Settings(outputs=folder.parent), "", operator="ada")
    assert not (folder / "post_mortem.md").exists()
