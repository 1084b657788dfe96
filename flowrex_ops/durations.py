"""Spans and moments as people write them: ``90s``, ``30m``, ``2h``, ``1d``; ``04:12``, ``2026-01-31 04:12``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flowrex_ops.errors import ParameterError

TENTHS_BELOW = 10
LONGEST = 100_000
"""The largest number that a span takes: a typing slip, not a span, beyond it."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str, *, name: str = "since") -> timedelta:
    """``"30m"`` as a timedelta. Raises ParameterError that names the parameter and what it takes."""
    match = re.fullmatch(r"\s*(\d+)\s*([smhd])\s*", text)
    if not match or int(match.group(1)) == 0 or int(match.group(1)) > LONGEST:
        raise ParameterError(f"{name}: '{text}' is not a span of time; write a number and s, m, h or d, such as '30m'")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def format_seconds(seconds: float) -> str:
    """A span for people: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < TENTHS_BELOW:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def parse_moment(text: str, *, name: str, now: datetime | None = None) -> datetime:
    """``"04:12"`` (the latest such time of day), ``"2026-01-31 04:12"``, ISO 8601, or ``"20m"`` ago, as a time in UTC.

    A time without a zone is UTC. Raises ParameterError that names the parameter and what it takes.
    """
    now = now or datetime.now(UTC)
    if re.fullmatch(r"\d+\s*[smhd]", text.strip()):
        return now - parse_duration(text, name=name)
    clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if clock:
        moment = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return moment if moment <= now else moment - timedelta(days=1)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        wanted = "give 04:12 (UTC), 2026-01-31 04:12, or 20m for twenty minutes ago"
        raise ParameterError(f"{name}: '{text}' is not a time; {wanted}") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
