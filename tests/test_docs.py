"""Catalogue, checks, drills, notebooks and pages hold together."""

from __future__ import annotations

import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

from generate_causes import healthy_conditions, render  # noqa: E402  (it lives beside the page that it makes)

from flowrex_ops.catalog import find_runbooks  # noqa: E402  (after the path is set)
from flowrex_ops.causes import causes_by_runbook, find_causes  # noqa: E402  # after the path was set
from flowrex_sandbox.drills import DRILLS  # noqa: E402  # after the path was set


def test_page_of_causes_is_what_the_catalogue_says() -> None:
    """docs/causes.md is generated; run docs/generate_causes.py when this fails."""
    assert (DOCS / "causes.md").read_text(encoding="utf-8") == render()


def test_every_cause_is_judged_by_one_check() -> None:
    """The checks module of a runbook judges exactly its causes."""
    assert {runbook: set(healthy_conditions(runbook)) for runbook in causes_by_runbook()} == {
        runbook: set(causes) for runbook, causes in causes_by_runbook().items()
    }


def test_page_of_coverage_adds_up() -> None:
    """Its sums are those of its rows, and each cause that it names is in the catalogue."""
    text = (DOCS / "coverage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (yes|in part|no) \|", text.partition("## Post-mortems")[0], re.MULTILINE)
    counts = [sum(len(names.split(", ")) for names, how in rows if how == kind) for kind in ("yes", "in part", "no")]
    words = re.search(r"(\d+), of which (\d+) are answered, (\d+) in part, (\d+) not", text)
    assert words is not None
    assert [int(number) for number in words.groups()] == [sum(counts), *counts]
    assert set(re.findall(r"`([a-z-]+\.[a-z-]+)`", text)) <= set(find_causes())


def test_no_drill_without_a_runbook() -> None:
    """Every drill's runbook is in the catalogue, and every cause that it expects is one of that runbook's."""
    runbooks = find_runbooks()
    assert {drill.runbook for drill in DRILLS} <= set(runbooks)
    assert all(set(drill.expected) <= set(causes_by_runbook()[drill.runbook]) for drill in DRILLS)


def test_every_page_that_the_readme_links_is_there() -> None:
    """No dangling link from the first page that a new user reads."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (DOCS.parent / target).exists()] == []


def test_picture_of_the_house_is_that_of_the_import_rules() -> None:
    """Each room of docs/architecture.md is there, and above what it may import."""
    picture = (DOCS / "architecture.md").read_text(encoding="utf-8").split("```")[1].split("flowrex_ops/\n")[1]
    shown = [re.findall(r"(?:^|(?<=\s))([a-z_]+)(?:/|\.py)(?=\s|$)", line) for line in picture.splitlines()]
    contract = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    floors = [re.findall(r"flowrex_ops\.(\w+)", layer) for layer in contract["layers"]]
    floor_of = {room: number for number, rooms in enumerate(floors) for room in rooms}
    rooms = [room for line in shown for room in line]
    assert [room for room in rooms if room not in floor_of] == []
    lines = [[floor_of[room] for room in line] for line in shown if line]
    assert all(max(above) <= max(below) for above, below in pairwise(lines))
    assert {floor.name for floor in (DOCS.parent / "flowrex_ops").iterdir() if (floor / "__init__.py").exists()} <= set(
        rooms
    )


PLAYBOOK = """Severity Levels|Escalation Matrix|1. Detection|2. Triage|3. Investigation|4. Mitigation|5. Resolution|6. Post-Mortem
Database Connection Pool Exhausted|High Error Rate (5xx Errors)|Trade Execution Failures|WebSocket Disconnections|High Memory Usage|SSL Certificate Expiry
Service Restart Procedure|Emergency Database Restore|Enable Maintenance Mode|Initial Incident Notification|Status Update|Resolution Notification
Post-Mortem Template|Post-Mortem Meeting Agenda|Useful Commands Cheat Sheet|Contact Information|External Service Status Pages"""


def test_every_section_of_the_playbook_is_somewhere() -> None:
    """docs/on-call.md says what replaces each, and names commands and runbooks that there are."""
    page = (DOCS / "on-call.md").read_text(encoding="utf-8")
    table = page.split("## From the playbook")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", table, re.MULTILINE))
    assert {section for line in PLAYBOOK.splitlines() for section in line.split("|")} <= set(rows)
    assert set(re.findall(r"`run (\w+)`", page)) <= set(find_runbooks())


def test_links_between_pages_lead_somewhere() -> None:
    """No dangling link in any page."""
    links = [
        (page.name, target)
        for page in (*DOCS.glob("*.md"), *DOCS.parent.glob("*.md"))
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert [
        (page, target)
        for page, target in links
        if not ((DOCS if (DOCS / page).exists() else DOCS.parent) / target).exists()
    ] == []
