"""How severe it is by the playbook's table, who is to be notified by when, who was, and who is overdue. Pure but for ``note_notified``.

Escalation counts from when the incident became as severe as it is, without a break: a P2 that turns into a P1 gives
the team lead fifteen minutes from then, not from the first report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.events import at, get_milestones
from flowrex_ops.incident.incident import COMMANDER, Incident
from flowrex_ops.incident.symptoms import UNKNOWN, YES
from flowrex_ops.model import Severity, Verdict, VerdictKind

MEANS = {
    Severity.P0: "complete outage, trading blocked, data lost or a breach",
    Severity.P1: "a part is out, or most of something fails",
    Severity.P2: "a smaller part suffers; a warning",
    Severity.P3: "nothing that users notice",
}
ROLES = ("On-call engineer", "Team lead", "Management")
SECURITY = "Security"
SECONDARY = "Secondary on-call"
OTHERS = (SECONDARY, "Database administrator", SECURITY)
"""Who is called where they are needed; security always where it is a breach or a leak."""
_NEXT_MORNING = timedelta.max
RESPOND_WITHIN = {
    Severity.P0: timedelta(0),
    Severity.P1: timedelta(minutes=15),
    Severity.P2: timedelta(hours=1),
    Severity.P3: _NEXT_MORNING,
}
"""The playbook's response times: how long after it was noticed somebody works on it."""
UPDATE_EVERY = {
    Severity.P0: timedelta(minutes=20),
    Severity.P1: timedelta(minutes=30),
    Severity.P2: timedelta(hours=1),
}
"""So long after a message the next one is due where no time was promised (PagerDuty's guide: at least every 20 minutes at first)."""
MATRIX: Mapping[Severity, tuple[timedelta | None, ...]] = {
    Severity.P0: (timedelta(0), timedelta(0), timedelta(minutes=15)),
    Severity.P1: (timedelta(0), timedelta(minutes=15), timedelta(hours=1)),
    Severity.P2: (timedelta(hours=1), timedelta(hours=4), None),
    Severity.P3: (_NEXT_MORNING, None, None),
}
"""The playbook's escalation matrix: for each of ``ROLES`` how long after it was noticed, if it is not over by then."""

NOTIFIED, OVERDUE, DUE = "notified", "overdue", "due"
KIND = "escalation"
"""Kind of the timeline's lines that a role was notified: ``{"role", "by"}``."""
_SATURDAY, _MORNING, _DAY = 5, time(9), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The level and why; ``None`` where nothing is wrong. ``unknown`` counts what could not be looked at."""

    severity: Severity | None
    reason: str
    unknown: int

    def __str__(self) -> str:
        level = f"{self.severity.value} ({MEANS[self.severity]})" if self.severity else "no incident"
        but = "; not everything could be looked at, so it may be worse" if self.unknown else ""
        return f"{level}: {self.reason}{but}"


@dataclass(frozen=True, slots=True)
class Deadline:
    """One role: its contact, the moment (UTC) by which it is to be notified, and whether that is notified, due or overdue."""

    role: str
    contact: str
    by: datetime
    state: str


def assess_severity(symptoms: pd.DataFrame, verdicts: Sequence[Verdict]) -> Assessment:
    """The worst of what was seen and of what was confirmed; its words are the reason."""
    seen = [
        (Severity(row.severity), str(row.says), str(row.symptom))
        for row in symptoms[symptoms["seen"].eq(YES)].itertuples()
    ]
    seen += [(v.severity, v.reason, v.cause) for v in verdicts if v.confirmed and v.severity]
    unknown = int(symptoms["seen"].eq(UNKNOWN).sum()) + sum(v.kind is VerdictKind.INCONCLUSIVE for v in verdicts)
    if not seen:
        return Assessment(None, "nothing is wrong as far as can be seen", unknown)
    severity, says, what = min(seen, key=lambda item: (item[0].value, item[2]))
    return Assessment(severity, f"{what}: {says}", unknown)


def escalate(
    severity: Severity | None, *, noticed: datetime, contacts: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Who is to be notified by when: who, contact, by (UTC or a word). Without a severity nobody is."""
    rows = [(role, contact, _word(by, noticed)) for role, contact, by in _due(severity, noticed, contacts or {})]
    return pd.DataFrame(rows, columns=["who", "contact", "by"])


def notify_by(severity: Severity | None, *, noticed: datetime) -> str:
    """The same in one line: ``On-call engineer immediately, Team lead by 04:27 UTC``; nobody without a severity."""
    due = [(role, by) for role, _, by in _due(severity, noticed, {}) if by]
    return ", ".join(f"{role} {'' if by == noticed else 'by '}{_word(by, noticed)}" for role, by in due)


