"""``post_mortem.md``: what is known is written anew each time, what people wrote between stays as it is. Pure text.

A generated block stands between ``<!-- flowrex-ops:name -->`` and ``<!-- /flowrex-ops:name -->``; ``✍`` marks what remains for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.incident import Incident

FILE = "post_mortem.md"
TO_WRITE = "✍"
ACTION_COLUMNS = ["action", "owner", "due", "status"]
AGENDA = (
    ("Timeline", 10),
    ("Root cause", 15),
    ("Impact", 5),
    ("Response", 10),
    ("Action items", 15),
    ("Lessons learned", 5),
)
"""The meeting's items and their minutes, by the playbook."""
_ACTIONS = f"""## Action items

| Action | Owner | Due date | Status |
|---|---|---|---|
| {TO_WRITE} what, so that it cannot happen like this again | {TO_WRITE} | {TO_WRITE} | open |"""
_BLOCK = "<!-- flowrex-ops:{0} -->\n{1}\n<!-- /flowrex-ops:{0} -->"
_HEADER = re.compile(r"\|\s*action\s*\|\s*owner\s*\|\s*due(?: date)?\s*\|\s*status\s*\|", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Material:
    """What a post-mortem is written from: facts, ``events`` (``EVENT_COLUMNS``), ``durations`` (``DURATION_COLUMNS``), links.

    ``evidence`` maps a path within the incident's folder to what it is.
    """

    incident: Incident
    events: pd.DataFrame
    durations: pd.DataFrame
    evidence: Mapping[str, str]


def write_document(material: Material, existing: str = "") -> str:
    """The whole document; of an *existing* one only the generated blocks are replaced, each where it stands."""
    blocks = _blocks(material)
    if not existing.strip():
        return _new(material.incident, blocks)
    for name, content in blocks.items():
        earlier = re.search(_BLOCK.format(re.escape(name), r".*?"), existing, re.DOTALL)
        if earlier:
            existing = existing[: earlier.start()] + _BLOCK.format(name, content) + existing[earlier.end() :]
    return existing


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


def _blocks(material: Material) -> dict[str, str]:
    incident = material.incident
    return {
        "facts": _facts(incident),
        "timeline": _timeline(material.events) or "Nothing was recorded.",
        "root-cause": incident.root_cause or f"{TO_WRITE} Why did it happen, down to what can be changed?",
        "impact": f"What users could not do: {incident.impact or TO_WRITE + ' not recorded'}",
        "resolution": f"What was done: {incident.resolution or TO_WRITE + ' not recorded'}",
        "durations": _durations(material.durations),
        "evidence": "\n".join(f"- [{what}]({path})" for path, what in material.evidence.items()) or "Nothing was kept.",
    }


def _new(incident: Incident, blocks: Mapping[str, str]) -> str:
    block = {name: _BLOCK.format(name, content) for name, content in blocks.items()}
    agenda = "\n".join(f"{place}. {item} ({minutes} min)" for place, (item, minutes) in enumerate(AGENDA, start=1))
    parts = [
        f"# Post-mortem: {incident.title or incident.id}",
        block["facts"],
        f"## Summary\n\n{TO_WRITE} One or two sentences for somebody who was not there.",
        f"## Timeline\n\n{block['timeline']}",
        f"## Root cause\n\n{block['root-cause']}",
        f"## Impact\n\n{block['impact']}\n\n- Users affected: {TO_WRITE}\n- Revenue: {TO_WRITE}\n- Data lost: {TO_WRITE}",
        f"## Detection\n\n{block['durations']}\n\n{TO_WRITE} What told us, and what would have told us sooner?",
        f"## Response\n\n{block['resolution']}\n\n{TO_WRITE} What went well? What cost time?",
        _ACTIONS,
        f"## Lessons learned\n\n{TO_WRITE} What should others know?",
        f"## Evidence\n\n{block['evidence']}",
        f"## Meeting ({sum(minutes for _, minutes in AGENDA)} minutes)\n\n{agenda}",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(incident: Incident) -> str:
    took = format_seconds(incident.duration_seconds)
    began = f"{incident.started:%H:%M}"
    span = (
        f"{began} to {incident.resolved:%H:%M} UTC ({took})"
        if incident.resolved
        else f"since {began} UTC ({took}), not resolved yet"
    )
    rows = [
        ("Incident", incident.id),
        ("Date", f"{incident.started:%Y-%m-%d}"),
        ("Duration", span),
        ("Severity", incident.severity or "not assessed"),
        ("Service", incident.service or f"{TO_WRITE} not recorded"),
        ("Roles", ", ".join(f"{role}: {person}" for role, person in incident.roles.items()) or "nobody took one"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {_cell(str(value))} |" for name, value in rows)


def _timeline(events: pd.DataFrame) -> str:
    lines: Sequence[str] = [
        f"- {row.at:%H:%M:%S} **{row.what}** {_line(str(row.event))}" + (f" ({row.who})" if row.who else "")
        for row in events.itertuples()
    ]
    return "\n".join(lines)


def _durations(durations: pd.DataFrame) -> str:
    rows = [f"| to {row.time_to} | {row.took} |" for row in durations.itertuples()]
    return "| time | took |\n|---|---|\n" + "\n".join(rows)


def _line(text: str) -> str:
    """One line that cannot end a generated block."""
    return " ".join(text.split()).replace("<!--", "&lt;!--")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
