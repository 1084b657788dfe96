"""Fixtures of the record's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder to run tiny notebooks in."""
    return Bench(tmp_path)
