"""What an alert leads to, in every order of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from serve_bench import an_alert

from flowrex_ops.webhook.deduplication import Decision, Group, Kind, Transition, deduplicate
from flowrex_ops.webhook.payload import Alert

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
REPEAT = timedelta(hours=1)
RUNBOOKS = {"PoolExhausted": "pool", "PoolErrors": "pool"}


def reported(group: Group, *alerts: dict[str, object], minutes: float = 0) -> Decision:
    """The decision on one payload that comes *minutes* after noon; whatever was queued before has begun."""
    read = [Alert.model_validate(alert) for alert in alerts]
    begun = Group(group.incident or "INC", group.alerts, group.last_run)
    return deduplicate(
        begun,
        read,
        runbook_for=lambda a: RUNBOOKS.get(a.name, "triage"),
        now=NOW + timedelta(minutes=minutes),
        repeat=REPEAT,
    )


class TestFiring:
    """New alerts run, repeated ones wait for the interval."""

    def test_the_first_alert_opens_an_incident_and_runs_its_runbook(self) -> None:
        decision = reported(Group(), an_alert())
        assert (decision.new_incident, decision.runs) == (True, (("pool", Kind.ALERT),))

    def test_an_alert_that_no_runbook_knows_is_left_to_triage(self) -> None:
        assert reported(Group(), an_alert("Odd")).runs == (("triage", Kind.ALERT),)

    def test_several_alerts_of_one_runbook_run_it_once(self) -> None:
        decision = reported(
            Group(), an_alert(), an_alert(fingerprint="f2"), an_alert("PoolErrors", "f3"), an_alert("Odd", "f4")
        )
        assert decision.runs == (("pool", Kind.ALERT), ("triage", Kind.ALERT))

    def test_a_repeat_within_the_interval_runs_nothing(self) -> None:
        decision = reported(reported(Group(), an_alert()).group, an_alert(), minutes=59)
        assert (decision.new_incident, decision.runs, decision.transitions) == (False, (), (Transition.REPEATED,))

    def test_a_repeat_after_the_interval_runs_again_in_the_same_incident(self) -> None:
        decision = reported(reported(Group(), an_alert()).group, an_alert(), minutes=60)
        assert (decision.new_incident, decision.runs) == (False, (("pool", Kind.REPEAT),))

    def test_another_alert_of_the_group_joins_the_incident_and_runs(self) -> None:
        decision = reported(reported(Group(), an_alert()).group, an_alert(), an_alert(fingerprint="f2"), minutes=5)
        assert (decision.new_incident, decision.runs) == (False, (("pool", Kind.ALERT),))

    def test_a_run_that_has_not_begun_sees_the_other_alert_too(self) -> None:
        waiting = reported(Group(), an_alert()).group
        decision = deduplicate(
            waiting,
            [Alert.model_validate(an_alert(fingerprint="f2"))],
            runbook_for=lambda _: "pool",
            now=NOW,
            repeat=REPEAT,
        )
        assert decision.runs == ()


class TestResolved:
    """The end of an alert is verified, and only its own end."""

    def test_resolved_runs_a_verification(self) -> None:
        decision = reported(reported(Group(), an_alert()).group, an_alert(status="resolved"), minutes=1)
        assert (decision.runs, decision.transitions) == ((("pool", Kind.VERIFICATION),), (Transition.RESOLVED,))

    def test_not_while_another_alert_of_its_runbook_fires(self) -> None:
        both = reported(Group(), an_alert(), an_alert(fingerprint="f2")).group
        first = reported(both, an_alert(status="resolved"), minutes=1)
        last = reported(first.group, an_alert(fingerprint="f2", status="resolved"), minutes=2)
        assert (first.runs, last.runs) == ((), (("pool", Kind.VERIFICATION),))

    def test_resolved_again_is_nothing_new(self) -> None:
        ended = reported(reported(Group(), an_alert()).group, an_alert(status="resolved"), minutes=1).group
        decision = reported(ended, an_alert(status="resolved"), minutes=2)
        assert (decision.runs, decision.transitions) == ((), (Transition.STALE,))

    def test_resolved_before_its_firing_leaves_nothing_open(self) -> None:
        """It came out of order: the alert is over, so there is nothing to look into."""
        early = reported(Group(), an_alert(status="resolved"))
        late = reported(early.group, an_alert(), minutes=1)
        assert [early.runs, late.runs, late.group.firing, late.new_incident] == [(), (), False, False]

    def test_the_end_of_an_older_episode_ends_nothing(self) -> None:
        decision = reported(reported(Group(), an_alert(start=5)).group, an_alert(status="resolved", start=1), minutes=1)
        assert (decision.group.firing, decision.transitions) == (True, (Transition.STALE,))

    def test_firing_anew_is_a_new_incident(self) -> None:
        ended = reported(reported(Group(), an_alert()).group, an_alert(status="resolved"), minutes=1).group
        decision = reported(ended, an_alert(start=9), minutes=2)
        assert (decision.new_incident, decision.runs) == (True, (("pool", Kind.ALERT),))

    def test_firing_anew_while_the_verification_waits_still_runs(self) -> None:
        """What waits belongs to the incident that is over."""
        ended = reported(reported(Group(), an_alert()).group, an_alert(status="resolved"), minutes=1).group
        assert ended.waiting == {"pool"}
        fired = [Alert.model_validate(an_alert(start=9))]
        decision = deduplicate(ended, fired, runbook_for=lambda _: "pool", now=NOW, repeat=REPEAT)
        assert decision.runs == (("pool", Kind.ALERT),)


ALERTS = st.builds(
    an_alert,
    st.sampled_from(["PoolExhausted", "PoolErrors", "Odd"]),
    st.sampled_from(["f1", "f2", "f3"]),
    st.sampled_from(["firing", "resolved"]),
    st.integers(0, 9),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(ALERTS, min_size=1, max_size=4), max_size=8))
def test_in_whatever_order_alerts_come(payloads: list[list[dict[str, object]]]) -> None:
    """A new episode always has a run to answer for it, a repeated payload never has, and an end outlasts its beginning."""
    group = Group()
    for minutes, alerts in enumerate(payloads):
        decision = reported(group, *alerts, minutes=minutes)
        runs = dict(decision.runs)
        for transition, alert in zip(decision.transitions, alerts, strict=True):
            runbook = RUNBOOKS.get(str(alert["labels"]["alertname"]), "triage")  # type: ignore[index]  # of a JSON object
            known = decision.group.alerts[str(alert["fingerprint"])].runbook
            assert transition is not Transition.NEW or known in runs, runbook
        again = reported(decision.group, *alerts, minutes=minutes)
        assert (again.new_incident, again.group.firing) == (False, decision.group.firing)
        assert Kind.REPEAT not in dict(again.runs).values()
        group = decision.group


@settings(max_examples=100, deadline=None)
@given(st.permutations([an_alert(start=n, status=s) for n in (1, 3, 5) for s in ("firing", "resolved")]))
def test_when_all_has_come_the_newest_episode_counts(alerts: list[dict[str, object]]) -> None:
    """Three episodes, all ended: whatever came first, nothing fires in the end."""
    group = Group()
    for alert in alerts:
        group = reported(group, alert).group
    assert group.firing is False
