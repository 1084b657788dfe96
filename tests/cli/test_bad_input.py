"""Bad input gets one line that says what and what to do, the right exit code, no traceback, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import in_process
import pytest

OUTSIDE = ("status pages", "sentry", "notify")
COMMAND = [sys.executable, "-c", "from flowrex_ops.cli import main; main()"]


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own, with no settings but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
    nowhere = {"DOCKER_HOST": f"unix://{cwd}/no-docker.sock"}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=inherited | nowhere | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


BAD: dict[str, tuple[list[str], str]] = {
    "unknown command": (["frobnicate"], "No such command 'frobnicate'; see 'flowrex-ops --help'"),
    "unknown option": (["run", "database_connections", "--frob"], "No such option: --frob"),
    "a slip in a command": (["tirage"], "Did you mean 'triage'?"),
    "unknown runbook": (["run", "databse_connections"], "did you mean 'database_connections'?"),
    "missing notebook": (["run", "gone.ipynb"], "does not exist"),
    "not a notebook": (["run", "page.ipynb"], "is not a notebook"),
    "notebook without parameters": (["run", "plain.ipynb"], "has no parameters cell"),
    "unknown parameter": (["run", "database_connections", "-p", "idle_after=3"], "did you mean 'idle_after_seconds'?"),
    "wrong type": (["run", "database_connections", "-p", "idle_after_seconds=soon"], "is not a number"),
    "impossible value": (["run", "database_connections", "-p", "connections_ratio=7"], "at most 1"),
    "negative days": (["run", "certificate_expiry", "-p", "warn_days=-1"], "give 0 or more"),
    "not NAME=VALUE": (["run", "database_connections", "-p", "since"], "write -p NAME=VALUE"),
    "unknown mitigation": (
        ["run", "database_connections", "--approve", "restart-bakend"],
        "did you mean 'restart-backend'?",
    ),
    "nobody approves": (["run", "database_connections", "--approve", "restart-backend"], "add --operator NAME"),
    "no approver": (
        [
            "run",
            "database_connections",
            "--approve",
            "restart-backend",
            "--operator",
            "bob",
            "--settings",
            "approvers.toml",
        ],
        "operator: bob may not approve here; one of ada, eve has to (settings: approvers)",
    ),
    "malformed incident": (["run", "database_connections", "--incident", "../x"], "no incident is called '../x'"),
    "unknown severity": (
        ["run", "database_connections", "--fail-on", "P9"],
        "'P9' is not a severity; give P0, P1, P2 or P3",
    ),
    "missing settings": (["run", "database_connections", "--settings", "gone.toml"], "does not exist"),
    "malformed settings": (["run", "database_connections", "--settings", "bad.toml"], "is not valid TOML"),
    "unknown setting": (["doctor", "--settings", "odd.toml"], "'postgres.url' is not a setting"),
    "serve for everybody": (["serve", "--host", "0.0.0.0"], "there is no serve.token; set one"),  # noqa: S104  (the point)
    "serve with a certificate": (["serve", "--settings", "tls.toml"], "'serve.tls_certificate' is not a setting"),
    "serve with a short token": (["serve", "--settings", "short.toml"], "shorter than 16 characters"),
    "serve without runbooks": (["serve", "--notebooks", "gone"], "'gone' is not a folder"),
    "serve at no address": (
        ["serve", "--host", "127.0.0.1.example.invalid", "--settings", "token.toml"],
        "choose another",
    ),
    "unknown stack": (["sandbox", "up", "--stack", "nomad"], "give supervisor or compose"),
    "unknown scenario": (["drill", "run", "earthquake"], "earthquake"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of each wrong kind."""
    (tmp_path / "page.ipynb").write_text("<html>")
    cells = [{"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}]
    (tmp_path / "plain.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    (tmp_path / "bad.toml").write_text("platform = ")
    (tmp_path / "approvers.toml").write_text('approvers = ["ada", "eve"]')
    (tmp_path / "tls.toml").write_text("[serve]\ntls_certificate = 'no.pem'")
    (tmp_path / "short.toml").write_text("[serve]\ntoken = 'sesame'")
    (tmp_path / "token.toml").write_text("[serve]\ntoken = 'open-sesame-open-sesame'")
    (tmp_path / "odd.toml").write_text("[postgres]\nurl = 'x'")
    return tmp_path


@pytest.mark.parametrize("example", BAD)
def test_one_line_and_exit_2(folder: Path, example: str) -> None:
    """The caller can put it right, so the line says how; nothing was started, nothing was written."""
    arguments, words = BAD[example]
    before = sorted(folder.iterdir())
    code, out, err = in_process.call(*arguments, cwd=folder)
    assert (code, out) == (2, ""), err
    assert words in err
    assert len(err.strip().splitlines()) == 1, err
    assert sorted(folder.iterdir()) == before


def test_no_record_of_that_name_is_exit_1(folder: Path) -> None:
    """Nothing is wrong with the request; there just is no such record."""
    done = call("records", "show", "INC-1", cwd=folder)
    assert done.returncode == 1
    assert "there are no records" in done.stderr


def test_unreachable_stack_is_told_not_raised(folder: Path) -> None:
    """The doctor finds nobody at home: every source has its line, the exit code is 1."""
    done = call("doctor", "--json", cwd=folder)
    assert done.returncode == 1, done.stderr
    reported = {row["source"]: row for row in json.loads(done.stdout)["sources"]}
    assert {row["state"] for name, row in reported.items() if name not in OUTSIDE} == {"unreachable"}
    assert {reported[name]["state"] for name in ("sentry", "notify")} == {"not set"}
    assert "could not be asked" in reported["postgres"]["origin"]


def test_run_against_nothing_still_leaves_a_record(folder: Path) -> None:
    """No stack, no database: the runbook finishes, partial, and claims nothing that it cannot know."""
    done = call("run", "database_connections", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["diagnosis"]) == ("partial", None)
    assert {verdict["verdict"] for verdict in result["verdicts"]} == {"inconclusive"}
    assert Path(result["record"]).is_file()
    assert "Traceback" not in Path(result["html"]).read_text(encoding="utf-8")


def test_fail_on_turns_a_finding_into_exit_3(folder: Path) -> None:
    """PostgreSQL refuses every connection: a P0, which is as severe as P1 or worse."""
    (folder / "flowrex-ops.toml").write_text('[postgres]\ndsn = "postgresql://x:y-secret@127.0.0.1:1/x"\n')
    done = call("run", "database_connections", "--fail-on", "P1", cwd=folder)
    assert done.returncode == 3, done.stderr
    assert "db.unreachable" in done.stdout
