"""Incident folders: found, listed, sealed, and every later change noticed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import new_incident, open_folder, read_incident
from flowrex_ops.archive.manifest import verify, write_manifest
from flowrex_ops.archive.records import allocate, list_records, load_record
from flowrex_ops.errors import RecordError


def finished_record(incident: Path, runbook: str, started: str) -> str:
    """A record as small as can be; returns its id."""
    slot = allocate(incident, runbook)
    record = {"status": "complete", "started": started, "id": slot.id}
    slot.notebook.write_text(json.dumps({"cells": [], "metadata": {"flowrex_ops": {"record": record}}}))
    write_manifest(incident, finished=slot.notebook)
    return slot.id


@pytest.fixture
def incident(tmp_path: Path) -> Path:
    """A new incident's folder."""
    return new_incident(tmp_path, {"title": "Database connections"})


class TestIncident:
    """A folder per incident."""

    def test_new_incident_says_what_a_person_needs(self, incident: Path) -> None:
        said = read_incident(incident)
        assert said["id"] == incident.name
        assert said["status"] == "Investigating"
        assert said["channel"] == f"#incident-{incident.name[4:17]}"
        assert incident.stat().st_mode & 0o007 == 0, "others on the host could read it"

    def test_an_id_of_another_shape_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RecordError, match=r"'../x' is not an incident id"):
            open_folder(tmp_path, "../x")

    def test_a_runbook_cannot_lead_out_of_the_folder(self, incident: Path) -> None:
        with pytest.raises(RecordError, match=r"cannot name a record"):
            allocate(incident, "../../etc")


class TestRecords:
    """Records are found by id, by its beginning, by incident, by path, and as the latest."""

    def test_newest_comes_first(self, incident: Path) -> None:
        old = finished_record(incident, "triage", "2026-01-01T00:00:00")
        new = finished_record(incident, "error_rate", "2026-01-01T00:05:00")
        assert [record.id for record in list_records(incident.parent)] == [new, old]

    @pytest.mark.parametrize("wanted", ["{id}", "{incident}", "INC-", "latest", "{path}"])
    def test_a_record_is_found(self, incident: Path, wanted: str) -> None:
        name = finished_record(incident, "triage", "2026-01-01T00:00:00")
        path = incident / "records" / "001-triage.ipynb"
        wanted = wanted.format(id=name, incident=incident.name, path=path)
        assert load_record(incident.parent, wanted).id == name

    @pytest.mark.parametrize("wanted", ["nothing", ""])
    def test_a_record_that_is_not_there_is_one_line(self, incident: Path, wanted: str) -> None:
        finished_record(incident, "triage", "2026-01-01T00:00:00")
        with pytest.raises(RecordError, match=rf"no record is called '{wanted}' in .*; see 'flowrex-ops records list'"):
            load_record(incident.parent, wanted)

    def test_no_records_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(RecordError, match=r"there are no records in .*; make one with"):
            load_record(tmp_path, "latest")

    def test_a_beginning_that_fits_two_incidents_is_refused(self, incident: Path) -> None:
        finished_record(incident, "triage", "2026-01-01T00:00:00")
        finished_record(new_incident(incident.parent, {}), "triage", "2026-01-01T00:00:00")
        with pytest.raises(RecordError, match=r"fits records of 2 folders"):
            load_record(incident.parent, "INC-")


