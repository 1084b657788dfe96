"""Spans of time as people write them: ``90s``, ``30m``, ``2h``, ``1d``."""

from __future__ import annotations

import re
from datetime import timedelta

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
