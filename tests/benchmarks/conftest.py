"""The table of ratios at the end of ``make bench``."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Each measurement that stands beside another: both medians, and what part the first is of the second."""
    measured = {one.name: one for one in config._benchmarksession.benchmarks if not one.has_error}  # type: ignore[attr-defined]  # the plugin's own
    rows = [(one, measured.get(one.extra_info.get("beside", ""))) for one in measured.values()]
    if any(other for _, other in rows):
        terminalreporter.section("ratios of medians")
    for one, other in rows:
        if other:
            whole = other.stats.median * one.extra_info.get("times", 1)
            terminalreporter.write_line(
                f"{one.name:<46} {one.stats.median:7.2f} s   beside {whole:7.2f} s   ratio {one.stats.median / whole:.2f}"
            )
