"""The guard's rules, over a mitigation whose targets are numbers on a list."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from flowrex_ops.archive.outcome import MitigationResult
from flowrex_ops.errors import MitigationRefusedError, RecordError, SourceUnavailableError, VerificationError
from flowrex_ops.guard import Approval, Mitigation, guard
from flowrex_ops.mitigation_context import Context
from flowrex_ops.mitigations import KNOWN, find, split_approval
from flowrex_ops.model import MitigationState, Outcome, Plan, Target, Verdict, VerdictKind
from flowrex_ops.resource_lock import resource_lock

CONFIRMED = {"db.lock-contention": Verdict("db.lock-contention", VerdictKind.CONFIRMED, "two wait")}
RULED_OUT = {"db.lock-contention": Verdict("db.lock-contention", VerdictKind.RULED_OUT, "nobody waits")}


class Erase(Mitigation):
    """Takes numbers off a list; every way in which a mitigation can go wrong can be switched on."""

    slug = "erase"
    causes: tuple[str, ...] = ("db.lock-contention",)
    resource = "list"
    action = "take the numbers off the list"
    cost = "they are gone"
    undo = "write them again"

    def __init__(self, numbers: list[int], *, stuck: bool = False, fail_at: int | None = None) -> None:
        self.numbers = numbers
        self.stuck = stuck
        self.fail_at = fail_at
        self.later: list[int] | None = None

    @classmethod
    def build(cls, _context: Context) -> Self:
        return cls([])

    def find_targets(self) -> Sequence[Target]:
        targets = [Target((str(n),), f"number {n}") for n in self.numbers]
        if self.later is not None:
            self.numbers = self.later
        return targets

    def apply(self, target: Target) -> str:
        number = int(target.identity[0])
        self.log_step(f"erase {number}")
        if number == self.fail_at:
            raise MitigationRefusedError(f"number {number} will not go")
        if not self.stuck:
            self.numbers.remove(number)
        return f"erased {number}"

    def clean_up(self) -> str:
        return f"left on the list: {self.numbers}"

    def verify(self, plan: Plan) -> str:
        if self.numbers:
            raise VerificationError(f"still there: {self.numbers}")
        return "the list is empty"


class Log:
    """A timeline in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, facts: Any) -> None:
        self.events.append((kind, dict(facts)))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def run(
    mitigation: Mitigation, approval: Approval, *, verdicts: Any = CONFIRMED, most: int = 5, **more: Any
) -> tuple[Outcome, Log]:
    log = Log()
    return guard(mitigation, verdicts=verdicts, approval=approval, timeline=log, max_targets=most, **more), log


BY_ADA = Approval({"erase": None}, operator="ada")
NOBODY = Approval({})


class TestDryRun:
    def test_default_is_a_plan_and_nothing_else(self) -> None:
        """Without approval the plan is shown with its hash, nothing is changed, the timeline stays empty."""
        mitigation = Erase([1, 2])
        outcome, log = run(mitigation, NOBODY)
        assert outcome.state is MitigationState.PLANNED
        assert outcome.plan is not None
        assert f"erase@{outcome.plan.hash}" in outcome.reason
        assert (mitigation.numbers, log.events) == ([1, 2], [])

    def test_plan_states_targets_cost_and_undo(self) -> None:
        """The outcome carries what a person must know before approving."""
        reported = MitigationResult.of(run(Erase([1]), NOBODY)[0])
        assert reported.targets == ("number 1",)
        assert "" not in (reported.cost, reported.undo, reported.action)


