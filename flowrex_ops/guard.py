"""The one guard: nothing is changed unless it is planned, approved, still true, and then verified by reading again.

Live approval asks only when ``operator`` is set: *Run All* by accident shows plans.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from flowrex_ops.errors import FlowrexOpsError, MitigationRefusedError, RecordError, SourceUnavailableError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import MitigationState, Outcome, Plan, Target, Verdict

Timeline = Callable[[str, Mapping[str, Any]], None]
"""Writes one event (a kind and its facts) to the incident's timeline, durably, before it returns."""

Hold = Callable[[str, str], AbstractContextManager[None]]
"""Holds a resource for an operator while the block runs; MitigationRefusedError that names who holds it otherwise."""


class Mitigation(ABC):
    """A guarded change. Subclasses say what, to which targets, and how the effect is seen; the guard says whether."""

    slug: ClassVar[str]
    causes: ClassVar[tuple[str, ...]]
    """Confirmed causes that call for it; with none of them confirmed, it refuses. Empty for a procedure, which needs none."""
    resource: str
    """What of the platform it changes (``backend``, ``postgres``, ``redis``, ``nginx``); one run at a time changes it."""
    action: ClassVar[str]
    cost: ClassVar[str]
    undo: ClassVar[str]
    nothing: ClassVar[str] = "what it would change is not there any more"
    """What is so where it finds no target."""

    log_step: Callable[[str], None] = staticmethod(lambda _text: None)
    """Writes to the timeline what comes next, before it is done; the guard sets it, and by whom it was approved."""
    operator: str = ""

    @classmethod
    @abstractmethod
    def build(cls, context: Context, *args: Any, **options: Any) -> Self:
        """Wired to the context's sources and settings; *options*, by name, are its thresholds and wishes."""

    @abstractmethod
    def find_targets(self) -> Sequence[Target]:
        """The exact targets as they are now. Asked for the plan, and again just before acting."""

    @abstractmethod
    def apply(self, target: Target) -> str:
        """Act on one target and say what was done; MitigationRefusedError when it is not what was planned any more."""

    @abstractmethod
    def verify(self, plan: Plan) -> str:
        """Read the sources again and say what shows the effect; VerificationError when nothing does."""

    def clean_up(self) -> str:
        """After a failure or Ctrl-C: bring back what must not stay, and say which state is left. Must be quick."""
        return ""

    def action_of(self, _targets: Sequence[Target]) -> str:
        """What it does to these targets; part of the plan's hash."""
        return self.action

    def cost_of(self, _targets: Sequence[Target]) -> str:
        """What it costs users."""
        return self.cost

    def undo_of(self, _targets: Sequence[Target]) -> str:
        """Whether and how it is undone."""
        return self.undo

    def is_unfinished(self) -> bool:
        """Whether a run of it that was killed has left something, which it may finish when its cause is gone."""
        return False

    def plan(self) -> Plan:
        """What would be done now."""
        targets = tuple(self.find_targets())
        action, cost, undo = self.action_of(targets), self.cost_of(targets), self.undo_of(targets)
        return Plan(self.slug, action, cost, undo, targets, self.causes)


@dataclass(frozen=True, slots=True)
class Approval:
    """Who lets which mitigations act. ``hashes`` maps an approved slug to the plan's hash, or None for any plan.

    ``ask`` is set in a live session: it shows the plan and returns what the engineer typed. ``operator`` is a name that
    somebody gave, ``account`` the system's own for whoever gave it; ``approvers`` are the only ones who may, if any are named.
    """

    hashes: Mapping[str, str | None]
    operator: str = ""
    ask: Callable[[Plan], str] | None = None
    account: str = ""
    approvers: Sequence[str] = ()

    @property
    def known_as(self) -> str:
        """The operator, and how this is known: a typed name says who answers for it, and proves nothing."""
        typed = self.operator and self.account and self.operator != self.account
        return f"{self.operator} (as typed by the account {self.account})" if typed else self.operator

    def require_approver(self) -> None:
        """MitigationRefusedError where the operator is none of them."""
        if refusal := refuses_approver(self.operator, self.approvers):
            raise MitigationRefusedError(refusal)


def refuses_approver(operator: str, approvers: Sequence[str]) -> str:
    """Why *operator* may not approve; empty where nobody is named who alone may, or that is one of them."""
    if not approvers or operator in approvers:
        return ""
    return f"{operator} may not approve here; one of {', '.join(approvers)} has to (settings: approvers)"


def guard(
    mitigation: Mitigation,
    *,
    verdicts: Mapping[str, Verdict],
    approval: Approval,
    timeline: Timeline,
    max_targets: int,
    siblings: Mapping[str, str] | None = None,
    hold: Hold = lambda _resource, _operator: nullcontext(),
) -> Outcome:
    """Plan, approve, apply, verify; every way out is an Outcome, and what was done stands on the timeline.

    *siblings* maps a cause to the runbook that judges it, for the link in a refusal; *hold* keeps others from changing
    the same resource meanwhile.
    """
    try:
        _require_cause(mitigation, verdicts, siblings or {})
        plan = mitigation.plan()
    except (MitigationRefusedError, SourceUnavailableError) as refusal:
        return Outcome(mitigation.slug, MitigationState.REFUSED, str(refusal))
    try:
        _require_targets(mitigation, plan, max_targets)
        if not _approved(plan, approval):
            return Outcome(plan.slug, MitigationState.PLANNED, _how_to_approve(plan, approval), plan)
        with hold(mitigation.resource, approval.operator):
            _require_unchanged(plan, mitigation)
            return _act(mitigation, plan, approval, timeline)
    except (MitigationRefusedError, SourceUnavailableError) as refusal:
        return Outcome(plan.slug, MitigationState.REFUSED, str(refusal), plan)


