"""The rules that every registered mitigation keeps, on the real platform; a new one cannot skip them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from mitigation_examples import EXAMPLES, Example
from running import investigate

from flowrex_ops.archive.outcome import MitigationResult
from flowrex_ops.guard import Approval, Mitigation, guard
from flowrex_ops.investigation import Investigation
from flowrex_ops.mitigations import KNOWN, find
from flowrex_ops.model import MitigationState, Outcome, Plan, Target, Verdict, VerdictKind
from flowrex_ops.postgres import end_sessions as database
from flowrex_ops.resource_lock import resource_lock
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition


def test_every_mitigation_has_an_example() -> None:
    """Whoever registers one says here how it comes to be needed."""
    assert set(EXAMPLES) == set(KNOWN)


class Case:
    """One mitigation on a platform that needs it. Each guarded run is a new object, as in a new run of the notebook."""

    def __init__(self, slug: str, example: Example, sandbox: Sandbox, opened: ExitStack) -> None:
        self.slug, self.example, self.sandbox, self.opened = slug, example, sandbox, opened
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.investigation: Investigation = investigate(sandbox)
        self.kind = find(slug)
        self.confirmed = {cause: Verdict(cause, VerdictKind.CONFIRMED, "for the test") for cause in self.kind.causes}

    def build(self) -> Mitigation:
        return self.kind.build(self.investigation, **self.example.options)

    def run(self, mitigation: Mitigation | None = None, **given: Any) -> Outcome:
        """Guarded, approved by Ada unless something else is *given*."""
        wanted: dict[str, Any] = {
            "verdicts": self.confirmed,
            "approval": Approval({self.slug: None}, "ada"),
            "timeline": lambda kind, facts: self.events.append((kind, dict(facts))),
            "max_targets": self.investigation.settings.limits.max_targets,
        }
        return guard(mitigation or self.build(), **(wanted | given))

    def need(self) -> None:
        """There is a plan once this returns."""
        self.example.need(self.sandbox, self.opened)
        await_condition(
            lambda: self.show().state is MitigationState.PLANNED,
            f"{self.slug} has a plan",
            timeout_seconds=30,
            details=lambda: self.show().reason,
        )

    def change(self) -> None:
        """The targets are others once this returns."""
        before = self.plan()
        self.example.change(self.sandbox, self.opened)
        await_condition(lambda: self.plan() != before, "the targets changed", timeout_seconds=20)

    def show(self) -> Outcome:
        """The dry run."""
        return self.run(approval=Approval({}))

    def plan(self) -> str:
        """Its hash, or why there is none."""
        outcome = self.show()
        return outcome.plan.hash if outcome.plan else outcome.reason


def slugs() -> list[ParameterSet]:
    """Two pairs do the same deed for another cause, and two have half a minute of tests of their own: left to ``make test-all``."""
    left = ("rollback-bad-deploy", "restart-backend", "renew-certificate", "rollback-backend")
    return [pytest.param(slug, marks=[pytest.mark.thorough] if slug in left else []) for slug in sorted(EXAMPLES)]


@pytest.fixture
def case(request: pytest.FixtureRequest, platform: Sandbox) -> Iterator[Case]:
    slug = request.param
    with ExitStack() as opened:
        found = Case(slug, EXAMPLES[slug], platform, opened)
        found.need()
        yield found


def without_effect(mitigation: Mitigation) -> Mitigation:
    """The same, whose deed does nothing."""

    class Idle(type(mitigation)):  # type: ignore[misc]  # whatever it is
        def apply(self, target: Target) -> str:
            return f"did nothing to {target.label}"

    mitigation.__class__ = Idle
    return mitigation


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", slugs(), indirect=True)
def test_rules(case: Case, tmp_path: Path) -> None:
    """In the order in which a person meets them; the platform is changed by the last one alone."""
    plan = shows_what_it_would_do(case)
    needs_its_cause(case)
    needs_a_name_and_the_right_hash(case, plan)
    one_run_at_a_time(case, plan, tmp_path)
    believes_only_what_it_reads(case)
    refuses_other_targets_than_were_planned(case)
    acts_verifies_and_says_so(case)


def shows_what_it_would_do(case: Case) -> Plan:
    """By default a plan and nothing else: exact targets, the cost to users, the undo; read twice it is the same."""
    outcome = case.show()
    assert outcome.state is MitigationState.PLANNED, outcome.reason
    assert outcome.plan is not None
    plan = outcome.plan
    assert plan.targets
    assert all(target.identity and target.label for target in plan.targets)
    assert "" not in (plan.action, plan.cost, plan.undo)
    assert f"{case.slug}@{plan.hash}" in outcome.reason
    assert case.plan() == plan.hash
    assert case.events == []
    return plan


def needs_its_cause(case: Case) -> None:
    if case.kind.causes:
        assert case.run(verdicts={}).state is MitigationState.REFUSED


def needs_a_name_and_the_right_hash(case: Case, plan: Plan) -> None:
    assert "name" in case.run(approval=Approval({case.slug: None})).reason
    other = case.run(approval=Approval({case.slug: "0" * 12}, "ada"))
    assert other.state is MitigationState.REFUSED
    assert plan.hash in other.reason
    assert case.run(approval=Approval({}, "ada", ask=lambda _plan: "yes")).state is MitigationState.PLANNED
    assert case.events == []


def one_run_at_a_time(case: Case, plan: Plan, tmp_path: Path) -> None:
    """The second is told who holds it."""
    platform, resource = case.investigation.settings.platform, case.build().resource
    with resource_lock(tmp_path, platform, resource, "grace"):
        outcome = case.run(hold=lambda what, who: resource_lock(tmp_path, platform, what, who))
    assert outcome.state is MitigationState.REFUSED
    assert f"'{resource}' is being changed by grace" in outcome.reason
    assert case.plan() == plan.hash
    assert case.events == []


def believes_only_what_it_reads(case: Case) -> None:
    """A deed without effect is never called verified, whatever it says of itself, and however soon one gives up waiting for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "EFFECT_SECONDS", 2.0)
        outcome = case.run(without_effect(case.build()))
    assert outcome.state is MitigationState.APPLIED_UNVERIFIED, outcome.reason
    assert "Not verified" in outcome.reason
    assert [kind for kind, _ in case.events] == ["mitigation-intent", "mitigation-result"]
    assert case.events[-1][1]["state"] == "applied-unverified"
    case.events.clear()


