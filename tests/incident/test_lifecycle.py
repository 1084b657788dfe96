"""An incident from its first report to its end, as its file and its timeline tell it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import note_run, read_incident
from flowrex_ops.archive.manifest import verify
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.incident import Status, change, close, find, load, note_alert, open_new
from flowrex_ops.incident.incident import read_incident as understand
from flowrex_ops.incident.severity import note_notified
from flowrex_ops.redaction.redactor import Redactor

REDACTOR = Redactor(["hunter22"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An incident that was just opened."""
    return open_new(tmp_path, {"title": "Orders time out", "severity": "P2"}, by="ada", redactor=REDACTOR)


def said(folder: Path) -> list[str]:
    return [line["text"] for line in timeline.read(folder)]


class TestOpen:
    """What is known at the beginning, and nothing that nobody said."""

    def test_new_one_is_investigated(self, folder: Path) -> None:
        incident = understand(folder)
        assert (incident.status, incident.severity, incident.title) == (Status.INVESTIGATING, "P2", "Orders time out")
        assert incident.channel == f"#incident-{folder.name[4:17]}"
        assert verify(folder) == []

    def test_it_may_have_begun_earlier(self, tmp_path: Path) -> None:
        began = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
        folder = open_new(tmp_path, {"title": "x", "started": began}, by="ada", redactor=REDACTOR)
        incident = understand(folder)
        assert (incident.started, incident.opened > began) == (began, True)

    @pytest.mark.parametrize(
        ("facts", "text"),
        [
            ({"severity": "P7"}, "severity: 'P7' is not one; give 'P0', 'P1', 'P2' or 'P3'"),
            ({"status": "asleep"}, "status: 'Asleep' is not one; give 'Investigating', "),
            ({"status": "resolved"}, "an incident is resolved by its checklist"),
            ({"started": datetime.now(UTC) + timedelta(hours=1)}, "is in the future; give a past time"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused(self, folder: Path, facts: dict[str, object], text: str) -> None:
        before = read_incident(folder)
        with pytest.raises(ParameterError, match=text):
            change(folder, facts, by="ada", redactor=REDACTOR)
        assert read_incident(folder) == before


class TestChange:
    """Old and new stand on the timeline; nothing is lost."""

    def test_says_what_it_was(self, folder: Path) -> None:
        change(folder, {"severity": "P1", "roles": {"commander": "ada"}}, by="ada", redactor=REDACTOR)
        assert said(folder)[-1] == "severity P1 (was P2); commander ada"
        assert timeline.read(folder)[-1]["changes"]["severity"] == {"was": "P2", "is": "P1"}

    def test_what_is_the_same_is_no_change(self, folder: Path) -> None:
        before = said(folder)
        change(folder, {"severity": "P2"}, by="ada", redactor=REDACTOR)
        assert said(folder) == before

    def test_a_role_is_handed_on_and_freed(self, folder: Path) -> None:
        for roles in ({"commander": "ada", "scribe": "bob"}, {"commander": "eve"}, {"scribe": ""}):
            incident = change(folder, {"roles": roles}, by="ada", redactor=REDACTOR)
        assert incident.roles == {"commander": "eve"}

    def test_secrets_reach_neither_file_nor_timeline(self, folder: Path) -> None:
        change(folder, {"root_cause": "hunter22 leaked"}, by="ada", redactor=REDACTOR, note="rotate hunter22")
        assert all("hunter22" not in path.read_text() for path in folder.iterdir() if path.is_file())

    def test_a_run_raises_the_severity_and_never_lowers_it(self, folder: Path) -> None:
        note_run(folder, runbook="triage", title="Triage", severity="P1")
        note_run(folder, runbook="error_rate", title="Errors", severity="P3")
        assert read_incident(folder)["severity"] == "P1"
        assert set(read_incident(folder)["runbooks"]) == {"triage", "error_rate"}

    def test_many_at_once_lose_nothing(self, folder: Path) -> None:
        """Twenty people each take a role; every one of them has it, and the chain is whole."""

        def take(number: int) -> None:
            change(folder, {"roles": {f"role {number}": "ada"}}, by="ada", redactor=REDACTOR)

        threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read_incident(folder)["roles"]) == 20
        assert timeline.verify(folder) is None

    def test_a_resolved_one_can_be_taken_up_again(self, folder: Path) -> None:
        assert close(folder, by="ada", text="resolved", redactor=REDACTOR).over
        again = change(folder, {"status": "Investigating"}, by="ada", redactor=REDACTOR)
        assert (again.over, again.resolved) == (False, None)


class TestAlerts:
    """An alert is noted; while it fires its severity counts."""

    def test_a_worse_one_raises_the_severity(self, folder: Path) -> None:
        alert = {"alertname": "FrontDoorDown", "fingerprint": "f1", "severity": "P0", "summary": "no answer"}
        note_alert(folder, alert, state="firing", redactor=REDACTOR)
        assert said(folder)[-2:] == ["alert FrontDoorDown firing: no answer", "severity P0"]

    def test_its_end_changes_nothing(self, folder: Path) -> None:
        note_alert(folder, {"alertname": "FrontDoorDown", "severity": "P0"}, state="resolved", redactor=REDACTOR)
        assert read_incident(folder)["severity"] == "P2"


class TestFind:
    """By id, by its beginning, or as the latest."""

    def test_by_its_beginning(self, folder: Path) -> None:
        assert load(folder.parent, folder.name[:-1])[0] == folder
        assert load(folder.parent, "latest")[1].id == folder.name

    @pytest.mark.parametrize("wanted", ["INC-1999", "", "../x"])
    def test_what_is_not_there_is_said(self, folder: Path, wanted: str) -> None:
        with pytest.raises(ParameterError, match=r"see 'flowrex-ops incident list --all'"):
            load(folder.parent, wanted)

    def test_two_that_fit_are_named(self, folder: Path) -> None:
        open_new(folder.parent, {"title": "another"}, by="ada", redactor=REDACTOR)
        with pytest.raises(ParameterError, match="fits 2 incidents"):
            load(folder.parent, "INC-")
        assert len(find(folder.parent)) == 2


def test_only_roles_that_there_are_are_notified(folder: Path) -> None:
    """A slip in a role's name must not look like somebody who was notified."""
    with pytest.raises(ParameterError, match="'Team leed' is no role; give On-call engineer"):
        note_notified(folder, ["Team leed"], by="ada")
