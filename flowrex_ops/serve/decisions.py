"""What an alert leads to, given what is known of its group: pure, so that every order of arrival can be tried.

An alert's *episode* begins with its ``startsAt`` and ends with its ``resolved``. Each episode is charged to one run; one run
answers for all alerts of its runbook that came before it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flowrex_ops.serve.payload import Alert


class Kind(StrEnum):
    """Why a runbook runs."""

    ALERT = "alert"
    REPEAT = "repeat"
    VERIFICATION = "verification"


class Meaning(StrEnum):
    """What an alert in a payload is, seen from what is known."""

    NEW = "new"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    STALE = "stale"
    """Older than what is known (out of order), or the end of something that was never told."""


@dataclass(frozen=True, slots=True)
class Known:
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
    alerts: Mapping[str, Known] = field(default_factory=dict)
    last_run: Mapping[str, datetime] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    verified: Mapping[str, datetime] = field(default_factory=dict)
    quiet_since: datetime | None = None

    @property
    def firing(self) -> bool:
        """Whether any alert of it fires."""
        return any(known.firing for known in self.alerts.values())


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: ``meanings`` of the payload's alerts in their order, ``runs`` to queue, the group as it is afterwards.

    ``new_incident`` says that what comes belongs to an incident yet to be made.
    """

    group: Group
    meanings: tuple[Meaning, ...]
    runs: tuple[tuple[str, Kind], ...]
    new_incident: bool


def decide(
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
    rejoins = bool(rejoin) and group.quiet_since is not None and now - group.quiet_since < rejoin
    was_firing = group.firing or rejoins
    flaps = was_firing and not group.firing
    earlier = group
    if not was_firing:  # what waits, or ran, belongs to an incident that is over
        group = replace(group, last_run={}, waiting=frozenset())
    meanings: dict[int, Meaning] = {}
    for index in sorted(range(len(alerts)), key=lambda i: (alerts[i].starts_at, alerts[i].status)):
        alert = alerts[index]
        known = group.alerts.get(alert.fingerprint)
        meanings[index] = _meaning(known, alert)
        group = _with(group, alert, meanings[index], known.runbook if known else runbook_for(alert))
    told = [(meanings[index], group.alerts[alerts[index].fingerprint].runbook) for index in range(len(alerts))]
    if flaps:
        told = [(Meaning.REPEATED if meaning is Meaning.NEW else meaning, runbook) for meaning, runbook in told]
    runs = dict(_runs(group, told, now, repeat))
    new_incident = not was_firing and Meaning.NEW in meanings.values()
    if not was_firing and not new_incident:
        group = replace(group, last_run=earlier.last_run, waiting=earlier.waiting)
    looked = dict.fromkeys((name for name, kind in runs.items() if kind is Kind.VERIFICATION), now)
    group = replace(
        group,
        last_run={**group.last_run, **dict.fromkeys(runs, now)},
        waiting=group.waiting | set(runs),
        verified={**group.verified, **looked},
        quiet_since=None if group.firing else now,
    )
    return Decision(group, tuple(meanings[i] for i in range(len(alerts))), tuple(runs.items()), new_incident)


def _meaning(known: Known | None, alert: Alert) -> Meaning:
    if alert.status == "resolved":
        ends = known is not None and known.firing and alert.starts_at >= known.starts_at
        return Meaning.RESOLVED if ends else Meaning.STALE
    if known is None:
        return Meaning.NEW
    if known.firing:
        return Meaning.REPEATED
    return Meaning.NEW if alert.starts_at > known.starts_at else Meaning.STALE


def _with(group: Group, alert: Alert, meaning: Meaning, runbook: str) -> Group:
    """The group after *alert*: its newest start counts, and an end holds against every older start."""
    before = group.alerts.get(alert.fingerprint)
    newest = max(alert.starts_at, before.starts_at) if before else alert.starts_at
    firing = meaning in (Meaning.NEW, Meaning.REPEATED)
    if meaning is Meaning.STALE:
        firing = before.firing if before else False
    return replace(group, alerts={**group.alerts, alert.fingerprint: Known(runbook, firing, newest)})


def _runs(
    group: Group, told: Sequence[tuple[Meaning, str]], now: datetime, repeat: timedelta
) -> list[tuple[str, Kind]]:
    """A run for what is new, unless one that has not begun will see it; another for what goes on; a last for what ended."""
    runs = {}
    still = {known.runbook for known in group.alerts.values() if known.firing}
    for runbook in dict.fromkeys(runbook for _, runbook in told):
        meant = {meaning for meaning, of in told if of == runbook}
        if runbook in group.waiting:
            continue
        last = group.last_run.get(runbook)
        if Meaning.NEW in meant:
            runs[runbook] = Kind.ALERT
        elif Meaning.REPEATED in meant and (last is None or now - last >= repeat):
            runs[runbook] = Kind.REPEAT
        elif Meaning.RESOLVED in meant and runbook not in still and not _verified_lately(group, runbook, now, repeat):
            runs[runbook] = Kind.VERIFICATION
    return list(runs.items())


def _verified_lately(group: Group, runbook: str, now: datetime, repeat: timedelta) -> bool:
    """Whether it was looked at within *repeat*, and nothing ran since: an alert that flaps ends many times."""
    last = group.verified.get(runbook)
    return last is not None and now - last < repeat and group.last_run.get(runbook, last) <= last
