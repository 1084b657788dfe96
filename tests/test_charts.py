"""A chart that cannot be drawn costs itself, and nothing that comes after it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flowrex_ops import charts
from flowrex_ops.chart_style import SMALLEST_POINTS
from flowrex_ops.investigation import Investigation
from flowrex_ops.model import Reading
from flowrex_ops.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a platform that is not there."""
    file = tmp_path / "none.toml"
    file.write_text(f'[stack]\nkind = "supervisor"\nsocket = "{tmp_path}/none.sock"\n', encoding="utf-8")
    return load(str(file))


def test_a_line_stands_in_its_place(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, where there is no kernel that could show HTML."""
    investigation = Investigation.for_readings("x", settings)

    investigation.plot(charts.plot_pools, Reading("backend", "pool gauges", "no table"))
    investigation.draw(charts.plot_checklist, 7)

    said = capsys.readouterr().out
    for name in ("plot_pools", "plot_checklist"):
        assert said.count(f"{name} gave no chart: it could not be drawn: TypeError") == 1


def test_every_label_is_as_high_as_the_page_counts_on() -> None:
    """Eleven pixels on the page need nine points in the chart; whoever draws smaller is named."""
    small = [
        f"{path.name}:{keyword.value.lineno}"
        for path in Path(charts.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg in ("fontsize", "labelsize")
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value < SMALLEST_POINTS
    ]
    assert small == []
