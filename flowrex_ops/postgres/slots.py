"""PostgreSQL's connection slots: whether it is there at all, and whether it has any left."""

from __future__ import annotations

from typing import Any

from flowrex_ops.model import Reading
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.reading import TOO_MANY_CONNECTIONS, UNREACHABLE_CODES


def is_unreachable(sessions: Reading[Any], limits: Reading[ConnectionLimits]) -> bool:
    """Nothing answers: neither reading has a value, for want of a connection."""
    return sessions.code in UNREACHABLE_CODES and limits.code in UNREACHABLE_CODES


def is_refused(sessions: Reading[Any], limits: Reading[ConnectionLimits]) -> bool:
    """PostgreSQL refuses new connections for want of slots (SQLSTATE 53300)."""
    through_reserve = limits.available and limits.require().through_reserve
    return through_reserve or (not limits.available and TOO_MANY_CONNECTIONS in (limits.code, sessions.code))


def share_taken(limits: ConnectionLimits) -> float:
    """Of the slots that an ordinary role can have."""
    return limits.used / max(1, limits.for_applications)
