"""One zip that opens anywhere, and can be held against its manifest after it was unpacked."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from generated import BEGIN, add_incident, metadata

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import verify, write_manifest
from flowrex_ops.archive.records import allocate
from flowrex_ops.errors import RecordError
from flowrex_ops.record.export import export


@pytest.fixture
def incident(tmp_path: Path) -> Path:
    """Two records, of which one has a page; evidence, a message, a post-mortem; all sealed."""
    outputs = tmp_path / "outputs"
    records = [metadata("triage", None, BEGIN), metadata("error_rate", "http.new-exception", BEGIN)]
    add_incident(outputs, BEGIN, records, impact="no <orders>")
    (folder,) = outputs.iterdir()
    for name in ("evidence/001-triage-checklist.csv", "evidence/002-error_rate-routes.csv", "messages/001-initial.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a,b\n")
    (folder / "post_mortem.html").write_text("<p>why</p>")
    (folder / "records" / "001-triage.html").write_text("<p>page</p>")
    write_manifest(folder)
    return folder


def unpacked(file: Path) -> Path:
    target = file.with_suffix("")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(target)
    return target


class TestExport:
    """Of an incident."""

    def test_everything_is_in_it_and_verifies(self, incident: Path, tmp_path: Path) -> None:
        found = unpacked(export(incident.parent, incident.name, tmp_path / "x.zip"))
        original = {p.relative_to(incident) for p in incident.rglob("*") if p.is_file()}
        assert {
            p.relative_to(found / incident.name) for p in (found / incident.name).rglob("*") if p.is_file()
        } == original
        assert verify(found / incident.name) == []
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=found, check=True, timeout=20)

    def test_page_links_to_what_is_there_and_loads_nothing(self, incident: Path, tmp_path: Path) -> None:
        found = unpacked(export(incident.parent, incident.name, tmp_path / "x.zip"))
        page = (found / "index.html").read_text()
        links = re.findall(r'href="([^"]+)"', page)
        assert [link for link in links if not (found / link).is_file()] == []
        assert f"{incident.name}/post_mortem.html" in links
        assert "default-src 'none'" in page
        assert "no &lt;orders&gt;" in page

    def test_a_record_names_its_incident(self, incident: Path, tmp_path: Path) -> None:
        found = unpacked(export(incident.parent, f"{incident.name}/002", tmp_path / "x.zip"))
        assert (found / incident.name / "records" / "001-triage.ipynb").is_file()

    def test_what_was_changed_is_said_and_packed_as_it_is(self, incident: Path, tmp_path: Path) -> None:
        (incident / "post_mortem.html").write_text("<p>other</p>")
        found = unpacked(export(incident.parent, incident.name, tmp_path / "x.zip"))
        assert "post_mortem.html was changed" in (found / "index.html").read_text()

    def test_links_out_of_the_folder_are_not_followed(self, incident: Path, tmp_path: Path) -> None:
        (tmp_path / "private").write_text("not for others")
        (incident / "evidence" / "link.csv").symlink_to(tmp_path / "private")
        found = unpacked(export(incident.parent, incident.name, tmp_path / "x.zip"))
        assert not (found / incident.name / "evidence" / "link.csv").exists()

    def test_nothing_is_overwritten(self, incident: Path, tmp_path: Path) -> None:
        target = tmp_path / "x.zip"
        target.write_text("mine")
        with pytest.raises(RecordError, match="exists already; give another file with --output"):
            export(incident.parent, incident.name, target)
        assert target.read_text() == "mine"

    @pytest.mark.parametrize(
        ("wanted", "words"), [("INC-1", "no incident is called"), ("INC-2026/009", "no record is")]
    )
    def test_what_is_not_there(self, incident: Path, tmp_path: Path, wanted: str, words: str) -> None:
        with pytest.raises(RecordError, match=words):
            export(incident.parent, wanted, tmp_path / "x.zip")

    def test_folder_that_is_not_there(self, incident: Path, tmp_path: Path) -> None:
        with pytest.raises(RecordError, match="is not a folder"):
            export(incident.parent, incident.name, tmp_path / "gone" / "x.zip")


class TestVerify:
    """Incidents without records too."""

    def test_incident_in_which_nothing_has_run(self, tmp_path: Path) -> None:
        timeline.append(tmp_path, {"kind": "incident", "text": "opened"})
        assert verify(tmp_path) == []

    def test_its_first_broken_line_is_named(self, tmp_path: Path) -> None:
        for text in ("opened", "two", "three"):
            timeline.append(tmp_path, {"kind": "note", "text": text})
        file = tmp_path / timeline.FILE
        file.write_text(file.read_text().replace("two", "2"))
        assert [str(problem) for problem in verify(tmp_path)] == [
            "timeline.jsonl line 2 was changed after it was written"
        ]

    def test_removed_timeline_and_removed_manifest(self, incident: Path) -> None:
        (incident / "manifest.json").unlink()
        (incident / timeline.FILE).unlink()
        assert [problem.kind for problem in verify(incident)] == ["no-manifest", "missing"]

    def test_evidence_of_a_running_record_is_no_problem(self, incident: Path) -> None:
        slot = allocate(incident, "memory_usage")
        slot.notebook.write_text("{}")
        (incident / "evidence" / f"{slot.name}-usage.csv").write_text("a")
        assert verify(incident) == []
