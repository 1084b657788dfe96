"""How severe it is by the playbook's table, and who is to be told by when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from flowrex_ops.incident.symptoms import UNKNOWN, YES
from flowrex_ops.model import Severity, Verdict

MEANS = {
    Severity.P0: "complete outage, trading blocked, data lost or a breach",
    Severity.P1: "a part is out, or most of something fails",
    Severity.P2: "a smaller part suffers; a warning",
    Severity.P3: "nothing that users notice",
}
RESPOND_WITHIN = {
    Severity.P0: timedelta(0),
    Severity.P1: timedelta(minutes=15),
    Severity.P2: timedelta(hours=1),
    Severity.P3: None,
}
ROLES = ("On-call engineer", "Team lead", "Management")
_NOW, _NEXT_DAY, _NEVER = "immediately", "next business day", "not told"
MATRIX: Mapping[Severity, tuple[timedelta | str, ...]] = {
    Severity.P0: (timedelta(0), timedelta(0), timedelta(minutes=15)),
    Severity.P1: (timedelta(0), timedelta(minutes=15), timedelta(hours=1)),
    Severity.P2: (timedelta(hours=1), "if unresolved at ", _NEVER),
    Severity.P3: (_NEXT_DAY, _NEVER, _NEVER),
}
"""The playbook's escalation matrix, a time after it was noticed for each of ``ROLES``."""

UNRESOLVED_AFTER = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The level and why; ``None`` where nothing is wrong. ``unknown`` counts what could not be looked at."""

    severity: Severity | None
    reason: str
    unknown: int

    def __str__(self) -> str:
        level = f"{self.severity.value} ({MEANS[self.severity]})" if self.severity else "no incident"
        but = f"; {self.unknown} things could not be looked at, so it may be worse" if self.unknown else ""
        return f"{level}: {self.reason}{but}"


def assess_severity(symptoms: pd.DataFrame, verdicts: Sequence[Verdict]) -> Assessment:
    """The worst of what was seen and of what was confirmed; its words are the reason."""
    seen = [
        (Severity(row.severity), str(row.says), str(row.symptom))
        for row in symptoms[symptoms["seen"].eq(YES)].itertuples()
    ]
    seen += [(v.severity, v.reason, v.cause) for v in verdicts if v.confirmed and v.severity]
    unknown = int(symptoms["seen"].eq(UNKNOWN).sum()) + sum(v.kind.value == "inconclusive" for v in verdicts)
    if not seen:
        return Assessment(None, "nothing is wrong as far as can be seen", unknown)
    severity, says, what = min(seen, key=lambda item: (item[0].value, item[2]))
    return Assessment(severity, f"{what}: {says}", unknown)


def escalate(
    severity: Severity | None, *, noticed: datetime, contacts: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Who is to be told by when: who, contact, by (UTC or a word). Without a severity nobody is."""
    known = {name.lower().replace("-", " ").replace("_", " "): value for name, value in (contacts or {}).items()}
    rows = (
        [
            (role, known.get(role.lower().replace("-", " "), ""), _by(due, noticed))
            for role, due in zip(ROLES, MATRIX[severity], strict=True)
        ]
        if severity
        else []
    )
    return pd.DataFrame(rows, columns=["who", "contact", "by"])


def channel(noticed: datetime) -> str:
    """The incident's channel, ``#incident-YYYYMMDD-HHMM``."""
    return f"#incident-{noticed.astimezone(UTC):%Y%m%d-%H%M}"


def _by(due: timedelta | str, noticed: datetime) -> str:
    if isinstance(due, timedelta):
        return _NOW if not due else f"{(noticed + due).astimezone(UTC):%H:%M} UTC"
    return due + f"{(noticed + UNRESOLVED_AFTER).astimezone(UTC):%H:%M} UTC" if due.startswith("if") else due
