"""The checklist before an incident counts as resolved, read off its timeline. Pure.

Two items are done by the tool: a run of triage that finds nothing, and thirty minutes of watching. Three are for people: they say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

CONFIRMED = "checklist"
"""Kind of the timeline's lines by which somebody confirms an item: ``{"item", "by"}``."""
WATCH = "watch"
"""Kind of the lines of a watch: ``{"state": "well" | "not well" | "unknown", "interval_seconds"}``."""
VERIFIED, WATCHED = "verified", "watched"
ASKED = {
    "fix-deployed": "the permanent fix is deployed",
    "status-page": "the status page says that it is over",
    "channel-closed": "the channel is closed, with a last word in it",
}
WATCH_MINUTES = 30
_GAPS = 3
"""A watch that misses so many readings has a hole; what it saw before does not count."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item: whether it is done, and why (or what to do)."""

    name: str
    says: str
    done: bool = False

    def to_dict(self) -> dict[str, Any]:
        """``{item, done, says}``."""
        return {"item": self.name, "done": self.done, "says": self.says}


def answer(lines: Sequence[Mapping[str, Any]], *, minutes: float = WATCH_MINUTES) -> list[Item]:
    """Every item in the playbook's order, from the incident's timeline."""
    since = _last_trouble(lines)
    fix, *rest = ASKED
    asked = {name: _asked(name, lines) for name in ASKED}
    return [asked[fix], _verified(lines, since), _watched(lines, minutes), *(asked[name] for name in rest)]


def watched(lines: Sequence[Mapping[str, Any]]) -> timedelta:
    """How long the platform has been seen well without a break: no reading that was not well, or unknown, and no hole."""
    first = last = None
    for line in lines:
        if line.get("kind") != WATCH:
            continue
        at = _at(line)
        hole = last is not None and at - last > timedelta(seconds=_GAPS * float(line.get("interval_seconds") or 60))
        if line.get("state") != "well":
            first = last = None
            continue
        first = at if first is None or hole else first
        last = at
    return last - first if first is not None and last is not None else timedelta(0)


def _asked(name: str, lines: Sequence[Mapping[str, Any]]) -> Item:
    said = [line for line in lines if line.get("kind") == CONFIRMED and line.get("item") == name]
    if said:
        return Item(name, done=True, says=f"{said[-1].get('by') or 'somebody'} at {_at(said[-1]):%H:%M} UTC")
    return Item(name, says=f"confirm that {ASKED[name]}: --confirm {name}")


def _verified(lines: Sequence[Mapping[str, Any]], since: datetime | None) -> Item:
    runs = [line for line in lines if line.get("kind") == "health-run" and (since is None or _at(line) > since)]
    if not runs:
        return Item(VERIFIED, says="no run of triage since the last change; resolve runs one")
    last = runs[-1]
    well = last.get("state") == "well"
    return Item(VERIFIED, done=well, says=f"{last.get('record')}: {last.get('text')}")


def _watched(lines: Sequence[Mapping[str, Any]], minutes: float) -> Item:
    seen = watched(lines).total_seconds() / 60
    done = seen >= minutes
    return Item(
        WATCHED,
        done=done,
        says=f"seen well for {seen:.0f} of {minutes:g} minutes" + ("" if done else "; resolve --watch"),
    )


def _last_trouble(lines: Sequence[Mapping[str, Any]]) -> datetime | None:
    """The last moment at which something was changed or was not well: a verification from before does not count."""
    troubles = [
        _at(line)
        for line in lines
        if line.get("kind") in ("mitigation-intent", "mitigation-result")
        or (line.get("kind") == "alert" and line.get("state") == "firing")
        or (line.get("kind") == WATCH and line.get("state") == "not well")
    ]
    return max(troubles, default=None)


def _at(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(line["at"]))
