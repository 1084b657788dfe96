"""Who is due, who is overdue, who was notified; and each is reminded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import in_process
import pytest
from pydantic import SecretStr

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import SettingsError
from flowrex_ops.incident.escalation import notify_opened, page, remind
from flowrex_ops.incident.events import get_milestones
from flowrex_ops.incident.incident import Incident, Status, open_new, read_incident
from flowrex_ops.incident.severity import find_role, get_deadlines, note_notified, respond_by
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import NotifySettings, Settings
from tests.incident.test_messages import Receiver

OPENED = datetime(2026, 1, 30, 16, 0, tzinfo=UTC)
"""A Friday."""


def incident(severity: str | None, **more: Any) -> Incident:
    known: dict[str, Any] = {"id": "INC-20260130-1600-abcd", "severity": severity, "started": OPENED, "opened": OPENED}
    return Incident(**known | more)


def due(one: Incident, minutes: float, *lines: Mapping[str, Any]) -> dict[str, str]:
    found = get_deadlines(one, lines, contacts={"team-lead": "+49 1"}, now=OPENED + timedelta(minutes=minutes))
    return {f"{deadline.role} {deadline.by:%a %H:%M}": deadline.state for deadline in found}


@pytest.mark.parametrize(
    ("severity", "minutes", "expected"),
    [
        (
            "P0",
            10,
            {"On-call engineer Fri 16:00": "overdue", "Team lead Fri 16:00": "overdue", "Management Fri 16:15": "due"},
        ),
        (
            "P1",
            15,
            {"On-call engineer Fri 16:00": "overdue", "Team lead Fri 16:15": "overdue", "Management Fri 17:00": "due"},
        ),
        ("P2", 59, {"On-call engineer Fri 17:00": "due", "Team lead Fri 20:00": "due"}),
        ("P3", 60, {"On-call engineer Mon 09:00": "due"}),
        (None, 60, {}),
    ],
)
def test_the_matrix(severity: str | None, minutes: float, expected: dict[str, str]) -> None:
    """As the playbook has it; the next business day after a Friday is Monday."""
    assert due(incident(severity), minutes) == expected


def test_whoever_takes_command_is_notified() -> None:
    """The on-call engineer who commands needs no call."""
    assert due(incident("P1", roles={"commander": "ada"}), 1)["On-call engineer Fri 16:00"] == "notified"


def test_who_was_notified_is_not_overdue() -> None:
    """By the timeline, however the role is spelled."""
    assert due(incident("P1"), 60, {"kind": "escalation", "role": "team-lead"})["Team lead Fri 16:15"] == "notified"


def test_nobody_is_due_once_it_is_over() -> None:
    """A resolved incident calls nobody."""
    assert due(incident("P0", status=Status.RESOLVED), 60) == {}


@pytest.mark.parametrize(
    ("was", "expected"),
    [("P2", "Team lead Fri 16:45"), ("P0", "Team lead Fri 16:15"), (None, "Team lead Fri 16:45")],
)
def test_time_counts_from_when_it_became_so_severe(was: str | None, expected: str) -> None:
    """Raised to P1 at 16:30, the team lead has until 16:45; lowered to P1, the time ran since it was opened."""
    at = (OPENED + timedelta(minutes=30)).isoformat()
    change = {"kind": "incident-changed", "at": at, "changes": {"severity": {"was": was, "is": "P1"}}}
    assert expected in due(incident("P1"), 31, change)


class TestReminders:
    """Written to the timeline once for each role and severity."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(outputs=tmp_path, contacts={"team lead": "+49 1"})

    @pytest.fixture
    def folder(self, settings: Settings) -> Path:
        facts = {"title": "x", "severity": "P1", "roles": {"commander": "ada"}}
        return open_new(settings.outputs, facts, by="ada", redactor=Redactor())

    def test_each_role_is_reminded_once(self, settings: Settings, folder: Path) -> None:
        later = datetime.now(UTC) + timedelta(minutes=16)
        first, second = remind(settings, now=later), remind(settings, now=later)
        assert [len(first), second] == [1, []]
        assert first[0].startswith(f"Team lead (+49 1) was to be notified of {folder.name} (P1) by ")
        assert [line["role"] for line in timeline.read(folder) if line["kind"] == "reminder"] == ["Team lead"]

    def test_who_was_notified_is_not_reminded(self, settings: Settings, folder: Path) -> None:
        note_notified(folder, ["team lead"], by="ada")
        assert remind(settings, now=datetime.now(UTC) + timedelta(minutes=16)) == []

    def test_another_machines_incident_is_its_own_affair(self, settings: Settings, folder: Path) -> None:
        (settings.outputs / timeline.STORE_STATE).mkdir()
        (settings.outputs / timeline.STORE_STATE / f"{folder.name}@bob").touch()
        assert remind(settings, now=datetime.now(UTC) + timedelta(minutes=16)) == []

    def test_a_damaged_incident_stops_no_other(self, settings: Settings, folder: Path) -> None:
        other = open_new(settings.outputs, {"title": "y"}, by="ada", redactor=Redactor())
        (other / "incident.json").write_text("{")
        assert len(remind(settings, now=datetime.now(UTC) + timedelta(minutes=16))) == 1


