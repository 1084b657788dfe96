"""Who is to be told of an incident by when, who was, and who is overdue. Pure: facts, timeline and a moment in, rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from flowrex_ops.incident.facts import COMMANDER, Incident
from flowrex_ops.incident.severity import MATRIX, ROLES, UNRESOLVED_AFTER
from flowrex_ops.model import Severity

TOLD, OVERDUE, DUE = "told", "overdue", "due"
KIND = "escalation"
"""Kind of the timeline's lines that a role was told: ``{"role", "by"}``."""
_SATURDAY = 5
_MORNING = time(9)


@dataclass(frozen=True, slots=True)
class Deadline:
    """One role: its contact, the moment (UTC) by which it is to be told, and whether that is told, due or overdue."""

    role: str
    contact: str
    by: datetime
    state: str


def get_deadlines(
    incident: Incident, lines: Sequence[Mapping[str, Any]], *, contacts: Mapping[str, str], now: datetime
) -> list[Deadline]:
    """The escalation matrix for this incident, the earliest first; nobody is due for one that is over or has no severity.

    *lines* is its timeline. Time counts from when it became as severe as it is; whoever took command is told, as on-call engineer.
    """
    if incident.severity is None or incident.over:
        return []
    began = _severe_since(incident, lines)
    told = _told(incident, lines)
    known = {key(name): value for name, value in contacts.items()}
    found = []
    for role, rule in zip(ROLES, MATRIX[incident.severity], strict=True):
        by = _moment(rule, began)
        if by is not None:
            state = TOLD if key(role) in told else OVERDUE if now >= by else DUE
            found.append(Deadline(role, known.get(key(role), ""), by, state))
    return sorted(found, key=lambda deadline: deadline.by)


def key(name: str) -> str:
    """A role's name as it is compared: ``Team lead``, ``team-lead`` and ``TEAM_LEAD`` are one."""
    return name.lower().replace("-", " ").replace("_", " ").strip()


def _severe_since(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> datetime:
    """When the time began in which it has been at least as severe as now without a break."""
    changes = list(_changes(lines))
    began, severe = incident.opened, not changes or _as_severe(changes[0][1], incident)
    for at, _was, level in changes:
        if _as_severe(level, incident) and not severe:
            began = at
        severe = _as_severe(level, incident)
    return began


def _changes(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[datetime, object, object]]:
    """When the severity changed, from what, to what."""
    for line in lines:
        changed = (line.get("changes") or {}).get("severity")
        if isinstance(changed, Mapping):
            yield datetime.fromisoformat(str(line["at"])), changed.get("was"), changed.get("is")


def _as_severe(level: object, incident: Incident) -> bool:
    return level in {one.value for one in Severity} and str(level) <= str(incident.severity)


def _told(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> set[str]:
    told = {key(str(line.get("role"))) for line in lines if line.get("kind") == KIND}
    if incident.roles.get(COMMANDER):
        told.add(key(ROLES[0]))
    return told


def _moment(rule: timedelta | str, began: datetime) -> datetime | None:
    if isinstance(rule, timedelta):
        return began + rule
    if rule.startswith("if"):
        return began + UNRESOLVED_AFTER
    return _next_business_morning(began) if rule.startswith("next") else None


def _next_business_morning(moment: datetime) -> datetime:
    day = moment + timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day += timedelta(days=1)
    return datetime.combine(day.date(), _MORNING, tzinfo=moment.tzinfo)
