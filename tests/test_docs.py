"""Catalogue, checks, drills, notebooks and pages hold together."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

from generate_causes import healthy_conditions, render  # noqa: E402  (it lives beside the page that it makes)

from flowrex_ops.catalog import find_runbooks  # noqa: E402  (after the path is set)
from flowrex_ops.causes import causes_by_runbook  # noqa: E402
from flowrex_sandbox.drills import DRILLS  # noqa: E402


def test_page_of_causes_is_what_the_catalogue_says() -> None:
    """docs/causes.md is generated; run docs/generate_causes.py when this fails."""
    assert (DOCS / "causes.md").read_text(encoding="utf-8") == render()


def test_every_cause_is_judged_by_one_check() -> None:
    """The checks module of a runbook judges exactly its causes."""
    assert {runbook: set(healthy_conditions(runbook)) for runbook in causes_by_runbook()} == {
        runbook: set(causes) for runbook, causes in causes_by_runbook().items()
    }


def test_no_drill_without_a_runbook() -> None:
    """Every drill's runbook is in the catalogue, and every cause that it expects is one of that runbook's."""
    runbooks = find_runbooks()
    assert {drill.runbook for drill in DRILLS} <= set(runbooks)
    assert all(set(drill.expected) <= set(causes_by_runbook()[drill.runbook]) for drill in DRILLS)


def test_every_page_that_the_readme_links_is_there() -> None:
    """No dangling link from the first page that a new user reads."""
    import re

    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (DOCS.parent / target).exists()] == []
