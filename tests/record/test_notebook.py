"""What a cell shows, in plain Python: text, and no picture that nobody would see."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from flowrex_ops.charts import new_figure
from flowrex_ops.notebook import Notebook


def test_outputs_are_text_where_there_is_no_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    figure, axes = new_figure(1)
    axes.set_title("3 sessions wait")
    Notebook().show("<b>three</b>", "three")
    Notebook().show_figure(figure)
    assert capsys.readouterr().out == "three\nchart: 3 sessions wait\n"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a kernel would display."""
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda what, **_: displayed.append(what))
    monkeypatch.setattr("IPython.core.getipython.get_ipython", InteractiveShell)
    return displayed


def test_a_chart_in_which_nothing_is_drawn_is_its_title_alone(shown: list[object]) -> None:
    figure, axes = new_figure(1)
    axes.set_title("No trade failed")
    Notebook().show_figure(figure)
    assert shown == [{"text/html": "<p>No trade failed.</p>", "text/plain": "No trade failed"}]


def test_a_chart_is_a_picture_with_its_title_beside_it(shown: list[object]) -> None:
    figure, axes = new_figure(1)
    axes.set_title("3 sessions wait")
    axes.barh(["report"], [3])
    Notebook().show_figure(figure)
    (picture,) = shown
    assert picture.data.startswith(b"\x89PNG")  # type: ignore[attr-defined]  # IPython's Image
    assert picture.alt == "3 sessions wait"  # type: ignore[attr-defined]  # as above
