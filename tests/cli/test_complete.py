"""What the shell offers at Tab, asked as bash does."""

from __future__ import annotations

from pathlib import Path

import in_process
import pytest
from record_bench import Bench

from flowrex_ops.archive.incidents import new_incident


def offered(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What Tab offers at the end of *line*."""
    monkeypatch.setenv("_FLOWREX_OPS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    _, out, err = in_process.call(cwd=folder)
    assert err == ""
    return out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("flowrex-ops inc", ["incident"]),
        ("flowrex-ops run data", ["database_connections", "database_restore"]),
        ("flowrex-ops batch triage cert", ["certificate_expiry"]),
        (
            "flowrex-ops run database_connections --approve t",
            ["terminate-idle-in-transaction", "terminate-root-blocker"],
        ),
        ("flowrex-ops run error_rate --approve t", []),
        ("flowrex-ops drill run lock-c", ["lock-chain"]),
        ("flowrex-ops drill run-all triage-pa", ["triage-past-lock"]),
    ],
)
def test_names_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, names: list[str]) -> None:
    """Of runbooks, drills, and the runbook's own mitigations."""
    assert offered(tmp_path, monkeypatch, line) == names


def test_incidents_runs_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each where it is taken, ``latest`` first."""
    result = Bench(tmp_path).run("1")
    incident = new_incident(tmp_path / "outputs", {}).name
    for line in ("incident show ", "message initial ", "post-mortem ", "run triage --incident "):
        assert offered(tmp_path, monkeypatch, f"flowrex-ops {line}") == ["latest", incident]
    assert offered(tmp_path, monkeypatch, "flowrex-ops incident open x --from R") == [result.folder.name]
    assert offered(tmp_path, monkeypatch, "flowrex-ops records show ") == ["latest", result.id]


def test_what_is_wrong_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback into the line that is being typed."""
    (tmp_path / "flowrex-ops.toml").write_text("nonsense", encoding="utf-8")
    assert offered(tmp_path, monkeypatch, "flowrex-ops records show x") == []


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("run", "databse_connections"), "database_connections"),
        (("drill", "run", "lock-chian"), "lock-chain"),
        (("run", "database_connections", "--approve", "terminate-root", "--operator", "ada"), "terminate-root-blocker"),
    ],
)
def test_a_slip_names_the_nearest(tmp_path: Path, words: tuple[str, ...], near: str) -> None:
    """In one line, and nothing is started."""
    code, out, err = in_process.call(*words, cwd=tmp_path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.endswith(f"did you mean '{near}'?\n")
    assert list(tmp_path.iterdir()) == []
