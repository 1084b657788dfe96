"""A platform that a mitigation may change; healed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrex_sandbox.faults import heal
from flowrex_sandbox.sandbox import Sandbox


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Records go to the test's own folder."""
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    heal(any_sandbox, print)
