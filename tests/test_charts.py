"""A chart that cannot be drawn costs itself, and nothing that comes after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrex_ops import charts
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
    """As HTML for the record, and as text."""
    investigation = Investigation.for_readings("x", settings)

    investigation.plot(charts.plot_pools, Reading("backend", "pool gauges", "no table"))
    investigation.draw(charts.plot_checklist, 7)

    said = capsys.readouterr().out
    assert said.count("'text/plain': \"no chart: it could not be drawn: TypeError") == 2
    for name in ("plot_pools", "plot_checklist"):
        assert f"{name} gave no chart: it could not be drawn" in said
