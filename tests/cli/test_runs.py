"""A run that belongs to no incident: kept like any other, nobody's to escalate, and the first word of an incident where one is opened with it."""

from __future__ import annotations

import json
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import in_process
import pytest

from flowrex_ops.archive.incidents import find_run
from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.records import allocate, load_record
from flowrex_ops.archive.timeline import read
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.incident.escalation import remind
from flowrex_ops.incident.incident import close, open_new, open_with, read_incident
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings
from tests.record.record_bench import Bench, confirmed, shows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that found something severe, and belongs to nobody."""
    return Bench(tmp_path).run(shows(confirmed())).folder


def flowrex(folder: Path, *words: str) -> tuple[int, str, str]:
    """The command in *folder*."""
    return in_process.call(*words, cwd=folder)


def test_a_plain_run_opens_no_incident(tmp_path: Path) -> None:
    """A folder of its own kind, with the same in it; ``incident`` stands there, and says that there is none."""
    code, out, err = flowrex(tmp_path, "run", "service_restart", "--json")
    facts: dict[str, Any] = json.loads(out)
    assert (code, err, facts["incident"]) == (0, "", None)
    (folder,) = (tmp_path / "outputs").glob("*-*")
    assert (facts["run"], facts["folder"], folder.name[:4]) == (folder.name, str(folder), "RUN-")
    assert sorted(path.name for path in folder.iterdir()) == ["evidence", "manifest.json", "records", "timeline.jsonl"]
    assert verify(folder) == []
    assert "--incident" not in flowrex(tmp_path, "run", "service_restart")[1]


def test_nobody_is_reminded_of_a_run(run: Path) -> None:
    """However severe what it found, and however long ago."""
    assert remind(Settings(outputs=run.parent), now=datetime.now(UTC) + timedelta(days=9)) == []
    assert flowrex(run.parent.parent, "incident", "list", "--all")[1] == "no incidents yet\n"


@pytest.mark.parametrize(
    "words",
    [
        ("incident", "show", "{}"),
        ("incident", "update", "{}", "--note", "x"),
        ("incident", "resolve", "{}"),
        ("incident", "export", "{}"),
        ("message", "initial", "{}"),
        ("post-mortem", "{}"),
        ("run", "service_restart", "--incident", "{}"),
    ],
    ids=" ".join,
)
def test_a_command_of_incidents_says_that_it_is_a_run(run: Path, words: tuple[str, ...]) -> None:
    """In one line, with the command that opens an incident with it; also by the beginning of its id."""
    for name in (run.name, run.name[:9]):
        code, out, err = flowrex(run.parent.parent, *(word.format(name) for word in words))
        said = f"'{run.name}' is a run, not an incident; open an incident with it: flowrex-ops incident open TITLE --from {run.name}"
        assert (code, out, err) == (2, "", f"flowrex-ops: {said}\n")


def test_latest_is_an_incident_for_incidents_and_a_record_for_records(run: Path) -> None:
    """Also where a run came later."""
    folder = run.parent.parent
    assert "there is no incident in" in flowrex(folder, "incident", "show", "latest")[2]
    opened = open_new(run.parent, {"title": "Orders time out"}, by="ada", redactor=Redactor())
    assert opened.name in flowrex(folder, "incident", "show", "latest")[1]
    assert f"{run.name}/001-database_connections" in flowrex(folder, "records", "show", "latest")[1]
    assert json.loads(flowrex(folder, "records", "verify", "--json")[1])["incidents"] == 2
    assert flowrex(folder, "records", "export", run.name, "--output", "run.zip")[0] == 0
    assert b"a run that belongs to no incident" in zipfile.ZipFile(folder / "run.zip").read("index.html")


def test_a_run_is_taken_into_an_incident(run: Path) -> None:
    """Its records, and what they found, are the incident's first; what called it by its old name still finds it."""
    folder = run.parent.parent
    code, out, err = flowrex(folder, "incident", "open", "Orders time out", "--from", run.name[:10], "--author", "ada")
    opened = run.with_name(run.name.replace("RUN", "INC"))
    assert (code, err, run.exists(), opened.name in out) == (0, "", False, True)
    said = read_incident(opened)
    assert (said.id, said.title, said.severity, list(said.runbooks)) == (
        opened.name,
        "Orders time out",
        "P1",
        ["database_connections"],
    )
    began = load_record(run.parent, "latest").metadata.started
    assert began is not None
    assert said.started == began.replace(microsecond=0)
    assert verify(opened) == []
    assert [line["text"] for line in read(opened)][-1] == f"incident {opened.name} opened with {run.name}"
    for name in (f"{run.name}/001", "latest", opened.name):
        assert f"{opened.name}/001-database_connections" in flowrex(folder, "records", "show", name)[1]
    assert opened.name in flowrex(folder, "incident", "show", run.name)[1]
    assert flowrex(folder, "records", "similar", "latest")[1] == "nothing earlier was like it\n"
    assert "Management" in flowrex(folder, "incident", "show", "latest")[1], "it is escalated from now on"


def test_what_was_said_of_a_run_that_is_taken_holds(run: Path) -> None:
    """A severity that a person gives stands above what was found; a run that goes on is not taken."""
    slot = allocate(run, "triage")
    with pytest.raises(RecordError, match="still runs"):
        open_with(run.parent, "latest", {"severity": "P0"}, by="ada", redactor=Redactor())
    os.close(slot.lock)
    opened = open_with(run.parent, "latest", {"severity": "P0"}, by="ada", redactor=Redactor())
    assert (read_incident(opened).severity, verify(opened)) == ("P0", [])
    close(opened, by="ada", text="resolved", redactor=Redactor())
    with pytest.raises(ParameterError, match="no run is called 'latest'"):
        find_run(run.parent, "latest")


def test_a_run_that_opens_an_incident(tmp_path: Path) -> None:
    """``--open`` opens one with the runbook's title, unless the run could not start."""
    code, out, _ = flowrex(tmp_path, "run", "service_restart", "--open", "--json")
    facts = json.loads(out)
    assert (code, facts["incident"][:4], facts["run"]) == (0, "INC-", None)
    said = read_incident(Path(facts["folder"]))
    assert (said.status, bool(said.title)) == ("Investigating", True)
    for slip in (("-p", "nonsense=1"), ("--incident", "latest")):
        code, _, err = flowrex(tmp_path, "run", "service_restart", "--open", *slip)
        assert (code, len(err.splitlines())) == (2, 1), err
    assert len(list((tmp_path / "outputs").glob("INC-*"))) == 1
