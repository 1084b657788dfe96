"""Servers that end with their tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from serve_bench import Server


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make a folder for a server, given the lines of its section ``serve``."""
    made: list[Server] = []

    def prepare(options: str = "") -> Server:
        made.append(Server.prepare(tmp_path / f"serve{len(made)}", options))
        return made[-1]

    yield prepare
    for server in made:
        server.stop()