class TestApproval:
    def test_slug_and_operator_apply_it(self) -> None:
        """Approved by slug and a name, it acts, verifies by reading, and says both on the timeline."""
        outcome, log = run(Erase([1, 2]), BY_ADA)
        assert outcome.state is MitigationState.VERIFIED
        assert "the list is empty" in outcome.reason
        assert log.kinds == ["mitigation-intent", "mitigation-step", "mitigation-step", "mitigation-result"]
        assert log.events[0][1]["operator"] == "ada"
        assert log.events[1][1]["action"] == "erase 1"

    def test_approval_by_nobody_is_refused(self) -> None:
        """A slug without an operator is no approval."""
        outcome, _ = run(Erase([1]), Approval({"erase": None}))
        assert outcome.state is MitigationState.REFUSED
        assert "set the parameter operator" in outcome.reason

    def test_hash_of_this_plan_applies(self) -> None:
        """slug@hash approves exactly the plan that was shown."""
        shown = run(Erase([1]), NOBODY)[0].plan
        assert shown is not None
        outcome, _ = run(Erase([1]), Approval({"erase": shown.hash}, "ada"))
        assert outcome.state is MitigationState.VERIFIED

    def test_hash_of_another_plan_is_refused(self) -> None:
        """A plan that has changed since it was approved is refused, and both hashes are named."""
        shown = run(Erase([1]), NOBODY)[0].plan
        assert shown is not None
        mitigation = Erase([1, 2])
        outcome, _ = run(mitigation, Approval({"erase": shown.hash}, "ada"))
        assert outcome.state is MitigationState.REFUSED
        assert shown.hash in outcome.reason
        assert mitigation.numbers == [1, 2]

    @pytest.mark.parametrize("ask", [None, lambda _plan: "erase"])
    def test_who_is_no_approver_approves_nothing(self, ask: Any) -> None:
        """By ``--approve`` or live: the settings name who may."""
        mitigation = Erase([1])
        outcome, log = run(mitigation, Approval({} if ask else {"erase": None}, "bob", ask, approvers=("ada", "eve")))
        assert outcome.state is MitigationState.REFUSED
        assert "bob may not approve here; one of ada, eve has to" in outcome.reason
        assert (mitigation.numbers, log.events) == ([1], [])

    def test_an_approver_approves_and_the_account_is_kept(self) -> None:
        """A typed name is a claim; whose keyboard it was is known."""
        approval = Approval({"erase": None}, "ada", account="root", approvers=("ada",))
        _, log = run(Erase([1]), approval)
        assert [log.events[0][1][name] for name in ("operator", "account")] == ["ada", "root"]
        assert approval.known_as == "ada (as typed by the account root)"
        assert Approval({}, "root", account="root").known_as == "root"

    @pytest.mark.parametrize(("typed", "state"), [("erase", "verified"), ("", "planned"), ("yes", "planned")])
    def test_live_engineer_types_the_slug(self, typed: str, state: str) -> None:
        """In a live session only the slug itself approves."""
        outcome, _ = run(Erase([1]), Approval({}, "ada", ask=lambda _plan: typed))
        assert outcome.state.value == state

    def test_live_session_without_operator_is_not_asked(self) -> None:
        """Run All by accident asks nothing and changes nothing."""
        outcome, _ = run(Erase([1]), Approval({}, "", ask=lambda _plan: "erase"))
        assert outcome.state is MitigationState.PLANNED


class TestRefusal:
    def test_cause_not_confirmed(self) -> None:
        """A mitigation whose cause is ruled out refuses and says what was judged."""
        outcome, _ = run(Erase([1]), BY_ADA, verdicts=RULED_OUT)
        assert outcome.state is MitigationState.REFUSED
        assert "db.lock-contention is ruled out" in outcome.reason

    def test_cause_never_checked_names_the_runbook(self) -> None:
        """Where another runbook judges the cause, the refusal links it."""
        outcome = guard(
            Erase([1]),
            verdicts={},
            approval=BY_ADA,
            timeline=Log(),
            max_targets=5,
            siblings={"db.lock-contention": "database_connections"},
        )
        assert "run the runbook database_connections" in outcome.reason

    def test_too_many_targets(self) -> None:
        """Above the limit nothing is done to any of them."""
        mitigation = Erase([1, 2, 3])
        outcome, _ = run(mitigation, BY_ADA, most=2)
        assert outcome.state is MitigationState.REFUSED
        assert "3 targets are more than the 2 allowed" in outcome.reason
        assert mitigation.numbers == [1, 2, 3]

    def test_nothing_to_act_on(self) -> None:
        """An empty plan is refused, not called a success."""
        assert run(Erase([]), BY_ADA)[0].state is MitigationState.REFUSED

    def test_targets_changed_between_plan_and_act(self) -> None:
        """What is there at the moment of acting must be what was planned."""
        mitigation = Erase([1, 2])
        mitigation.later = [1, 3]
        outcome, log = run(mitigation, BY_ADA)
        assert outcome.state is MitigationState.REFUSED
        assert "changed between plan and act" in outcome.reason
        assert (mitigation.numbers, log.events) == ([1, 3], [])

    def test_source_is_silent(self) -> None:
        """Targets that cannot be read are not guessed."""

        class Blind(Erase):
            def find_targets(self) -> Sequence[Target]:
                raise SourceUnavailableError("postgres did not answer")

        outcome, _ = run(Blind([1]), BY_ADA)
        assert (outcome.state, outcome.reason) == (MitigationState.REFUSED, "postgres did not answer")

    def test_procedure_needs_no_cause(self) -> None:
        """What names no cause, such as a planned restart, is not refused for want of one."""
        mitigation = Erase([1])
        mitigation.causes = ()  # type: ignore[misc]  # of this one alone
        assert run(mitigation, BY_ADA, verdicts={})[0].state is MitigationState.VERIFIED


