"""When it began, was noticed, taken up, understood, stopped and over; and how long each took. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from flowrex_ops.durations import format_seconds
from flowrex_ops.incident.facts import Incident, Status
from flowrex_ops.model import MitigationState

DURATION_COLUMNS = ["time_to", "took", "seconds", "until"]
_BY_TOOL = frozenset({"", "flowrex-ops"})


@dataclass(frozen=True, slots=True)
class Milestones:
    """The moments (UTC) of an incident; ``None`` for what has not happened, or left no trace."""

    started: datetime
    detected: datetime
    acknowledged: datetime | None = None
    diagnosed: datetime | None = None
    mitigated: datetime | None = None
    resolved: datetime | None = None


def get_milestones(incident: Incident, lines: Sequence[Mapping[str, Any]]) -> Milestones:
    """From the facts and the timeline.

    Detected: the first alert, or when it was opened. Acknowledged: the first word of a person after that. Diagnosed: the first run with a
    diagnosis, or somebody's *Identified*. Mitigated: the last verified mitigation before the end, or somebody's *Mitigating*.
    """
    detected = min([incident.opened, *_moments(lines, lambda one: one.get("kind") == "alert")])
    verified = _moments(lines, lambda one: one.get("state") == MitigationState.VERIFIED and "slug" in one)
    return Milestones(
        started=min(incident.started, detected),
        detected=detected,
        acknowledged=_first(lines, _is_a_person),
        diagnosed=_first(lines, lambda one: bool(one.get("diagnosis")) or _becomes(one, Status.IDENTIFIED)),
        mitigated=max(verified, default=None) or _first(lines, lambda one: _becomes(one, Status.MITIGATING)),
        resolved=incident.resolved,
    )


def get_durations(milestones: Milestones) -> pd.DataFrame:
    """Time to detect, acknowledge, diagnose, mitigate and resolve; columns ``DURATION_COLUMNS``.

    To detect and to resolve count from the start, the others from the detection; ``seconds`` is missing for what has not happened.
    """
    m = milestones
    spans = [
        ("detect", m.started, m.detected),
        ("acknowledge", m.detected, m.acknowledged),
        ("diagnose", m.detected, m.diagnosed),
        ("mitigate", m.detected, m.mitigated),
        ("resolve", m.started, m.resolved),
    ]
    rows = [(name, *_span(begin, end), end) for name, begin, end in spans]
    return pd.DataFrame(rows, columns=DURATION_COLUMNS).astype({"seconds": float})


def _span(begin: datetime, end: datetime | None) -> tuple[str, float | None]:
    if end is None:
        return "not yet, or no trace of it", None
    seconds = max(0.0, (end - begin).total_seconds())
    return format_seconds(seconds), seconds


def _is_a_person(line: Mapping[str, Any]) -> bool:
    """Whether somebody spoke: took a role, wrote a note, told somebody; a run is not a word."""
    return line.get("kind") in ("incident-changed", "note", "message", "escalation") and not _by_tool(line)


def _by_tool(line: Mapping[str, Any]) -> bool:
    by = str(line.get("by") or "")
    changed = set(line.get("changes") or {})
    return by in _BY_TOOL or by.startswith("alert ") or changed == {"severity"}


def _becomes(line: Mapping[str, Any], status: Status) -> bool:
    return ((line.get("changes") or {}).get("status") or {}).get("is") == status


def _first(lines: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]) -> datetime | None:
    return min(_moments(lines, wanted), default=None)


def _moments(lines: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]) -> list[datetime]:
    return [datetime.fromisoformat(str(line["at"])) for line in lines if wanted(line)]
