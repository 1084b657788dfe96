"""What to tell people, filled in from what was found. Pure text: sending is for the engineer who read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

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
