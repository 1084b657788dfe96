"""What may go wrong on the way: the disk is full, PostgreSQL starts again, Ctrl-C, backups that are no good."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from restoring import clear, make_old_backup, open_backup_store, quiet, read_generation, require_serving, run
from running import investigate, mitigate

from flowrex_ops.errors import BackupError
from flowrex_ops.guard import guard
from flowrex_ops.mitigations import find
from flowrex_ops.model import MitigationState, Outcome
from flowrex_ops.postgres.backups.source import checksum_file
from flowrex_sandbox.sandbox import Sandbox

STEPS, SWAPPED = 12, 11
"""Of a restore (``test_restore_kill`` counts them), and the first after which the restored data are the platform's."""


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Of generation ``new``, with a backup of ``old``."""
    monkeypatch.chdir(tmp_path)
    make_old_backup(any_sandbox)
    yield any_sandbox
    clear(any_sandbox)


def newest(sandbox: Sandbox) -> Path:
    return open_backup_store(sandbox).choose()


def restart_at(sandbox: Sandbox, word: str) -> Outcome:
    """A restore during which PostgreSQL is started again at the step that begins with *word*."""

    def timeline(kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "mitigation-step" and str(facts["action"]).startswith(word):
            for replica in sandbox.replicas("postgres"):
                sandbox.stack().restart(replica, timeout_seconds=30)

    context = investigate(sandbox, "restore-database")
    restore = find("restore-database").build(context)
    return guard(restore, verdicts={}, approval=context.approval, timeline=timeline, max_targets=5)


class TestPostgresStartsAgain:
    @pytest.mark.thorough
    def test_while_it_loads_nothing_is_swapped(self, platform: Sandbox) -> None:
        """Somebody else may have the lock by then; users are back on what they had, and the next run goes through."""
        outcome = restart_at(platform, "load ")
        assert outcome.state is MitigationState.FAILED
        assert "The platform is on the data from before" in outcome.reason
        assert read_generation(platform) == "new"
        require_serving(platform)
        assert mitigate(platform, "restore-database").state is MitigationState.VERIFIED
        assert read_generation(platform) == "old"

    def test_after_the_swap_the_new_data_stay(self, platform: Sandbox) -> None:
        """The swap was one transaction, and is over."""
        outcome = restart_at(platform, "start ")
        assert outcome.state in (MitigationState.VERIFIED, MitigationState.FAILED), outcome.reason
        assert read_generation(platform) == "old"
        require_serving(platform)


DANGER = (5, 10, SWAPPED)
INTERRUPTED = [
    *(
        pytest.param(
            "supervisor", step, id=f"supervisor-{step}", marks=[] if step in DANGER else [pytest.mark.thorough]
        )
        for step in range(1, STEPS + 1)
    ),
    *(
        pytest.param("compose", step, id=f"compose-{step}", marks=[pytest.mark.docker, pytest.mark.both_stacks])
        for step in DANGER
    ),
]
"""Every step on one stack; on the other those where the danger is."""


@pytest.mark.parametrize(("any_sandbox", "step"), INTERRUPTED, indirect=["any_sandbox"])
def test_ctrl_c_leaves_a_platform_that_serves(platform: Sandbox, step: int) -> None:
    """Before the swap the data from before, after it the new; the interrupted run itself sees to that, and says so."""
    stopped = run(platform, "restore-database", at=step, by="SIGINT")
    assert "KeyboardInterrupt" in stopped.stderr
    assert read_generation(platform) == ("old" if step >= SWAPPED else "new")
    require_serving(platform)


class TestBadBackups:
    def test_cut_off_behind_its_checksum_is_refused(self, platform: Sandbox) -> None:
        """It is told in the plan already."""
        file = newest(platform)
        os.truncate(file, file.stat().st_size // 2)
        outcome = mitigate(platform, "restore-database")
        assert outcome.state is MitigationState.REFUSED
        assert "its checksum differs" in outcome.reason

    def test_cut_off_without_a_checksum_is_found_before_anything_stops(self, platform: Sandbox) -> None:
        """Its table of contents is sound, so the whole of it is read (pg_dump writes a second one behind the data)."""
        file = newest(platform)
        checksum_file(file).unlink()
        os.truncate(file, file.stat().st_size // 2)
        before = [replica.started_at for replica in platform.replicas()]
        outcome = mitigate(platform, "restore-database")
        assert outcome.state is MitigationState.FAILED
        assert "does not get through" in outcome.reason
        assert [replica.started_at for replica in platform.replicas()] == before
        assert read_generation(platform) == "new"

    def test_of_a_later_version_is_refused(self, platform: Sandbox) -> None:
        """The archive's format is newer than what this pg_restore knows (bytes 5 to 7 of its header)."""
        file = newest(platform)
        checksum_file(file).unlink()
        with file.open("r+b") as stream:
            stream.seek(6)
            stream.write(b"\x63")
        outcome = mitigate(platform, "restore-database")
        assert outcome.state is MitigationState.REFUSED
        assert "unsupported version (1.99)" in outcome.reason

    def test_programs_of_another_version_are_refused(
        self, platform: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both versions are named."""
        for program in ("pg_dump", "pg_restore"):
            (tmp_path / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) 12.3'\n")
            (tmp_path / program).chmod(0o755)
        monkeypatch.setenv("FLOWREX_OPS_BACKUP__BINARIES", str(tmp_path))
        outcome = mitigate(platform, "restore-database")
        assert outcome.state is MitigationState.REFUSED
        assert f"'{tmp_path}' has 12" in outcome.reason

    def test_none_at_all_names_the_command(self, platform: Sandbox) -> None:
        """And a name that there is not names those that there are."""
        there = newest(platform).name
        assert there in mitigate(platform, "restore-database", backup="typo.dump").reason
        clear(platform)
        assert "take one with 'flowrex-ops backup'" in mitigate(platform, "restore-database").reason


def test_full_disk_leaves_no_backup_and_says_so(platform: Sandbox, tmp_path: Path) -> None:
    """On a filesystem of 64 kB, which only the command sees."""
    folder = tmp_path / "small"
    folder.mkdir()
    platform.execute("CREATE TABLE filler AS SELECT md5(n::text) FROM generate_series(1, 5000) n")
    command = f"mount -t tmpfs -o size=64k none {folder} && {Path(sys.executable).parent}/flowrex-ops backup --settings"
    command += f" {platform.settings_file}; code=$?; ls -A {folder}; exit $code"
    try:
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command],
            env={**os.environ, "FLOWREX_OPS_BACKUP__FOLDER": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        platform.execute("DROP TABLE filler")
    assert done.returncode == 1, done.stdout
    assert "no space left on device" in done.stderr.lower()
    assert done.stdout == ""


class TestBackup:
    def test_is_whole_private_and_can_be_restored(self, platform: Sandbox) -> None:
        """``sha256sum --check`` agrees; a scratch database is restored into and dropped."""
        backups = open_backup_store(platform)
        file = backups.take(quiet)
        checked = subprocess.run(
            ["sha256sum", "--check", checksum_file(file).name], cwd=file.parent, capture_output=True, check=False
        )
        assert checked.returncode == 0
        assert file.stat().st_mode & 0o777 == 0o600
        contents = backups.test(file, quiet)
        assert contents.tables["public.generations"] == 500
        assert platform.query("SELECT count(*) FROM pg_database WHERE datname ~ '_verify_'") == [(0,)]

    def test_partial_of_a_killed_run_is_swept_away(self, platform: Sandbox) -> None:
        """The next run takes it away, and lists never show it."""
        backups = open_backup_store(platform)
        left = backups.folder / ".flowrex-20200101_000000.dump.partial"
        left.write_bytes(b"half")
        backups.take(quiet)
        assert not left.exists()

    def test_that_cannot_be_restored_fails_the_test_restore(self, platform: Sandbox) -> None:
        """Nothing is left of it on the server."""
        backups, file = open_backup_store(platform), newest(platform)
        checksum_file(file).unlink()
        os.truncate(file, file.stat().st_size // 2)
        with pytest.raises(BackupError, match="does not get through"):
            backups.test(file, quiet)
