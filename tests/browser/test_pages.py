"""Every kind of page, as a person sees it: on a desktop and on a phone, by day and by night."""

from __future__ import annotations

import base64
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from conftest import import_part

from flowrex_ops import render
from flowrex_ops.catalog import get_runbook, source
from flowrex_ops.chart_style import BLUE, DOTS_PER_INCH, GREEN, GREY, ORANGE, SMALLEST_POINTS, VERMILLION, new_figure
from flowrex_ops.incident.incident import close, note_alert, open_new
from flowrex_ops.incident.review import write_post_mortem
from flowrex_ops.model import OUTCOME_MIME_TYPE, Verdict, VerdictKind
from flowrex_ops.record.export import pack
from flowrex_ops.record.index_page import write_index
from flowrex_ops.record.page import render_page
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
SAMPLE = next((Path(__file__).parents[2] / "outputs" / "sample").glob("*/records")).parent
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS: tuple[tuple[dict[str, int], str, dict[str, Any]], ...] = (
    (DESKTOP, "light", {"resultTypes": ["violations"]}),
    (DESKTOP, "dark", {"runOnly": ["color-contrast"]}),
    (PHONE, "light", {"rules": {"color-contrast": {"enabled": False}}}),  # the colours are the desktop's
)
LEGIBLE_PIXELS, CHART_PIXELS, CONTRAST, DESKTOP_HEIGHT = 11, 800, 3, 6000
SQL = "UPDATE accounts SET balance = balance - 1, updated_at = now() WHERE id = 7 AND owner = 'somebody' RETURNING id"
ROWS = pd.DataFrame(
    {"pid": range(12), "application": "backend-with-a-long-name", "state": "idle in transaction", "query": SQL}
)


def chart() -> str:
    """One in the one style, with a bar in each of its colours."""
    figure, axes = new_figure(2.4)
    axes.bar(range(5), [1] * 5, color=[BLUE, ORANGE, GREEN, VERMILLION, GREY], width=1)
    axes.set_title("five bars")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return base64.b64encode(picture.getvalue()).decode()


def outputs(number: int, kind: VerdictKind) -> list[dict[str, Any]]:
    """What a cell of a runbook shows: a verdict, a table that is long and wide, a chart."""
    verdict = Verdict(f"db.cause-{number}", kind, f"{number} of 17 sessions wait behind PID 4711, for 80 s")
    shown = [({"text/html": render.verdict_html(verdict)}, {"kind": "verdict", **verdict.to_dict()})]
    if number % 3 == 0:
        shown += [({"text/html": render.frame_html(ROWS, evidence="evidence/001-sessions.csv")}, None)]
        shown += [({"image/png": chart()}, None)]
    return [
        {
            "output_type": "display_data",
            "data": data | ({OUTCOME_MIME_TYPE: payload} if payload else {}),
            "metadata": {"image/png": {"alt": "five bars"}},
        }
        for data, payload in shown
    ]


def record(runbook: str, status: str, kind: VerdictKind, **facts: Any) -> str:
    """The page of the committed *runbook* as if it had run: each check answers *kind*; cut off after ten cells where it was interrupted."""
    sample = json.loads(next(SAMPLE.glob("records/*.ipynb")).read_text())["metadata"]["flowrex_ops"]["record"]
    cells = json.loads(json.dumps(get_runbook(runbook).document["cells"]))
    for cell in cells:
        cell["source"] = source(cell)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        ran = status != "interrupted" or number < 10
        judged = number % 3 == 0 and ".check(" in source(cell)
        cell["metadata"]["flowrex_ops"] = {"state": "completed" if ran else "did not run", "seconds": 0.4}
        cell["outputs"] = (
            outputs(number, kind if judged else VerdictKind.RULED_OUT) if ran and ".check(" in source(cell) else []
        )
    verdicts = [payload for cell in code for one in cell["outputs"] if (payload := one["data"].get(OUTCOME_MIME_TYPE))]
    about = {**sample, "runbook": runbook, "status": status, "verdicts": verdicts, "diagnosis": None, "severity": None}
    about |= {"findings": [], "title": get_runbook(runbook).title, **facts}
    return render_page(
        {"cells": cells, "metadata": {"flowrex_ops": {"record": about}}, "nbformat": 4, "nbformat_minor": 5}
    )


def finding(_folder: Path) -> str:
    """The sample that the repository ships, with what was refused and what was planned."""
    return render_page(json.loads(next(SAMPLE.glob("records/*.ipynb")).read_text()))


def post_mortem(folder: Path) -> str:
    """Of an incident with an alert, through its own runbook."""
    redactor = Redactor()
    incident = open_new(folder / "outputs", {"title": "Orders time out", "severity": "P1"}, by="ada", redactor=redactor)
    note_alert(incident, {"alertname": "HighErrorRate", "severity": "P1"}, state="firing", redactor=redactor)
    close(incident, by="ada", text="resolved", redactor=redactor)
    return Path(
        write_post_mortem(incident.name, Settings(outputs=folder / "outputs"), "", operator="ada")["html"]
    ).read_text()


def index(folder: Path) -> str:
    """Of an archive with the sample, and an incident that is open."""
    shutil.copytree(SAMPLE, folder / "outputs" / SAMPLE.name)
    open_new(folder / "outputs", {"title": "Reports are late", "severity": "P3"}, by="ada", redactor=Redactor())
    return write_index(folder / "outputs").read_text()


