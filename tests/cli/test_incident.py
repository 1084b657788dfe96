"""An incident by its commands alone, as an engineer types them, and where its outputs are a store."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import in_process
import pytest


def flowrex(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in this process; the second that a process of its own takes to start is not what is tested."""
    return subprocess.CompletedProcess(words, *in_process.call(*words, cwd=folder))


def flowrex_elsewhere(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as another machine has it: with this environment."""
    command = [sys.executable, "-c", "from flowrex_ops.cli import main; main()", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_opened_told_of_and_taken_along(tmp_path: Path) -> None:
    """The zip holds the incident, its message and a page that opens it."""
    opened = flowrex(tmp_path, "incident", "open", "Orders time out", "--severity", "P1", "--service", "backend")
    said = flowrex(tmp_path, "message", "initial", "latest", "--impact", "no orders are filled")
    packed = flowrex(tmp_path, "incident", "export", "latest", "--output", "all.zip")
    assert [done.returncode for done in (opened, said, packed)] == [0, 0, 0], (
        opened.stderr + said.stderr + packed.stderr
    )
    names = {Path(name).name for name in zipfile.ZipFile(tmp_path / "all.zip").namelist()}
    assert {"index.html", "incident.json", "timeline.jsonl", "001-initial.txt", "manifest.json"} <= names


@pytest.mark.parametrize("edit", [(), ("--edit",)])
def test_nobody_is_told_that_an_open_incident_is_resolved(tmp_path: Path, edit: tuple[str, ...]) -> None:
    """Refused in one line before anything is kept; the draft says how it is; --force wants a reason, which is kept."""
    (tmp_path / "flowrex-ops.toml").write_text('[notify.urls]\nall = "json://127.0.0.1:9/"\n', encoding="utf-8")
    flowrex(tmp_path, "incident", "open", "Orders time out", "--severity", "P1", "--service", "backend")
    facts = ("--impact", "no orders", "--root-cause", "a lock", "--resolution", "a limit")

    refused = flowrex(tmp_path, "message", "resolved", "latest", "--send", *facts, *edit)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert (
        "is 'Investigating', so nobody is notified that it is resolved; run 'flowrex-ops incident resolve"
        in refused.stderr
    )
    assert list(tmp_path.glob("outputs/INC-*/messages/*")) == []

    draft = flowrex(tmp_path, "message", "resolved", "latest", *facts)
    assert draft.stdout.startswith("[not yet so: INC-"), draft.stdout + draft.stderr

    bare = flowrex(tmp_path, "message", "resolved", "latest", "--send", "--force")
    assert (bare.returncode, "say why with --reason TEXT" in bare.stderr) == (2, True), bare.stderr
    forced = flowrex(tmp_path, "message", "resolved", "latest", "--send", "--force", "--reason", "their tool closed it")
    assert "\n✅" not in forced.stdout, "it begins with the title"
    assert "✅ INCIDENT RESOLVED" in forced.stdout, forced.stderr
    shown = flowrex(tmp_path, "incident", "show", "latest").stdout
    assert "by force, the incident is 'Investigating': their tool closed it" in shown


def test_a_resolved_incident_is_told_of(tmp_path: Path) -> None:
    """After ``incident resolve`` nothing is in the way."""
    (tmp_path / "flowrex-ops.toml").write_text('[notify.urls]\nall = "json://127.0.0.1:9/"\n', encoding="utf-8")
    flowrex(tmp_path, "incident", "open", "Orders time out", "--severity", "P1", "--service", "backend")
    facts = ("--impact", "no orders", "--root-cause", "a lock", "--resolution", "a limit")
    flowrex(tmp_path, "incident", "resolve", "latest", "--force", "seen by hand")
    reported = flowrex(tmp_path, "message", "resolved", "latest", "--send", *facts)
    assert reported.stdout.startswith("✅ INCIDENT RESOLVED"), reported.stderr
    assert "NOT sent to all" in reported.stdout, "there is nobody at that address"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("incident", "open", "x", "--severity", "P9"), "severity: 'P9' is not one; give 'P0', 'P1', 'P2' or 'P3'"),
        (("incident", "open", "x", "--started", "noonish"), "--started: 'noonish' is not a time"),
        (("incident", "open", "x", "--role", "ada"), "--role: 'ada' is not a role; write ROLE=NAME"),
        (("incident", "show", "INC-1"), "no incident is called 'INC-1'"),
        (("message", "farewell", "latest"), "'farewell' is not a message; give initial, update, resolved"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    """Exit code 2, what is wrong and what would be right."""
    done = flowrex(tmp_path, *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert text in done.stderr
    assert list(tmp_path.glob("outputs/INC-*")) == []


def test_two_machines_read_each_others_incidents_from_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one opens the other sees, and may not change: each has a working copy of its own."""
    monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", f"file://{tmp_path}/store")
    for machine in ("a", "b"):
        (tmp_path / machine).mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a"))
    assert flowrex_elsewhere(tmp_path, "incident", "open", "Orders time out").returncode == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "b"))
    assert "Orders time out" in flowrex_elsewhere(tmp_path, "incident", "show", "latest").stdout
    refused = flowrex_elsewhere(tmp_path, "incident", "update", "latest", "--role", "commander=bob", "--author", "bob")
    assert refused.returncode == 1
    assert "is only read here; go on with it on" in refused.stderr
