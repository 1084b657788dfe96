"""What to tell people, filled in from what was found. Pure text: sending is for the engineer who read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

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