class TestTimeline:
    """Only ever appended, each line chained to the one before."""

    @pytest.mark.parametrize("text", ["é", "two\u2028lines of a text, \x85 one of JSON", "x" * 200_000])
    def test_lines_are_chained(self, incident: Path, text: str) -> None:
        """Whatever stands in them, and however long they are."""
        first = timeline.append(incident, {"kind": "note", "text": text})
        second = timeline.append(incident, {"kind": "note", "text": "b"})
        assert (second["prev"], second["seq"]) == (first["hash"], first["seq"] + 1)
        assert timeline.verify(incident) is None
        assert [line["text"] for line in timeline.read(incident)][-2:] == [text, "b"]

    def test_only_what_is_new_is_read_again(self, incident: Path) -> None:
        """Of a line that is being written nothing, until it is whole."""
        timeline.append(incident, {"kind": "note", "text": "a"})
        before, offset = timeline.read_since(incident, 0)
        with (incident / timeline.FILE).open("ab") as file:
            file.write(b'{"text": "b"')
            file.flush()
            assert timeline.read_since(incident, offset) == ([], offset)
            file.write(b"}\n")
        new, offset = timeline.read_since(incident, offset)
        assert (before[-1]["text"], [line["text"] for line in new]) == ("a", ["b"])
        assert timeline.read_since(incident, offset) == ([], offset)

    def test_writers_at_once_do_not_break_the_chain(self, incident: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: timeline.append(incident, {"kind": "note", "text": str(n)}), range(40)))
        assert timeline.verify(incident) is None
        assert [line["seq"] for line in timeline.read(incident)] == list(range(1, 42))

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda lines: [lines[0], lines[1].replace("two", "2"), lines[2]], "line 2 was changed"),
            (lambda lines: [lines[0], lines[2]], "line 2 does not follow"),
            (lambda lines: [lines[0], "{half", lines[2]], "line 2 is not a line of JSON"),
        ],
    )
    def test_the_first_broken_line_is_named(self, incident: Path, change: object, expected: str) -> None:
        for text in ("two", "three"):
            timeline.append(incident, {"kind": "note", "text": text})
        path = incident / timeline.FILE
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")  # type: ignore[operator]  # a callable of the table above
        assert expected in (timeline.verify(incident) or "")

    def test_a_line_cut_in_half_by_a_crash_stays_visible_and_the_chain_goes_on(self, incident: Path) -> None:
        path = incident / timeline.FILE
        path.write_bytes(path.read_bytes() + b'{"seq": 2, "at')
        timeline.append(incident, {"kind": "note", "text": "after"})
        assert "line 2 is not a line of JSON" in (timeline.verify(incident) or "")
        assert timeline.read(incident)[-1]["text"] == "after"


class TestManifest:
    """What changed since the last run ended is named."""

    @pytest.fixture(autouse=True)
    def _sealed(self, incident: Path) -> None:
        finished_record(incident, "triage", "2026-01-01T00:00:00")

    def test_untouched_folder_has_no_problems(self, incident: Path) -> None:
        assert verify(incident) == []

    def test_changed_missing_and_added_files_are_named(self, incident: Path) -> None:
        record = incident / "records" / "001-triage.ipynb"
        record.write_text(record.read_text().replace("complete", "partial!"))
        (incident / "extra.txt").write_text("x")
        assert [(p.kind, p.path) for p in verify(incident)] == [
            ("changed", "records/001-triage.ipynb"),
            ("unexpected", "extra.txt"),
        ]
        record.unlink()
        assert "records/001-triage.ipynb is missing" in map(str, verify(incident))

    def test_the_timeline_may_grow_but_not_change(self, incident: Path) -> None:
        timeline.append(incident, {"kind": "note", "text": "later"})
        assert verify(incident) == []
        path = incident / timeline.FILE
        path.write_text(path.read_text().replace("opened", "closed"))
        assert {p.kind for p in verify(incident)} == {"changed", "broken-chain"}

    def test_a_damaged_manifest_is_a_problem_not_a_traceback(self, incident: Path) -> None:
        (incident / "manifest.json").write_text("{")
        assert [p.kind for p in verify(incident)] == ["changed"]

    def test_a_running_record_is_no_problem_and_an_abandoned_one_is(self, incident: Path) -> None:
        import os

        slot = allocate(incident, "error_rate")
        slot.notebook.write_text("{}")
        write_manifest(incident)
        assert verify(incident) == []
        os.close(slot.lock)
        assert [p.kind for p in verify(incident)] == ["unfinished"]

    def test_two_that_end_at_once_are_both_in_the_manifest(self, incident: Path) -> None:
        slots = [allocate(incident, "error_rate") for _ in range(2)]
        for slot in slots:
            slot.notebook.write_text("{}")
            write_manifest(incident, finished=slot.notebook)
        listed = json.loads((incident / "manifest.json").read_text())["files"]
        assert {f"records/{slot.name}.ipynb" for slot in slots} <= set(listed)
        assert verify(incident) == []

    def test_what_is_just_being_written_is_no_problem(self, incident: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (incident / "extra.txt").write_text("x")
        monkeypatch.setattr("flowrex_ops.archive.manifest.time.sleep", lambda _seconds: write_manifest(incident))
        assert verify(incident) == []

    def test_a_folder_that_is_none_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(RecordError, match=r"is not an incident folder; see"):
            verify(tmp_path / "nothing")
