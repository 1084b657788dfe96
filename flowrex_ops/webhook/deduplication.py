"""What an alert leads to, given what is known of its group: pure, so that every order of arrival can be tried.

An alert's *episode* begins with its ``startsAt`` and ends with its ``resolved``. Each episode is attributed to one run; one run
answers for all alerts of its runbook that came before it began.

A new fingerprint runs again unless a run that waits will see it; a repeat waits for the interval; the end is verified
once no alert of that runbook fires in the group. A ``resolved`` that comes before its ``firing`` ends it: kept,
nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flowrex_ops.webhook.payload import Alert


class Kind(StrEnum):
    """Why a runbook runs."""

    ALERT = "alert"
    REPEAT = "repeat"
    VERIFICATION = "verification"


class Transition(StrEnum):
    """What an alert in a payload is, seen from what is known."""

    NEW = "new"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    STALE = "stale"
    """Older than what is known (out of order), or the end of something that was never told."""


@dataclass(frozen=True, slots=True)
class AlertState:
    """The newest episode of one alert of a group, by its fingerprint."""

    runbook: str
    firing: bool
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """What is known of a group: its incident, its alerts, and each runbook's last and waiting runs.

    ``quiet_since`` is when the last of its alerts ended, if none fires; ``verified`` each runbook's last run that looked
    whether the trouble is over.
    """

    incident: str = ""
    alerts: Mapping[str, AlertState] = field(default_factory=dict)
    last_run: Mapping[str, datetime] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    verified: Mapping[str, datetime] = field(default_factory=dict)
    quiet_since: datetime | None = None

    @property
    def firing(self) -> bool:
        """Whether any alert of it fires."""
        return any(state.firing for state in self.alerts.values())


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: ``transitions`` of the payload's alerts in their order, ``runs`` to queue, the group as it is afterwards.

    ``new_incident`` says that what comes belongs to an incident yet to be made.
    """

    group: Group
    transitions: tuple[Transition, ...]
    runs: tuple[tuple[str, Kind], ...]
    new_incident: bool


def deduplicate(
    group: Group,
    alerts: Sequence[Alert],
    *,
    runbook_for: Callable[[Alert], str],
    now: datetime,
    repeat: timedelta,
    rejoin: timedelta = timedelta(0),
) -> Decision:
    """What *alerts* of one payload lead to; the oldest is looked at first, whatever their order.

    A pause shorter than *rejoin* ends no incident: an alert that flaps is one trouble, looked into once in *repeat*.
    """
    quiet = now - group.quiet_since if group.quiet_since and not group.firing else None
    flaps = bool(rejoin) and quiet is not None and quiet < rejoin
    goes_on = group.firing or flaps
    states, seen = dict(group.alerts), dict[int, Transition]()
    for index in sorted(range(len(alerts)), key=lambda i: (alerts[i].starts_at, alerts[i].status)):
        alert = alerts[index]
        seen[index], states[alert.fingerprint] = _advance(states.get(alert.fingerprint), alert, runbook_for)
    new_incident = not goes_on and Transition.NEW in seen.values()
    earlier = (
        replace(group, last_run={}, waiting=frozenset()) if new_incident else group
    )  # what ran belongs to one that is over
    after = replace(earlier, alerts=states)
    reported = [(seen[index], states[alert.fingerprint].runbook) for index, alert in enumerate(alerts)]
    if flaps:
        reported = [(Transition.REPEATED if one is Transition.NEW else one, runbook) for one, runbook in reported]
    runs = dict(_runs(after, reported, now, repeat))
    verified = dict.fromkeys((runbook for runbook, kind in runs.items() if kind is Kind.VERIFICATION), now)
    after = replace(
        after,
        last_run={**after.last_run, **dict.fromkeys(runs, now)},
        waiting=after.waiting | set(runs),
        verified={**after.verified, **verified},
        quiet_since=None if after.firing else now,
    )
    return Decision(after, tuple(seen[i] for i in range(len(alerts))), tuple(runs.items()), new_incident)


def _advance(
    before: AlertState | None, alert: Alert, runbook_for: Callable[[Alert], str]
) -> tuple[Transition, AlertState]:
    """The alert's newest start counts, and an end holds against every older start."""
    if before is None:
        fires = alert.status == "firing"
        return Transition.NEW if fires else Transition.STALE, AlertState(runbook_for(alert), fires, alert.starts_at)
    transition, firing = Transition.STALE, before.firing
    if alert.status == "resolved":
        if before.firing and alert.starts_at >= before.starts_at:
            transition, firing = Transition.RESOLVED, False
    elif before.firing:
        transition = Transition.REPEATED
    elif alert.starts_at > before.starts_at:
        transition, firing = Transition.NEW, True
    return transition, AlertState(before.runbook, firing, max(alert.starts_at, before.starts_at))


def _runs(
    group: Group, reported: Sequence[tuple[Transition, str]], now: datetime, repeat: timedelta
) -> Iterator[tuple[str, Kind]]:
    """A run for what is new, unless one that has not begun will see it; another for what goes on; a last for what ended."""
    still = {state.runbook for state in group.alerts.values() if state.firing}
    for runbook in {runbook: None for _, runbook in reported if runbook not in group.waiting}:
        seen = {transition for transition, of in reported if of == runbook}
        last = group.last_run.get(runbook)
        if Transition.NEW in seen:
            yield runbook, Kind.ALERT
        elif Transition.REPEATED in seen and (last is None or now - last >= repeat):
            yield runbook, Kind.REPEAT
        elif Transition.RESOLVED in seen and runbook not in still and not _verified_lately(group, runbook, now, repeat):
            yield runbook, Kind.VERIFICATION


def _verified_lately(group: Group, runbook: str, now: datetime, repeat: timedelta) -> bool:
    """Whether it was looked at within *repeat*, and nothing ran since: an alert that flaps ends many times."""
    last = group.verified.get(runbook)
    return last is not None and now - last < repeat and group.last_run.get(runbook, last) <= last
