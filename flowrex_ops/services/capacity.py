"""How many replicas PostgreSQL's connection limit can bear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionBudget:
    """The sum: so many pools of so many connections, beside the sessions of everybody else, within what there is."""

    replicas: int
    pool_size: int
    others: int
    max_connections: int
    superuser_reserved: int
    reserved: int

    @property
    def usable(self) -> int:
        """Connections that ordinary roles can have."""
        return self.max_connections - self.superuser_reserved - self.reserved

    @property
    def needed(self) -> int:
        """Connections when every pool is full."""
        return self.replicas * self.pool_size + self.others

    @property
    def fits(self) -> bool:
        """Whether every pool can be filled."""
        return self.needed <= self.usable

    @property
    def most_replicas(self) -> int:
        """So many replicas fit."""
        return max(0, (self.usable - self.others) // self.pool_size)

    def __str__(self) -> str:
        sign = "<=" if self.fits else ">"
        return (
            f"{self.replicas} replicas x {self.pool_size} connections + {self.others} other sessions = {self.needed} {sign} {self.usable}"
            f" (max_connections {self.max_connections} - superuser_reserved_connections {self.superuser_reserved}"
            f" - reserved_connections {self.reserved})"
        )