def refuses_other_targets_than_were_planned(case: Case) -> None:
    """They change after the approval, at the last moment before the deed."""

    def change_meanwhile(_resource: str, _operator: str) -> Any:
        case.change()
        case.events.clear()
        return nullcontext()

    outcome = case.run(hold=change_meanwhile)
    assert outcome.state is MitigationState.REFUSED, outcome.reason
    assert case.events == []


def acts_verifies_and_says_so(case: Case) -> None:
    """Intent before the deed and the result after it, on the timeline that the record is made of."""
    if case.show().state is MitigationState.REFUSED:
        case.need()  # the change has taken every target away
    plan = case.show().plan
    assert plan is not None
    outcome = case.run(approval=Approval({case.slug: plan.hash}, "ada"))
    assert outcome.state is MitigationState.VERIFIED, outcome.reason
    (first, intent), *steps, (last, result) = case.events
    assert (first, last) == ("mitigation-intent", "mitigation-result")
    assert {kind for kind, _ in steps} <= {"mitigation-step"}
    assert intent["targets"] == [target.label for target in outcome.plan.targets] if outcome.plan else False
    assert {facts["operator"] for _, facts in case.events} == {"ada"}
    assert {facts["plan_hash"] for _, facts in case.events} == {plan.hash}
    assert result["state"] == "verified"
    json.dumps(MitigationResult.of(outcome).to_dict())
