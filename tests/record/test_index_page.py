"""One page of all runs and incidents; it loads nothing, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import re

from record_bench import Bench, confirmed, shows

from flowrex_ops.archive.incidents import new_incident
from flowrex_ops.record.index_page import FILE, refresh_index, write_index

HOSTILE = "<script>alert(1)</script>"


def test_a_run_and_its_incident_stand_there_when_it_ends(bench: Bench) -> None:
    incident = new_incident(bench.outputs, {"title": "Orders time out"})
    result = bench.run(shows(confirmed()), incident_id=incident.name)
    page = (bench.outputs / FILE).read_text()
    assert (
        f'<a href="{result.folder.name}/records/{result.html.name}">Database connections</a>: db.idle-in-transaction it is'
        in page
    )
    assert '<tr data-kind="run" data-severity="P1">' in page
    assert '<tr data-kind="incident" data-severity="P1">' in page


def test_links_lead_from_where_the_page_lies(bench: Bench) -> None:
    result = bench.run("1")
    page = write_index(bench.outputs, bench.folder / "runs.html").read_text()
    assert f'href="outputs/{result.folder.name}/records/{result.html.name}"' in page


def test_only_its_own_script_runs(bench: Bench) -> None:
    """Its hash stands in the policy, and what somebody wrote is no markup."""
    new_incident(bench.outputs, {"title": HOSTILE})
    page = write_index(bench.outputs).read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_is_damaged_is_said_and_fails_nobody(bench: Bench) -> None:
    damaged = new_incident(bench.outputs, {"started": 7})
    (new_incident(bench.outputs, {}) / "incident.json").write_text("{")
    page = write_index(bench.outputs).read_text()
    assert damaged.name in page
    assert "cannot be read" in page
    (bench.outputs / FILE).unlink()
    (bench.outputs / FILE).mkdir()
    refresh_index(bench.outputs)
