"""An engineer opens the runbook in JupyterLab, runs all cells, and has the diagnosis on the screen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from flowrex_ops.archive.records import list_records
from flowrex_ops.catalog import find_runbooks, get_runbook
from flowrex_ops.waiting import wait_until
from flowrex_sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
RUNBOOK = get_runbook("database_connections").path


@pytest.fixture
def lab(locked_up: Sandbox, tmp_path: Path) -> Iterator[str]:
    """JupyterLab on the runbooks, as `flowrex-ops notebooks` starts it; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = [
        "--no-browser",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--allow-root",
    ]
    options += ["--ServerApp.disable_check_xsrf=True", "--ServerApp.log_level=ERROR"]
    folders = {
        name: str(tmp_path / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    # JupyterLab takes out of the page what it thinks is out of sight, sometimes all of it where the machine is busy.
    whole = tmp_path / "JUPYTER_CONFIG_DIR/lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    whole.parent.mkdir(parents=True)
    whole.write_text('{"windowingMode": "none"}', encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        "from flowrex_ops.cli import main; main()",
        "notebooks",
        "--settings",
        str(locked_up.settings_file),
        *options,
    ]
    with (tmp_path / "lab.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | folders, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: answers(f"{address}/api"), seconds=60), (tmp_path / "lab.log").read_text()
        yield address
    finally:
        (parent,) = psutil.Process(process.pid).children()
        kernels = parent.children()
        process.terminate()
        process.wait(20)
    assert kernels, "its kernels were not forked from its warm parent"
    assert psutil.wait_procs([parent, *kernels], timeout=20)[1] == [], "it left something running"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answer_dialogs(page: Page) -> None:
    """As whoever sits there does.

    On a busy machine JupyterLab says that its server (its theme) did not come in time, and goes on once that is read. And
    Chromium drops what it asks for when the machine gets another address (ERR_NETWORK_CHANGED), as by the networks of a
    test with Docker: then the page is loaded again.
    """
    lost = page.locator(
        "dialog.jp-Dialog:is([aria-label^='Server Connection Error'], [aria-label^='Error Loading Theme'])"
    )
    page.add_locator_handler(lost, lambda dialog: dialog.locator(".jp-Dialog-footer button").last.click())
    page.add_locator_handler(
        page.locator("dialog.jp-Dialog[aria-label^='File Load Error']"), lambda _: page.reload(), no_wait_after=True
    )


@contextmanager
def notebook(browser: Browser, lab: str) -> Iterator[Page]:
    """The runbook on an engineer's screen, its kernel idle."""
    with browser.new_page(viewport={"width": 1400, "height": 1000}) as page:
        answer_dialogs(page)
        page.goto(f"{lab}/lab/tree/incidents/database_connections.ipynb?reset")
        page.locator(".jp-Notebook").wait_for(timeout=120_000)
        page.locator(".jp-MarkdownOutput h1").first.wait_for(timeout=120_000)
        await_idle(page)
        yield page


def await_idle(page: Page) -> None:
    """Until its kernel waits for work.

    By the server, which is asked: the page's own mark stays as it was where it missed a message of the kernel's. While a
    kernel is being started the server may answer with 500 (jupyter-server/enterprise_gateway#1395): it is asked again.
    """
    lab = page.url.partition("/lab")[0]

    def idle() -> bool:
        page.wait_for_timeout(100)  # dialogs are answered meanwhile
        answer = page.request.get(f"{lab}/api/kernels")
        return answer.ok and any(one["execution_state"] == "idle" and one["connections"] for one in answer.json())

    assert wait_until(idle, seconds=120), page.locator("dialog").all_inner_texts()


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def read_outcome(page: Page) -> str:
    outcome = page.locator(".jp-OutputArea-output", has_text="diagnosis").filter(has_text="took").last
    outcome.wait_for(timeout=90_000)
    outcome.scroll_into_view_if_needed()
    return outcome.text_content() or ""  # JupyterLab takes out of view what it thinks is out of sight


def is_locked(sandbox: Sandbox) -> bool:
    return bool(sandbox.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'migration'"))


def test_run_all_cells_ends_with_the_diagnosis(browser: Browser, lab: str, locked_up: Sandbox, tmp_path: Path) -> None:
    """Run All Cells by accident: the outcome names the root of the chain, nobody is asked, the platform is as it was."""
    committed = RUNBOOK.read_bytes()
    with notebook(browser, lab) as page:
        run_all(page)
        text = read_outcome(page)
        shot = Path(os.environ.get("FLOWREX_OPS_SCREENSHOTS", tmp_path)) / "jupyterlab.png"
        page.screenshot(path=shot)
    assert "db.lock-contention" in text
    assert RUNBOOK.read_bytes() == committed, "JupyterLab saved the runbook with its outputs"
    assert "terminate-root-blocker planned" in text
    assert shot.stat().st_size > 20_000
    assert is_locked(locked_up)


def test_it_opens_where_one_begins_and_keeps_what_has_run(browser: Browser, lab: str, tmp_path: Path) -> None:
    """The first page leads to triage and the runbooks; a run is a record once it is saved, and only once."""
    with browser.new_page(viewport={"width": 1400, "height": 1000}) as page:
        answer_dialogs(page)
        page.goto(lab)
        page.get_by_role("heading", name="What is wrong?").wait_for(timeout=120_000)
        await_idle(page)
        page.screenshot(path=Path(os.environ.get("FLOWREX_OPS_SCREENSHOTS", tmp_path)) / "start.png")
        assert page.locator("dialog").count() == 0, "JupyterLab asks something"
        assert page.locator(".jp-MarkdownOutput a").count() >= len(find_runbooks()) - 1
    with notebook(browser, lab) as page:
        run_all(page)
        assert "kept when this is saved" in read_outcome(page)
        page.keyboard.press("Control+s")
        assert wait_until(lambda: any(one.html for one in list_records(tmp_path / "outputs")), seconds=60)
    (record,) = list_records(tmp_path / "outputs")
    assert (record.status, record.metadata.diagnosis) == ("complete", "db.lock-contention")


@pytest.mark.parametrize(
    ("typed", "state", "locked"), [("yes", "planned", True), ("terminate-root-blocker", "verified", False)]
)
def test_the_engineer_types_the_slug(
    browser: Browser, lab: str, locked_up: Sandbox, tmp_path: Path, typed: str, state: str, *, locked: bool
) -> None:
    """With a name in ``operator`` the plan is shown and the slug asked for; anything else that is typed changes nothing."""
    with notebook(browser, lab) as page:
        parameters = page.locator(".jp-CodeCell .cm-content").first
        parameters.click()
        page.keyboard.press("Control+End")
        page.keyboard.press("Enter")
        page.keyboard.type('operator = "ada"')
        run_all(page)
        prompt = page.locator(".jp-Stdin-input")
        prompt.wait_for(timeout=90_000)
        assert "type terminate-root-blocker to apply this plan to 1 target," in page.locator(".jp-Stdin").inner_text()
        plan = page.locator(".jp-OutputArea-output", has_text="costs users").last.inner_text()
        assert "migration" in plan
        assert is_locked(locked_up)
        prompt.fill(typed)
        shot = Path(os.environ.get("FLOWREX_OPS_SCREENSHOTS", tmp_path)) / "approval.png"
        page.screenshot(path=shot)
        prompt.press("Enter")
        text = read_outcome(page)
    assert f"terminate-root-blocker {state}" in text
    assert not (RUNBOOK.parent / "outputs").exists()
    kept = [path.read_text() for path in tmp_path.glob("outputs/RUN-*/timeline.jsonl")]
    assert any("mitigation-result" in text for text in kept) is (state == "verified")
    assert is_locked(locked_up) is locked
