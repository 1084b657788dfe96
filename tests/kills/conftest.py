"""Figures that the kills measure are said at the end, whichever worker measured them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

for neighbour in ("record", "serve"):
    sys.path.append(str(Path(__file__).parents[1] / neighbour))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.line(f"{name}: {value}")