def channel(noticed: datetime) -> str:
    """The incident's channel, ``#incident-YYYYMMDD-HHMM``."""
    return f"#incident-{noticed.astimezone(UTC):%Y%m%d-%H%M}"


def get_deadlines(
    incident: Incident, lines: Sequence[Mapping[str, Any]], *, contacts: Mapping[str, str], now: datetime
) -> list[Deadline]:
    """The escalation matrix for this incident, the earliest first; nobody is due for one that is over or has no severity.

    *lines* is its timeline. Time counts from when it became as severe as it is; whoever took command is notified, as on-call engineer.
    """
    if incident.severity is None or incident.over:
        return []
    began = _severe_since(incident, lines)
    notified = {key(str(line.get("role"))) for line in lines if line.get("kind") == KIND}
    if incident.roles.get(COMMANDER):
        notified.add(key(ROLES[0]))
    due = [*_due(incident.severity, began, contacts)]
    due += [(SECURITY, get_contacts(contacts)[SECURITY], began)] if incident.security else []
    found = [
        Deadline(role, contact, by, NOTIFIED if key(role) in notified else OVERDUE if now >= by else DUE)
        for role, contact, by in due
        if by is not None
    ]
    return sorted(found, key=lambda deadline: deadline.by)


def update_due(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When people are to hear of it again: as was promised, else so long after the last message as is usual for its severity.

    ``None`` while nobody was told anything, and once it is over.
    """
    if incident.over:
        return None
    last = max((at(line) for line in lines if line.get("kind") == "message"), default=None)
    if incident.next_update and (last is None or last < incident.next_update):
        return incident.next_update
    every = UPDATE_EVERY.get(incident.severity) if incident.severity else None
    return last + every if last and every else None


def respond_by(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When somebody is to work on it; ``None`` once somebody does, and without a severity."""
    if incident.severity is None or incident.over or incident.roles.get(COMMANDER):
        return None
    acknowledged = get_milestones(incident, lines)["acknowledged"]
    return None if acknowledged else _moment(RESPOND_WITHIN[incident.severity], _severe_since(incident, lines))


def get_contacts(contacts: Mapping[str, str]) -> dict[str, str]:
    """The contact of each role that this tool knows, however the settings spell it; empty where there is none."""
    known = {key(name): contact for name, contact in contacts.items()}
    return {role: known.get(key(role), "") for role in (*ROLES, *OTHERS)}


def find_role(name: str, *, option: str) -> str:
    """The role called *name*, however it is spelt. ParameterError, which names the *option*, for one that there is not."""
    known = {key(role): role for role in (*ROLES, *OTHERS)}
    if key(name) not in known:
        raise ParameterError(f"{option}: '{name}' is no role; give {', '.join(known.values())}")
    return known[key(name)]


def note_notified(folder: Path, roles: Sequence[str], *, by: str) -> None:
    """Note that *roles* were notified. ParameterError for one that there is not."""
    for role in [find_role(role, option="--notified") for role in roles]:
        timeline.append(folder, {"kind": KIND, "text": f"{role} notified", "role": role, "by": by})


def key(name: str) -> str:
    """A role's name as it is compared: ``Team lead``, ``team-lead`` and ``TEAM_LEAD`` are one."""
    return name.lower().replace("-", " ").replace("_", " ").strip()


def _severe_since(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> datetime:
    """When the time began in which it has been at least as severe as now without a break."""
    severe = {one.value for one in Severity if incident.severity and one.at_least(incident.severity)}
    began = incident.opened
    for line in lines:
        changed = (line.get("changes") or {}).get("severity")
        if isinstance(changed, Mapping) and changed.get("is") in severe and changed.get("was") not in severe:
            began = at(line)
    return began


def _due(
    severity: Severity | None, began: datetime, contacts: Mapping[str, str]
) -> Iterator[tuple[str, str, datetime | None]]:
    """Each role, its contact, and the moment by which it is to be notified, if it is."""
    known = get_contacts(contacts)
    for role, rule in zip(ROLES, MATRIX[severity], strict=True) if severity else ():
        yield role, known[role], None if rule is None else _moment(rule, began)


def _moment(rule: timedelta, began: datetime) -> datetime:
    if rule != _NEXT_MORNING:
        return began + rule
    day = began + _DAY
    while day.weekday() >= _SATURDAY:
        day += _DAY
    return datetime.combine(day.date(), _MORNING, tzinfo=began.tzinfo)


def _word(by: datetime | None, noticed: datetime) -> str:
    if by is None or by == noticed:
        return "immediately" if by else "not notified"
    day = "%a " if by - noticed >= _DAY else ""
    return f"{by.astimezone(UTC):{day}%H:%M} UTC"