def exported(_folder: Path) -> str:
    """The first page of a zip."""
    with zipfile.ZipFile(io.BytesIO(pack(SAMPLE))) as archive:
        return archive.read("index.html").decode()


PAGES: dict[str, Callable[[Path], str]] = {
    "finding": finding,
    "two findings": lambda _: record("error_rate", "complete", VerdictKind.CONFIRMED, severity="P1"),
    "healthy": lambda _: record("memory_usage", "complete", VerdictKind.RULED_OUT),
    "triage": lambda _: record(
        "triage", "partial", VerdictKind.INCONCLUSIVE, impact="3 of 3 pools are full", severity="P1"
    ),
    "procedure": lambda _: record("maintenance_mode", "complete", VerdictKind.RULED_OUT),
    "interrupted": lambda _: record(
        "certificate_expiry", "interrupted", VerdictKind.CONFIRMED, reason="stopped by SIGINT"
    ),
    "post-mortem": post_mortem,
    "index": index,
    "export": exported,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the archive of a page lies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


@contextmanager
def opened(browser: Browser, file: Path, screen: dict[str, int], scheme: str) -> Iterator[Page]:
    """The page on a screen, by day (``light``) or by night (``dark``); it must say nothing on the console."""
    said: list[str] = []
    with browser.new_page(viewport=screen, color_scheme=scheme) as page:
        page.on("console", lambda message: said.append(message.text))
        page.goto(file.as_uri())
        yield page
    assert said == []


@pytest.mark.parametrize("kind", PAGES)
def test_anybody_can_read_it(browser: Browser, folder: Path, kind: str) -> None:
    """No violation by axe, nothing that is wider than a phone; what is folded counts, too."""
    axe = import_part("axe_playwright_python.sync_playwright", "axe (dependency group browser)").Axe()
    file = folder / "page.html"
    file.write_text(PAGES[kind](folder))
    for screen, scheme, rules in LOOKS:
        with opened(browser, file, screen, scheme) as page:
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            found = axe.run(page, options=rules).response["violations"]
            assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]


def test_a_finding_is_short_on_a_desktop_and_its_evidence_is_one_click_away(browser: Browser, folder: Path) -> None:
    file = folder / "page.html"
    file.write_text(finding(folder))
    with opened(browser, file, DESKTOP, "light") as page:
        assert page.evaluate("document.documentElement.scrollHeight") < DESKTOP_HEIGHT
        page.get_by_role("link", name="see its evidence").click()
        shown = page.locator("section.code", has_text="db.lock-contention").locator("img").first
        assert (
            page.evaluate("element => element.getBoundingClientRect().top", shown.element_handle()) < DESKTOP["height"]
        )


def test_verdicts_are_read_without_scrolling_sideways(browser: Browser, folder: Path) -> None:
    """Each reason stands on a phone's screen, whole."""
    file = folder / "page.html"
    file.write_text(finding(folder))
    with opened(browser, file, PHONE, "light") as page:
        for cell in page.locator(".verdicts > table td:last-child").all():
            box = cell.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            assert box["width"] > PHONE["width"] / 2


@pytest.mark.parametrize("screen", [DESKTOP, PHONE])
def test_charts_are_legible_and_dark_at_night(browser: Browser, folder: Path, screen: dict[str, int]) -> None:
    """Labels of eleven pixels and more; at night the background is dark, and each colour stands out from it."""
    image = import_part("PIL.Image", "Pillow")
    file = folder / "page.html"
    file.write_text(record("database_connections", "complete", VerdictKind.CONFIRMED))
    with opened(browser, file, screen, "dark") as page:
        scale = page.locator(".chart img").first.evaluate("one => one.clientWidth / one.naturalWidth")
        assert SMALLEST_POINTS * DOTS_PER_INCH / 72 * scale >= LEGIBLE_PIXELS
        seen = image.open(io.BytesIO(page.locator(".chart").first.screenshot())).convert("RGB")
    pixels = seen.crop((0, 0, min(seen.width, CHART_PIXELS), seen.height))
    paper = pixels.getpixel((4, 4))
    most = sorted(pixels.getcolors(pixels.width * pixels.height), reverse=True)[:3]
    bars = [colour for _, colour in most if colour != paper]
    assert luminance(paper) < 0.02
    assert len(bars) >= 2
    for colour in bars:
        assert (luminance(colour) + 0.05) / (luminance(paper) + 0.05) >= CONTRAST


def luminance(colour: tuple[int, int, int]) -> float:
    """As WCAG has it."""
    parts = [one / 255 for one in colour]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_index_filters_and_leads_to_each_page(browser: Browser, folder: Path) -> None:
    """From a file, by a script whose hash the page's policy names."""
    index(folder)
    file = folder / "outputs" / "index.html"
    with opened(browser, file, DESKTOP, "light") as page:
        rows = page.locator("tbody tr:visible")
        assert rows.count() == 3
        page.get_by_label("Show").select_option("runs")
        assert page.locator("output").inner_text() == "1 of 3"
        page.get_by_label("Show").select_option("all")
        page.get_by_label("Severity").select_option("P3")
        assert "Reports are late" in rows.inner_text()
        page.get_by_label("Severity").select_option("all")
        page.get_by_label("Search").fill("LOCK-contention")
        rows.get_by_role("link").click()
        assert page.url.endswith("/001-database_connections.html")