def _act(mitigation: Mitigation, plan: Plan, approval: Approval, timeline: Timeline) -> Outcome:
    """Intent first, on disk, or nothing is done; then the deed; then what came of it, which the outcome tells where the disk is full."""
    facts = {"slug": plan.slug, "plan_hash": plan.hash, "operator": approval.operator}
    facts |= {"account": approval.account} if approval.account else {}
    intent = {"action": plan.action, "undo": plan.undo, "targets": [target.label for target in plan.targets]}
    try:
        timeline("mitigation-intent", {**facts, **intent})
    except RecordError as error:
        raise MitigationRefusedError(f"its intent has to stand on the timeline; nothing was changed: {error}") from None
    mitigation.operator = approval.operator
    mitigation.log_step = lambda text: timeline("mitigation-step", {**facts, "action": text})
    done: list[str] = []

    def conclude(outcome: Outcome) -> Outcome:
        try:
            timeline("mitigation-result", {**facts, "state": outcome.state.value, "reason": outcome.reason})
        except RecordError as error:
            return replace(outcome, reason=f"{outcome.reason}. The timeline lacks this: {error}")
        return outcome

    # Also Ctrl-C: the timeline must say how far it came, whatever stopped it.
    try:
        done.extend(map(mitigation.apply, plan.targets))
    except BaseException as error:
        reason = f"{_how_far(done, plan, error)}{_abandoned(mitigation)}. {_how_to_finish(plan)}"
        outcome = conclude(Outcome(plan.slug, MitigationState.FAILED, reason, plan))
        if not isinstance(error, FlowrexOpsError):
            raise
        return outcome
    try:
        seen = mitigation.verify(plan)
    except BaseException as error:
        reason = f"{'; '.join(done)}. Not verified: {_said(error)}"
        outcome = conclude(Outcome(plan.slug, MitigationState.APPLIED_UNVERIFIED, reason, plan))
        if not isinstance(error, FlowrexOpsError):
            raise
        return outcome
    return conclude(Outcome(plan.slug, MitigationState.VERIFIED, f"{'; '.join(done)}. {seen}", plan))


def _abandoned(mitigation: Mitigation) -> str:
    try:
        left = mitigation.clean_up()
    except FlowrexOpsError as error:
        left = f"putting things back failed too: {error}"
    return f". {left}" if left else ""


def _require_cause(mitigation: Mitigation, verdicts: Mapping[str, Verdict], siblings: Mapping[str, str]) -> None:
    """The precondition: a mitigation without its cause does harm and no good."""
    if not mitigation.causes:
        return
    judged = [verdicts[cause] for cause in mitigation.causes if cause in verdicts]
    if any(verdict.confirmed for verdict in judged) or mitigation.is_unfinished():
        return
    said = "; ".join(f"{verdict.cause} is {verdict.kind.value}" for verdict in judged)
    elsewhere = sorted({siblings[cause] for cause in mitigation.causes if cause in siblings and cause not in verdicts})
    link = f"; run the runbook {', '.join(elsewhere)}" if elsewhere else ""
    raise MitigationRefusedError(f"its cause is not confirmed ({said or 'not checked'}){link}")


def _require_targets(mitigation: Mitigation, plan: Plan, max_targets: int) -> None:
    if not plan.targets:
        raise MitigationRefusedError(f"there is nothing to act on: {mitigation.nothing}")
    if len(plan.targets) > max_targets:
        raise MitigationRefusedError(
            f"{len(plan.targets)} targets are more than the {max_targets} allowed; raise limits.max_targets if you mean all"
        )


def _approved(plan: Plan, approval: Approval) -> bool:
    """By slug (and hash) with an operator, or typed by the engineer; a hash of another plan refuses."""
    if plan.slug in approval.hashes:
        wanted = approval.hashes[plan.slug]
        if wanted is not None and wanted != plan.hash:
            raise MitigationRefusedError(
                f"the plan has changed: {wanted} was approved, it is {plan.hash} now; look again"
            )
        if not approval.operator:
            raise MitigationRefusedError("an approval needs an operator; set the parameter operator to your name")
        approval.require_approver()
        return True
    if approval.ask is None or not approval.operator:
        return False
    approval.require_approver()
    return approval.ask(plan).strip() in (plan.slug, f"{plan.slug}@{plan.hash}")


def _require_unchanged(plan: Plan, mitigation: Mitigation) -> None:
    now = mitigation.plan()
    if now.hash != plan.hash:
        raise MitigationRefusedError(
            f"its targets changed between plan and act ({plan.hash} then, {now.hash} now); read again and plan anew"
        )


def _how_to_approve(plan: Plan, approval: Approval) -> str:
    if approval.ask is not None and approval.operator:
        return "not approved: the slug was not typed; nothing was changed"
    how = f"--approve {plan.slug}@{plan.hash} --operator NAME"
    if approval.ask is not None:
        how = "write your name into the parameter operator, and run the notebook again"
    return f"not approved, nothing was changed; to apply it: {how}"


def _how_far(done: Sequence[str], plan: Plan, error: BaseException) -> str:
    return f"stopped after {len(done)} of {len(plan.targets)} targets: {_said(error)}" + (
        f". Done: {'; '.join(done)}" if done else ""
    )


def _how_to_finish(plan: Plan) -> str:
    return f"To finish it: --approve {plan.slug} --operator NAME, which plans what is left; undo: {plan.undo}"


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
