"""Folders of copied files, as runbooks judge them: the cause that they show, and nothing ruled out for want of a file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import copied_sites
import in_process
import pytest
from copied_sites import NOW, SETTINGS, activity, inspected, session
from run_cells import run

from flowrex_ops.archive.readings import REPLAY
from flowrex_ops.copied.files import COMMANDS, Files
from flowrex_ops.copied.folder import Copies

CASES = [(name, runbook, cause) for name, (_, told) in copied_sites.sites().items() for runbook, cause in told.items()]


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", str(tmp_path / "outputs"))


def judged(folder: Path, runbook: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The runbook's cells over *folder*."""
    monkeypatch.setenv(REPLAY, str(folder))
    result = run({"name": folder.name, "runbook": runbook, "parameters": {}})
    assert "traceback" not in result, result
    assert not result["failed_checks"]
    return result


@pytest.mark.parametrize(("name", "runbook", "cause"), CASES, ids=[f"{name}-{runbook}" for name, runbook, _ in CASES])
def test_the_cause_that_it_shows(
    name: str, runbook: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = judged(copied_sites.write(tmp_path, [name]) / name, runbook, monkeypatch)
    assert (result["diagnosis"] or "none") == ("none" if cause == "inconclusive" else cause), result["verdicts"]
    kinds = {kind for _, kind, _ in result["verdicts"]}
    assert cause != "inconclusive" or kinds == {"inconclusive"}
    assert set(result["mitigations"]) <= {"refused", "planned"}


def test_lines_that_are_not_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = judged(copied_sites.write(tmp_path, ["openssh-syslog"]) / "openssh-syslog", "error_rate", monkeypatch)
    reasons = " ".join(reason for _, _, reason in result["verdicts"])
    assert "none of 120 lines of the log of 'nginx' is of a known form, such as 'Jan 31 04:11:00 gate sshd" in reasons
    assert "logs/backend.log is not in 'openssh-syslog', or empty: copy it with `docker compose logs" in reasons


def test_what_a_failed_command_leaves_rules_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file, or an empty list: not that there is nothing."""
    site = copied_sites.write(tmp_path, ["scary-words"]) / "scary-words"
    (site / "docker-inspect.json").write_text("[]\n")
    (site / "redis-info.txt").touch()
    (site / "pg_stat_activity.csv").touch()
    Copies(site).require_sound()
    for runbook in ("memory_usage", "database_connections"):
        assert {kind for _, kind, _ in judged(site, runbook, monkeypatch)["verdicts"]} == {"inconclusive"}
    verdicts = {cause: (kind, reason) for cause, kind, reason in judged(site, "error_rate", monkeypatch)["verdicts"]}
    kind, reason = verdicts["http.bad-deploy"]
    assert (kind, "docker-inspect.json is not in 'scary-words', or empty" in reason) == ("inconclusive", True)


@pytest.mark.parametrize("name", ["502-after-deploy", "lock-pile-up", "redis-full"])
def test_without_a_file_what_is_there_is_not_ruled_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each taken away in turn."""
    files, told = copied_sites.sites()[name]
    ((runbook, cause),) = told.items()
    for gone in files:
        site = copied_sites.write(tmp_path / gone.replace("/", "-"), [name]) / name
        (site / gone).unlink()
        verdicts = {one: kind for one, kind, _ in judged(site, runbook, monkeypatch)["verdicts"]}
        assert verdicts[cause] != "ruled out", gone


def test_triage_rules_out_what_it_can_see_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder with a log alone: nothing of services, databases and disks."""
    site = copied_sites.write(tmp_path, ["openssh-syslog"]) / "openssh-syslog"
    result = judged(site, "triage", monkeypatch)
    assert {kind for _, kind, _ in result["verdicts"]} == {"inconclusive"}


def test_from_the_command(tmp_path: Path) -> None:
    """A record like any other: it says of what it is, asks nobody, and holds no password of what was copied."""
    copied_sites.write(tmp_path, ["502-after-deploy", "scary-words"])
    code, out, err = in_process.call("run", "error_rate", "--from", "502-after-deploy", "--json", cwd=tmp_path)
    result = json.loads(out)
    assert (code, result["diagnosis"]) == (0, "http.bad-deploy"), err
    text = Path(result["record"]).read_text(encoding="utf-8")
    assert "replay of 502-after-deploy" in text
    assert "files in '502-after-deploy', as it was at 2026-01-31 04:12:00 UTC" in text
    written = [file.read_bytes() for file in (tmp_path / "outputs").rglob("*") if file.is_file()]
    assert written
    assert not any(b"hunter2" in each for each in written)
    (tmp_path / "scary-words" / "slow_responses-expected.txt").unlink()
    code, out, err = in_process.call("backtest", "502-after-deploy", "scary-words", cwd=tmp_path)
    assert (code, "2 captures: 2 right, 0 wrong, 0 honest, 0 silent" in out) == (0, True), out + err


BROKEN = {
    "nothing known": ({"notes.txt": "hello"}, "holds no readings of a run, and nothing that is known of a copied site"),
    "a log of nobody": ({"captured-at.txt": "2026-01-31T04:12:00Z"}, "put logs/nginx.log and the like into it"),
    "no time": ({"captured-at.txt": "yesterday", "logs/nginx.log": "x"}, "captured-at.txt' has no time; it should be"),
    "no JSON": ({"docker-inspect.json": "[{"}, "docker-inspect.json' is no JSON"),
    "no container": ({"docker-inspect.json": '[{"Id": "x"}]'}, "docker-inspect.json' has no whole container"),
    "no sizes": (
        {"docker-inspect.json": inspected(), "docker-stats.json": '{"Name": "harbor-nginx-1", "MemUsage": "much"}'},
        "docker-stats.json' has no memory or CPU that can be read: much",
    ),
    "another table": ({"pg_stat_activity.csv": "a,b\n1,2\n"}, "pg_stat_activity.csv' has no column backend_start,"),
    "cut off": (
        {"pg_stat_activity.csv": activity(session(7, "SELECT 1"))[:-40]},
        "pg_stat_activity.csv' has a row that is cut off",
    ),
    "an open quote": (
        {"pg_stat_activity.csv": activity(session(7, 'SELECT "1')) + '"'},
        "pg_stat_activity.csv' is no CSV",
    ),
    "nobody blocks": (
        {
            "pg_stat_activity.csv": "\n".join(
                line.rpartition(',"{')[0] or line.replace(",blocked_by,now", "")
                for line in activity(session(7, "SELECT 1", waits="Lock", blocked="8")).splitlines()
            )
        },
        "has sessions that wait for a lock and no column blocked_by",
    ),
    "no slots": (
        {"pg_stat_activity.csv": activity(), "pg_settings.csv": SETTINGS.format(slots="many")},
        "pg_settings.csv' tells no connection slots",
    ),
    "no INFO": ({"redis-info.txt": "NOAUTH Authentication required."}, "redis-info.txt' is no INFO of Redis"),
    "no certificate": ({"certificates/a.pem": "CONNECTED(00000003)"}, "a.pem' holds no certificate that can be read"),
    "an error": ({"prometheus/a.json": '{"status": "error"}'}, "a.json' is no range answer of Prometheus"),
}


@pytest.mark.parametrize(("files", "says"), BROKEN.values(), ids=list(BROKEN))
def test_broken_files_are_named(files: dict[str, str], says: str, tmp_path: Path) -> None:
    """One line, before anything is started: which file, and what it should be."""
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    code, _, err = in_process.call("run", "error_rate", "--from", "site", cwd=tmp_path)
    assert (code, says in err) == (2, True), err
    assert len(err.strip().splitlines()) == 1


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    """Whoever sends a folder gets no file of this machine read."""
    (tmp_path / "secret.log").write_text("hunter2")
    (tmp_path / "site" / "logs").mkdir(parents=True)
    (tmp_path / "site" / "logs" / "nginx.log").symlink_to(tmp_path / "secret.log")
    assert Files(tmp_path / "site").each("logs", ".log") == []


class TestClock:
    """When a folder was copied."""

    def test_as_it_says(self, tmp_path: Path) -> None:
        (tmp_path / "captured-at.txt").write_text("2026-01-31T04:12:00Z\n")
        assert Files(tmp_path).clock() == NOW

    def test_the_newest_line(self, tmp_path: Path) -> None:
        """Of a time that can be; a line may say anything."""
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "a.log").write_text(f"{NOW.isoformat()} a\n2999-01-01T00:00:00Z b\n")
        assert Files(tmp_path).clock() == NOW

    def test_the_newest_file(self, tmp_path: Path) -> None:
        (tmp_path / "redis-info.txt").write_text("x")
        os.utime(tmp_path / "redis-info.txt", (NOW.timestamp(), NOW.timestamp()))
        assert Files(tmp_path).clock() == NOW
        assert Files(tmp_path / "nothing").clock() == datetime.fromtimestamp(0, UTC)


def test_the_manual_says_how_each_is_copied() -> None:
    text = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
    assert [
        name
        for name in COMMANDS
        if "> $D/" + name.replace("SERVICE", "$s").replace("HOST", "$h").replace("METRIC", "$m") not in text
    ] == []