class TestOpening:
    """Who is due at once is notified as the incident is opened, through the receiver that is named like the role."""

    @pytest.fixture
    def phone(self) -> Iterator[Receiver]:
        one = Receiver()
        yield one
        one.server.shutdown()

    @pytest.fixture
    def settings(self, tmp_path: Path, phone: Receiver) -> Settings:
        names = ("on-call-engineer", "team_lead", "management", "security")
        return Settings(outputs=tmp_path, notify=NotifySettings(urls=dict.fromkeys(names, SecretStr(phone.url))))

    @pytest.mark.parametrize(
        ("facts", "called"),
        [
            ({"severity": "P0"}, ["on-call-engineer", "team_lead"]),
            ({"severity": "P1"}, ["on-call-engineer"]),
            ({"severity": "P2"}, ["on-call-engineer"]),
            ({}, ["on-call-engineer"]),
            ({"severity": "P3"}, []),
            ({"severity": "P1", "roles": {"commander": "ada"}}, []),
            ({"severity": "P0", "security": True}, ["on-call-engineer", "security", "team_lead"]),
        ],
    )
    def test_by_severity(self, settings: Settings, phone: Receiver, facts: dict[str, Any], called: list[str]) -> None:
        """Management never is: it has a quarter of an hour at least."""
        folder = open_new(settings.outputs, {"title": "Orders time out", **facts}, by="ada", redactor=Redactor())
        sent = notify_opened(folder, settings)
        assert (sorted(one.receiver for one in sent), len(phone.heard)) == (called, len(called))
        lines = timeline.read(folder)
        assert verify(folder) == []
        found = read_incident(folder)
        assert get_milestones(found, lines)["acknowledged"] is None, "a word of the tool is nobody's"
        assert remind(settings) == []

    def test_who_cannot_be_reached_is_tried_again(self, tmp_path: Path) -> None:
        urls = {"on-call-engineer": SecretStr("json://127.0.0.1:9/")}
        settings = Settings(outputs=tmp_path, notify=NotifySettings(urls=urls, attempts=1))
        folder = open_new(tmp_path, {"title": "x", "severity": "P1"}, by="ada", redactor=Redactor())
        assert [one.delivered for one in notify_opened(folder, settings)] == [False]
        assert remind(settings) == []
        (said,) = remind(settings, now=datetime.now(UTC) + timedelta(minutes=6))
        assert said.startswith("On-call engineer was to be notified of")

    def test_a_role_is_paged_on_demand(self, settings: Settings, phone: Receiver) -> None:
        """It stands on the timeline as the word of whoever did."""
        folder = open_new(settings.outputs, {"title": "x", "severity": "P1"}, by="ada", redactor=Redactor())
        (sent,) = page(folder, find_role("TEAM-lead", option="ROLE"), "decide on the restore", settings, by="ada")
        assert (sent.delivered, len(phone.heard)) == (True, 1)
        assert timeline.read(folder)[-1]["text"] == "Team lead paged: decide on the restore"
        states = {
            one.role: one.state
            for one in get_deadlines(read_incident(folder), timeline.read(folder), contacts={}, now=datetime.now(UTC))
        }
        assert states["Team lead"] == "notified"
        with pytest.raises(SettingsError, match=r"set notify\.urls\.secondary-on-call to an apprise URL"):
            page(folder, "Secondary on-call", "", settings, by="ada")

    def test_who_does_not_answer_is_followed_by_the_secondary(self, tmp_path: Path, phone: Receiver) -> None:
        """Once, five minutes after somebody should have; not where a person has said a word."""
        settings = Settings(outputs=tmp_path, notify=NotifySettings(urls={"secondary-on-call": SecretStr(phone.url)}))
        folder = open_new(tmp_path, {"title": "x", "severity": "P1"}, by="ada", redactor=Redactor())
        answered = open_new(tmp_path, {"title": "y", "severity": "P1"}, by="ada", redactor=Redactor())
        timeline.append(answered, {"kind": "note", "text": "on it", "by": "grace"})
        for minutes, calls in ((19, 0), (21, 1), (40, 1)):
            remind(settings, now=datetime.now(UTC) + timedelta(minutes=minutes))
            assert len(phone.heard) == calls, minutes
        reported = [
            [line["text"] for line in timeline.read(one) if line.get("role") == "Secondary on-call"]
            for one in (folder, answered)
        ]
        assert [len(lines) for lines in reported] == [1, 0]
        assert reported[0][0].endswith("for nobody works on it yet")

    def test_a_secondary_who_is_not_reached_is_tried_again(self, tmp_path: Path) -> None:
        """And nothing says that somebody was called."""
        urls = {"secondary-on-call": SecretStr("json://127.0.0.1:9/")}
        settings = Settings(outputs=tmp_path, notify=NotifySettings(urls=urls, attempts=1))
        open_new(tmp_path, {"title": "x", "severity": "P1"}, by="ada", redactor=Redactor())
        said = [remind(settings, now=datetime.now(UTC) + timedelta(minutes=minutes)) for minutes in (19, 21, 27)]
        assert [sum("Secondary" in line for line in lines) for lines in said] == [0, 1, 1]
        assert "secondary-on-call" in next(line for line in said[1] if "Secondary" in line)


