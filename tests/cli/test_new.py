"""``flowrex-ops new``, as CONTRIBUTING has it: what it writes passes before a word of it is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
NEW = "flowrex-ops new backup_late"
OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
"""Without this suite's settings, and its warm parent, which knows this checkout's code."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one, without what git does not know."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (CHECKOUT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """That Python program in the copy, which sees its own code alone."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**OUTSIDE, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_new_runbook_passes_what_every_runbook_must(checkout: Path) -> None:
    """Its own tests, the catalogue's rules, the pages that are made of the code, and a drill on a sandbox."""
    guide = (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert NEW in guide
    made = run(checkout, "-m", "flowrex_ops", *NEW.split()[1:])
    assert made.returncode == 0, made.stderr
    page = run(checkout, "docs/generate_causes.py")
    (checkout / "docs" / "causes.md").write_text(page.stdout, encoding="utf-8")
    tests = run(
        checkout,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/backup_late",
        "tests/test_docs.py",
        "tests/test_catalog.py",
    )
    assert tests.returncode == 0, tests.stdout[-2000:]
    drill = run(checkout, "-m", "flowrex_ops", "drill", "run", "backup-late-stopped")
    assert drill.returncode == 0, drill.stdout + drill.stderr
    assert "backup-late.stopped" in drill.stdout


@pytest.mark.parametrize(
    ("name", "says"), [("Backup Late", "cannot name a runbook"), ("tls", "is there already"), ("triage", "triage")]
)
def test_names_that_cannot_be(checkout: Path, name: str, says: str) -> None:
    refused = run(checkout, "-m", "flowrex_ops", "new", name)
    assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr


def test_outside_a_checkout_nothing_is_written(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "flowrex_ops", "new", "backup_late"],
        cwd=tmp_path,
        env={**OUTSIDE, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (refused.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "no checkout" in refused.stderr
