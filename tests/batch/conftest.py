"""A folder with tiny runbooks and two platforms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "serve")]

from batch_bench import Yard


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """The present folder, with ``pool.ipynb``, ``bad.ipynb`` and settings for two platforms."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWREX_OPS_SETTINGS", "FLOWREX_OPS_OUTPUTS"):
        monkeypatch.delenv(name, raising=False)
    return Yard.prepare(tmp_path)