@pytest.mark.parametrize(
    ("severity", "expected"), [("P0", "Fri 16:00"), ("P1", "Fri 16:15"), ("P2", "Fri 17:00"), ("P3", "Mon 09:00")]
)
def test_somebody_is_to_respond(severity: str, expected: str) -> None:
    """By the playbook's response times, until somebody does."""
    by = respond_by(incident(severity), [])
    assert by is not None
    assert f"{by:%a %H:%M}" == expected
    spoke = {"kind": "note", "by": "ada", "text": "on it", "at": OPENED.isoformat()}
    assert respond_by(incident(severity), [spoke]) is None
    assert respond_by(incident(severity, roles={"commander": "ada"}), []) is None


def test_a_leak_is_an_incident_with_a_list(tmp_path: Path) -> None:
    """P0, security and the others with their contacts, and what to do first; gone once it is over."""
    contacts = '[contacts]\nSecurity = "@mallory"\nsecondary-on-call = "@bob"\ndatabase_administrator = "@codd"\n'
    (tmp_path / "flowrex-ops.toml").write_text(contacts, encoding="utf-8")
    code, out, err = in_process.call("incident", "open", "A token leaked", "--security", cwd=tmp_path)
    assert (code, err) == (0, "")
    for text in (
        "severity     P0",
        "Security (@mallory): due now",
        "Also: Database administrator (@codd), Secondary on-call (@bob)",
        "1. revoke what leaked",
    ):
        assert text in out
    assert in_process.call("incident", "update", "latest", "--notified", "security", cwd=tmp_path)[0] == 0
    assert "Security (@mallory): notified" in in_process.call("incident", "show", cwd=tmp_path)[1]
    in_process.call("incident", "resolve", "latest", "--force", "an old token", cwd=tmp_path)
    assert "revoke" not in in_process.call("incident", "show", cwd=tmp_path)[1]


def test_whoever_commands_is_not_whoever_changes_things(tmp_path: Path) -> None:
    """However it is known who approved; a hand-over ends it."""
    in_process.call("incident", "open", "Orders time out", "--role", "commander=ada", cwd=tmp_path)
    (folder,) = (tmp_path / "outputs").glob("INC-*")
    timeline.append(folder, {"kind": "mitigation-intent", "text": "flush", "operator": "ada (as typed by root)"})
    hint = "ada commands, and changes the platform too"
    assert hint in in_process.call("incident", "show", cwd=tmp_path)[1]
    in_process.call("incident", "update", "latest", "--role", "commander=grace", cwd=tmp_path)
    assert hint not in in_process.call("incident", "show", cwd=tmp_path)[1]
