"""Earlier incidents that were like this one: the same causes, the same error signatures, and what ended them.

Likeness is what two have in common, by weight, out of all that they have: 1 is the same, 0 nothing at all. What few incidents have
weighs more (the logarithm of all incidents to those that have it). A runbook that triage suggests is compared with the
runbooks that confirmed something in earlier incidents, at half the weight: it is a hint, no finding.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.index import ask
from flowrex_ops.archive.records import Record
from flowrex_ops.archive.traits import Traits, find_traits
from flowrex_ops.errors import FlowrexOpsError

if TYPE_CHECKING:
    import pandas as pd

    from flowrex_ops.investigation import Investigation

SHOWN = 5
IN_BANNER = 3
LEAST = 0.05
BANNER_SECONDS = 1.0
"""So long a run may wait for the index to take in what is new."""
_WEIGHTS = {"cause": 1.0, "signature": 1.0, "suggests": 0.5}
_COLUMNS = ["incident", "started", "severity", "diagnosis", "in_common", "resolved_by", "likeness"]
Item = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier incident. ``resolved_by``: mitigations that acted in it; ``likeness`` from 0 to 1; ``record`` is its last one."""

    incident: str
    record: str
    started: str
    title: str
    severity: str | None
    diagnosis: str | None
    causes: tuple[str, ...]
    signatures: tuple[str, ...]
    resolved_by: tuple[str, ...]
    likeness: float

    def to_dict(self) -> dict[str, Any]:
        """As ``records similar --json`` prints it; ``causes`` and ``signatures`` are those in common."""
        return asdict(self)


@dataclass(slots=True)
class _Known:
    """One incident as the index has it."""

    records: list[sqlite3.Row] = field(default_factory=list)
    items: set[Item] = field(default_factory=set)
    resolved_by: list[str] = field(default_factory=list)

    @property
    def started(self) -> str:
        return str(self.records[0]["started"] or "")


def find_similar(outputs: Path, record: Record, *, limit: int = SHOWN) -> list[Earlier]:
    """Incidents before that of *record* that were like it, the most alike first, among equals the newest."""
    started = str(record.metadata.get("started") or "")
    return compare(outputs, find_traits(record.metadata), before=started, but=record.incident.name, limit=limit)


def compare(
    outputs: Path, traits: Traits, *, before: str = "", but: str = "", limit: int = SHOWN, seconds: float | None = None
) -> list[Earlier]:
    """Incidents that began *before* a time (ISO 8601; empty for any), except the one called *but*, that have some of *traits*."""
    wanted = {(kind, value) for kind, value in traits.items() if kind in _WEIGHTS}
    if not wanted:
        return []
    known = ask(outputs, _read, limit_seconds=seconds)
    others = {name: one for name, one in known.items() if name != but and (not before or one.started < before)}
    counts = Counter(item for one in others.values() for item in one.items)
    weights = _weigh(counts, len(others))
    ranked = [_earlier(name, one, wanted, weights) for name, one in others.items() if wanted & one.items]
    found = sorted((one for one in ranked if one.likeness >= LEAST), key=lambda one: one.started, reverse=True)
    return sorted(found, key=lambda one: one.likeness, reverse=True)[:limit]


def seen_before(outputs: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a finished record says of earlier incidents; nothing where that cannot be told, since no run fails for it."""
    try:
        about = (find_traits(record), str(record["started"]), str(record["incident"]))
        found = compare(outputs, about[0], before=about[1], but=about[2], limit=IN_BANNER, seconds=BANNER_SECONDS)
    except (OSError, ValueError, KeyError, sqlite3.Error, FlowrexOpsError):
        return []
    return [one.to_dict() for one in found]


def earlier_incidents(investigation: Investigation, *, limit: int = SHOWN) -> pd.DataFrame:
    """For triage: incidents that were like what *investigation* has found so far; columns as they read.

    An archive that cannot be read gives no rows: triage goes on.
    """
    import pandas as pd

    try:
        traits = find_traits(investigation.outcome)
        found = compare(investigation.settings.outputs, traits, but=investigation.ledger.incident, limit=limit)
    except (OSError, ValueError, sqlite3.Error, FlowrexOpsError):
        found = []
    rows = [
        (
            one.incident,
            one.started[:16].replace("T", " "),
            one.severity or "",
            one.diagnosis or "none",
            in_common(one.causes, one.signatures),
            ", ".join(one.resolved_by) or "nothing of this tool's",
            f"{one.likeness:.0%}",
        )
        for one in found
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def in_common(causes: Sequence[str], signatures: Sequence[str]) -> str:
    """What two incidents share, in one line: causes, the first signature, or that the same runbook found something."""
    return ", ".join([*causes, *signatures[:1]]) or "the runbook that is next"


def _read(index: sqlite3.Connection) -> dict[str, _Known]:
    """Every incident with records, its records the oldest first."""
    known: dict[str, _Known] = {}
    records = (
        "SELECT number, id, incident, runbook, severity, diagnosis, title, started FROM records ORDER BY started, id"
    )
    of_record: dict[int, _Known] = {}
    for row in index.execute(records):
        one = of_record[row["number"]] = known.setdefault(row["incident"], _Known())
        one.records.append(row)
        if row["diagnosis"]:
            one.items.add(("suggests", str(row["runbook"])))
    for number, kind, value in index.execute(
        "SELECT record, kind, value FROM traits WHERE kind <> 'service' ORDER BY rowid"
    ):
        one = of_record[number]
        if kind == "resolved":
            one.resolved_by += [value] if value not in one.resolved_by else []
        elif kind != "suggests":
            one.items.add((kind, value))
    return known


def _weigh(counts: Counter[Item], total: int) -> Mapping[Item, float]:
    return {item: _WEIGHTS[item[0]] * math.log(1 + total / number) for item, number in counts.items()}


def _earlier(name: str, one: _Known, wanted: set[Item], weights: Mapping[Item, float]) -> Earlier:
    """*one* held against *wanted*: only kinds count that both could have."""
    kinds = {kind for kind, _ in wanted}
    shared = wanted & one.items
    every = wanted | {item for item in one.items if item[0] in kinds}
    rarest = max(weights.values(), default=1.0)
    whole = sum(weights.get(item, rarest) for item in every)
    found = [row for row in one.records if row["diagnosis"]]
    last = (found or one.records)[-1]
    return Earlier(
        incident=name,
        record=last["id"],
        started=one.started,
        title=last["title"] or "",
        severity=min((row["severity"] for row in one.records if row["severity"]), default=None),
        diagnosis=last["diagnosis"],
        causes=tuple(sorted(value for kind, value in shared if kind == "cause")),
        signatures=tuple(sorted(value for kind, value in shared if kind == "signature")),
        resolved_by=tuple(one.resolved_by),
        likeness=round(sum(weights[item] for item in shared) / whole, 3) if whole else 0.0,
    )
