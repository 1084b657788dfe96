"""What to tell people: the playbook's three templates, filled in from what was found and from the incident's facts. Pure text.

What only people know, and nobody has said, stands in square brackets; such a text is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import PreconditionError
from flowrex_ops.incident.facts import Incident
from flowrex_ops.model import MitigationState

NO_FINDING = "No cause was confirmed; the search goes on."


def initial(outcome: Mapping[str, Any], *, started: datetime | None = None) -> str:
    """The first message about an incident, from ``Investigation.outcome``; *started* is when it began, UTC.

    What only people know stands in square brackets.
    """
    findings = outcome.get("findings") or []
    began = f"{started.astimezone(UTC):%H:%M} UTC" if started else f"[HH:MM UTC; noticed {datetime.now(UTC):%H:%M} UTC]"
    lines = [
        "🚨 INCIDENT DETECTED",
        "",
        f"Severity: {outcome.get('severity') or '[P0 to P3]'}",
        f"Service: {outcome.get('platform', '[service]')} ({outcome.get('runbook', '').replace('_', ' ')})",
        "Impact: [what users cannot do, and how many]",
        f"Started: {began}",
        f"Found: {findings[0]['title'] if findings else NO_FINDING}",
        "",
        "The investigation goes on; the next message follows.",
    ]
    return "\n".join(lines)


def update(outcome: Mapping[str, Any]) -> str:
    """A status update after a change, from ``Investigation.outcome``: what was done, and what showed the effect."""
    done = [one for one in outcome.get("mitigations") or [] if one["state"] != MitigationState.PLANNED.value]
    lines = [
        "📋 INCIDENT UPDATE",
        "",
        f"Status: {'Mitigating' if done else '[Investigating, Identified, Mitigating or Resolved]'}",
        f"Service: {outcome.get('platform', '[service]')}",
        "Impact: [what users cannot do now, and how many]",
        *(f"Done: {one['slug']} ({one['state']}): {one['reason']}" for one in done),
        *([] if done else ["Done: nothing was changed"]),
        "",
        "Next update in [X] minutes.",
    ]
    return "\n".join(lines)


RESOLVED = "resolved"
KINDS = ("initial", "update", RESOLVED)
_GAP = re.compile(r"\[[^\]\n]+\]")
_MARKER = re.compile(r"\[redacted:[a-z-]+\]")


def compose(kind: str, incident: Incident, *, done: str = "", now: datetime | None = None, force: bool = False) -> str:
    """The message of *kind* (one of ``KINDS``) about *incident*; *done* is what was changed (``slug verified``), if anything.

    That an open incident is resolved is said only by *force*: its draft begins with a gap that says how it is.
    """
    texts = {"initial": _initial, "update": _update, "resolved": _resolved}
    text = texts[kind](incident, done, now or datetime.now(UTC))
    if kind == RESOLVED and not incident.over and not force:
        return f"[not yet so: {incident.id} is '{incident.status.value}']\n\n{text}"
    return text


def require_true(kind: str, incident: Incident) -> None:
    """PreconditionError where the message of *kind* would say that an open *incident* is over."""
    if kind == RESOLVED and not incident.over:
        raise PreconditionError(
            f"{incident.id} is '{incident.status.value}', so nobody is told that it is resolved;"
            f" run 'flowrex-ops incident resolve {incident.id}', or give --force with --reason"
        )


def gaps(text: str) -> list[str]:
    """What is still to be said in *text*: the parts in square brackets."""
    return [gap for gap in _GAP.findall(text) if not _MARKER.fullmatch(gap)]


def _initial(incident: Incident, _done: str, _now: datetime) -> str:
    lines = [
        "🚨 INCIDENT DETECTED",
        "",
        f"Severity: {incident.severity or '[P0 to P3]'}",
        f"Service: {incident.service or '[service]'}",
        f"Impact: {incident.impact or '[what users cannot do, and how many]'}",
        f"Started: {incident.started:%H:%M} UTC",
        "",
        f"We are looking into it.{_next(incident)}",
    ]
    return "\n".join(lines)


def _update(incident: Incident, done: str, _now: datetime) -> str:
    lines = [
        "📋 INCIDENT UPDATE",
        "",
        f"Status: {incident.status.value}",
        f"Impact: {incident.impact or '[what users cannot do now, and how many]'}",
        f"Root Cause: {incident.root_cause or 'not known yet'}",
        *([f"Done: {done}"] if done else []),
        f"ETA: {incident.eta or 'not known yet'}",
        "",
        _next(incident).strip() or "[when the next update comes]",
    ]
    return "\n".join(lines)


def _resolved(incident: Incident, done: str, now: datetime) -> str:
    ended = incident.resolved or now
    lines = [
        "✅ INCIDENT RESOLVED",
        "",
        f"Duration: {format_seconds((ended - incident.started).total_seconds())}",
        f"Impact: {incident.impact or '[what users could not do, and how many]'}",
        f"Root Cause: {incident.root_cause or '[why it happened]'}",
        f"Resolution: {incident.resolution or done or '[what was done]'}",
        "",
        "A post-mortem follows.",
    ]
    return "\n".join(lines)


def _next(incident: Incident) -> str:
    return f" Next update at {incident.next_update:%H:%M} UTC." if incident.next_update else ""
