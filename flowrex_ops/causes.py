"""The catalogue of causes: stable slugs that tests, alerts and archived records depend on.

Each subject declares its own in its ``causes.py``, beside the checks that judge them: ``RUNBOOK``, the runbook that tells them
apart, and ``CAUSES``. They are found there as they are first asked for, without pandas: whoever only needs a title starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from flowrex_ops.model import NextStep, Severity, Verdict, VerdictKind

COMPOSE = "docker-compose -f docker-compose.prod.yml"
"""As the playbook calls it; a finding's next steps are shown with the platform's own files and project."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What can be wrong: its slug, what it means, its usual severity, and what to do about it.

    ``rank`` orders findings of equal severity: the lower, the nearer to the root.
    """

    slug: str
    title: str
    meaning: str
    severity: Severity
    rank: int
    next_steps: tuple[NextStep, ...] = ()


def mitigation(slug: str, text: str) -> NextStep:
    """A mitigation of this tool as the next step."""
    return NextStep("mitigation", slug, text)


def runbook(slug: str, text: str) -> NextStep:
    """Another runbook as the next step."""
    return NextStep("runbook", slug, text)


def command(target: str, text: str) -> NextStep:
    """A command line to type as the next step."""
    return NextStep("command", target, text)


@cache
def find_causes() -> dict[str, Cause]:
    """Every cause by its slug."""
    return {cause.slug: cause for _, causes in _declared() for cause in causes}


@cache
def causes_by_runbook() -> dict[str, tuple[str, ...]]:
    """The causes that each runbook tells apart; runbook lint holds the notebooks to it."""
    return {runbook: tuple(cause.slug for cause in causes) for runbook, causes in _declared()}


def ranked(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The one order of verdicts: confirmed, inconclusive, ruled out; then the worst, what explains the most, what is nearest to the root."""
    known, kinds = find_causes(), list(VerdictKind)

    def rank(verdict: Verdict) -> tuple[int, str, float, int]:
        order = known[verdict.cause].rank if verdict.cause in known else 10_000
        return kinds.index(verdict.kind), verdict.severity or "P9", -verdict.share, order

    return sorted(verdicts, key=rank)


@cache
def _declared() -> list[tuple[str, tuple[Cause, ...]]]:
    folders = sorted(file.parent.name for file in Path(__file__).parent.glob("*/causes.py"))
    subjects = [import_module(f"flowrex_ops.{folder}.causes") for folder in folders]
    return [(subject.RUNBOOK, subject.CAUSES) for subject in subjects]
