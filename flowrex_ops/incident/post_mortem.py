"""``post_mortem.md``: what is known is written anew each time, what people wrote between stays as it is. Pure text.

A generated block stands between ``<!-- flowrex-ops:name -->`` and ``<!-- /flowrex-ops:name -->``; ``✍`` marks what remains for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.incident import COMMANDER, Incident
from flowrex_ops.incident.templates import fill_in
from flowrex_ops.model import Severity

FILE = "post_mortem.md"
TO_WRITE = "✍"
ACTION_COLUMNS = ["action", "owner", "due", "status"]
_REVIEWED_WITHIN: Mapping[Severity | None, timedelta] = dict.fromkeys((Severity.P0, Severity.P1), timedelta(days=3))
_USUALLY = timedelta(days=7)
"""Three days, or five working days: https://response.pagerduty.com/after/post_mortem_process/"""
_BLOCK = r"<!-- flowrex-ops:{0} -->\n.*?\n<!-- /flowrex-ops:{0} -->"
_HEADER = re.compile(r"\|\s*action\s*\|\s*owner\s*\|\s*due(?: date)?\s*\|\s*status\s*\|", re.IGNORECASE)


def write_document(
    incident: Incident,
    existing: str = "",
    *,
    events: pd.DataFrame,
    durations: pd.DataFrame,
    evidence: Mapping[str, str],
    author: str = "",
) -> str:
    """The whole document; of an *existing* one only the generated blocks are replaced, each where it stands.

    It is written from the facts, ``EVENT_COLUMNS``, ``DURATION_COLUMNS``, and what lies at which path in the incident's folder. Its own
    review is its first action item: the owner, the due date and the status are asked for with all others.
    """
    document = fill_in(
        "post_mortem.md.j2",
        incident=incident,
        span=format_span(incident),
        author=author,
        roles=", ".join(f"{role}: {person}" for role, person in incident.roles.items()),
        events=list(events.itertuples()),
        durations=list(durations.itertuples()),
        evidence=evidence,
        to_write=TO_WRITE,
        owner=incident.roles.get(COMMANDER, ""),
        review_by=f"{(incident.resolved or incident.opened) + _REVIEWED_WITHIN.get(incident.severity, _USUALLY):%Y-%m-%d}",
        items=len(read_actions(existing)) if existing.strip() else 1,
    )
    if not existing.strip():
        return document
    for name in re.findall(r"^<!-- flowrex-ops:(\S+) -->$", document, re.MULTILINE):
        pattern = re.compile(_BLOCK.format(re.escape(name)), re.DOTALL)
        new = pattern.search(document)
        existing = pattern.sub(lambda _old, new=new: new.group() if new else "", existing, count=1)  # type: ignore[misc]  # a default binds it
    return existing


def format_span(incident: Incident) -> str:
    """When it began and ended (``04:12`` and ``05:40``), and how long that was, as ``(1 h 28 min)``."""
    took, began = format_seconds(incident.duration_seconds), f"{incident.started:%H:%M}"
    if incident.resolved is None:
        return f"since {began} UTC ({took}), not resolved yet"
    return f"{began}\u2013{incident.resolved:%H:%M} UTC ({took})"


def read_actions(text: str) -> pd.DataFrame:
    """The table of action items; columns ``ACTION_COLUMNS``, ``due`` a date or missing. ParameterError names the line that is wrong."""
    rows = []
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if _HEADER.search(line)), None)
    if start is None:
        return pd.DataFrame(columns=ACTION_COLUMNS)
    for number, line in enumerate(lines[start + 2 :], start=start + 3):
        if not line.strip().startswith("|"):
            break
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(cells) != len(ACTION_COLUMNS):
            raise ParameterError(
                f"{FILE} line {number}: an action item has 4 cells, this has {len(cells)}; write | what | who | 2026-01-31 | open |"
            )
        if cells[0] and TO_WRITE not in cells[0]:
            rows.append((cells[0].replace("\\|", "|"), cells[1], _due(cells[2], number), cells[3] or "open"))
    return pd.DataFrame(rows, columns=ACTION_COLUMNS)


def to_write(text: str) -> list[str]:
    """What remains for people: the heading above each mark, once."""
    found: dict[str, None] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        elif TO_WRITE in line:
            found[heading] = None
    return list(found)


def _due(cell: str, number: int) -> object:
    if not cell or TO_WRITE in cell:
        return None
    try:
        return datetime.strptime(cell, "%Y-%m-%d").date()
    except ValueError:
        raise ParameterError(f"{FILE} line {number}: '{cell}' is not a date; write it as 2026-01-31") from None