class TestHolding:
    def test_two_at_once_one_acts_and_the_other_is_told_by_whom(self, tmp_path: Path) -> None:
        """The resource is held while one acts; the second changes nothing, names the holder, and may act afterwards."""
        mitigation = Erase([1])
        holding = partial(resource_lock, tmp_path, "flowrex")
        with resource_lock(tmp_path, "flowrex", "list", "grace"):
            outcome, log = run(mitigation, BY_ADA, hold=holding)
        assert outcome.state is MitigationState.REFUSED
        assert f"'list' is being changed by grace (process {os.getpid()}, since " in outcome.reason
        assert (mitigation.numbers, log.events) == ([1], [])
        assert run(mitigation, BY_ADA, hold=holding)[0].state is MitigationState.VERIFIED

    def test_other_resources_are_free(self, tmp_path: Path) -> None:
        """Who changes something else is not kept waiting."""
        with resource_lock(tmp_path, "flowrex", "something else", "grace"):
            outcome, _ = run(Erase([1]), BY_ADA, hold=partial(resource_lock, tmp_path, "flowrex"))
        assert outcome.state is MitigationState.VERIFIED

    def test_lock_does_not_outlive_its_process(self, tmp_path: Path) -> None:
        """A run that is killed while it acts leaves nothing locked."""
        held = "import sys; from pathlib import Path; from flowrex_ops.resource_lock import resource_lock\n"
        held += "with resource_lock(Path(sys.argv[1]), 'flowrex', 'list', 'grace'): print('held', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", held, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with (
                pytest.raises(MitigationRefusedError, match="grace"),
                resource_lock(tmp_path, "flowrex", "list", "ada"),
            ):
                pass
            process.kill()
        with resource_lock(tmp_path, "flowrex", "list", "ada"):
            pass

    def test_folder_that_cannot_be_written_changes_nothing(self, tmp_path: Path) -> None:
        """Without the lock nothing is changed, and the reason says what to correct."""
        (tmp_path / ".locks").write_text("in the way")
        outcome, _ = run(Erase([1]), BY_ADA, hold=partial(resource_lock, tmp_path, "flowrex"))
        assert outcome.state is MitigationState.REFUSED
        assert "correct 'outputs'" in outcome.reason


class TestFailure:
    def test_effect_not_seen_is_not_called_verified(self) -> None:
        """Applied, but the reading afterwards does not show it."""
        outcome, log = run(Erase([1], stuck=True), BY_ADA)
        assert outcome.state is MitigationState.APPLIED_UNVERIFIED
        assert "still there: [1]" in outcome.reason
        assert log.events[-1][1]["state"] == "applied-unverified"

    def test_stops_at_the_first_failure_and_says_how_far(self) -> None:
        """What was done before stays named."""
        outcome, log = run(Erase([1, 2, 3], fail_at=2), BY_ADA)
        assert outcome.state is MitigationState.FAILED
        assert "stopped after 1 of 3 targets" in outcome.reason
        assert "erased 1" in outcome.reason
        assert "left on the list: [2, 3]. To finish it: --approve erase --operator NAME" in outcome.reason
        assert outcome.reason.endswith("undo: write them again")
        assert log.kinds[-1] == "mitigation-result"

    def test_keyboard_interrupt_lands_on_the_timeline(self) -> None:
        """Ctrl-C in the middle is passed on, after the timeline says how far it came."""

        class Interrupted(Erase):
            def apply(self, target: Target) -> str:
                raise KeyboardInterrupt

        log = Log()
        with pytest.raises(KeyboardInterrupt):
            guard(Interrupted([1]), verdicts=CONFIRMED, approval=BY_ADA, timeline=log, max_targets=5)
        assert log.events[-1][1]["state"] == "failed"

    def test_keyboard_interrupt_while_verifying_says_that_it_was_done(self) -> None:
        """What was applied stays applied; the timeline must not be silent about it."""

        class Interrupted(Erase):
            def verify(self, plan: Plan) -> str:
                raise KeyboardInterrupt

        log = Log()
        with pytest.raises(KeyboardInterrupt):
            guard(Interrupted([1]), verdicts=CONFIRMED, approval=BY_ADA, timeline=log, max_targets=5)
        assert log.events[-1][1]["state"] == "applied-unverified"
        assert "erased 1" in log.events[-1][1]["reason"]

    @pytest.mark.parametrize(
        ("kind", "state", "left", "said"),
        [
            ("mitigation-intent", "refused", [1, 2], "nothing was changed"),
            ("mitigation-step", "failed", [1, 2], "stopped after 0 of 2 targets"),
            ("mitigation-result", "verified", [], "erased 1; erased 2"),
        ],
    )
    def test_full_disk_stops_the_act_and_the_outcome_is_told(
        self, kind: str, state: str, left: list[int], said: str
    ) -> None:
        """Intent first, or nothing is done. What was done the record and the terminal tell, where the timeline cannot."""

        def fills_up(written: str, _facts: Any) -> None:
            full.update({written} & {kind})
            if full:
                raise RecordError("no space left on device; free some space")

        full, mitigation = set[str](), Erase([1, 2])
        outcome = guard(mitigation, verdicts=CONFIRMED, approval=BY_ADA, timeline=fills_up, max_targets=5)
        assert (outcome.state.value, mitigation.numbers) == (state, left)
        assert said in outcome.reason
        assert "free some space" in outcome.reason


@pytest.mark.parametrize("slug", KNOWN)
class TestEveryMitigation:
    def test_says_what_it_does(self, slug: str) -> None:
        """Each registered mitigation carries its slug, causes, action, cost and undo."""
        mitigation = find(slug)
        assert mitigation.slug == slug
        assert all([mitigation.action, mitigation.cost, mitigation.undo])

    def test_can_be_approved_by_slug_or_by_hash(self, slug: str) -> None:
        """Both forms of an approval are understood."""
        assert split_approval(slug) == (slug, None)
        assert split_approval(f"{slug}@0123456789ab") == (slug, "0123456789ab")
