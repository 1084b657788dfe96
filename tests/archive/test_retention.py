"""Old runs go when somebody says so; incidents, and what still runs, stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import in_process

from flowrex_ops.archive.incidents import new_incident, open_folder
from flowrex_ops.archive.retention import find_old_runs


def old(folder: Path) -> Path:
    """*folder* under the name of a run (or an incident) of January."""
    return folder.rename(folder.with_name(folder.name[:4] + "20260131-0412" + folder.name[17:]))


def test_only_old_runs_are_named_and_only_delete_deletes(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    gone, recent = old(open_folder(outputs, None)), open_folder(outputs, None)
    kept = old(new_incident(outputs, {}))
    code, said, _ = in_process.call("records", "prune", cwd=tmp_path)
    assert (code, said.splitlines()) == (0, [gone.name, "1 run; --delete deletes what is named"])
    assert gone.is_dir()

    code, said, _ = in_process.call("records", "prune", "--before", "30d", "--delete", cwd=tmp_path)
    assert (code, "1 run deleted" in said, gone.exists()) == (0, True, False)
    assert recent.is_dir()
    assert kept.is_dir()


def test_what_is_not_finished_is_not_old(tmp_path: Path) -> None:
    running = old(open_folder(tmp_path, None))
    (running / "records").mkdir()
    (tmp_path / "RUN-by-hand").mkdir()
    (running / "records" / ".001.lock").touch()
    assert find_old_runs(tmp_path, datetime.now(UTC) - timedelta(days=1)) == []
