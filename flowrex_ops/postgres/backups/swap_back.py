"""The database that a restore has kept becomes the platform's again; a restore that is under way is given up.

A database that was kept is never dropped by this tool: it is the only copy of what was written since the backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from flowrex_ops.errors import MitigationRefusedError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Target
from flowrex_ops.postgres.backups.database_swap import State
from flowrex_ops.postgres.backups.databases import Connection
from flowrex_ops.postgres.backups.journal import KEPT
from flowrex_ops.postgres.backups.swap import GIVEN_UP, SWAPPED, Swap


class SwapBackDatabase(Swap):
    """Back to the data from before; what was written since stays in the database that is kept now."""

    slug = "swap-back-database"
    action = "stop the application; swap the database that was kept with the platform's, in one transaction; start; read again"
    cost = "the application is down for some seconds; what was written since the restore stays in the database that is kept"
    undo = "swap-back-database again: what is the platform's database now is kept"

    def __init__(self, context: Context, *, database: str = "", ready_seconds: float = 60.0) -> None:
        super().__init__(context, ready_seconds=ready_seconds)
        self._database = database

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """*database* is one that a restore has kept; without it the newest."""
        return cls(context, **options)

    def phase(self, state: State) -> str:
        """A restore that has not swapped yet is given up instead."""
        journal = state.journal
        if journal and not journal.swapped and journal.slug != self.slug:
            return GIVEN_UP
        return super().phase(state)

    def find_target(self, state: State, phase: str) -> Target:
        identity = (self.server.live, str(state.oid), phase)
        if phase == GIVEN_UP:
            return Target(identity, self.label(state, "stays; what is half loaded is dropped"))
        if phase == SWAPPED:
            return Target(identity, self.label(state, "the swap is made, the application is not started yet"))
        kept = state.of_kind(KEPT)
        name = self._database or (kept[-1] if kept else "")
        if name not in kept:
            there = ", ".join(kept) or "none"
            raise MitigationRefusedError(f"there is no database '{name}' to swap back; kept by restores: {there}")
        return Target((*identity, name), self.label(state, f"swapped with {name}"))

    def action_of(self, targets: Sequence[Target]) -> str:
        phase = targets[0].identity[2]
        if phase == GIVEN_UP:
            return "give up the restore that was interrupted before its swap: drop what is half loaded, start the application"
        if phase == SWAPPED:
            return "finish the swap that was interrupted: start the application, read again"
        return self.action

    def cost_of(self, targets: Sequence[Target]) -> str:
        if targets[0].identity[2] in (GIVEN_UP, SWAPPED):
            return "none; the application is stopped as it is"
        return self.cost

    def replace(self, state: State, target: Target, lock: Connection) -> str:
        if self.phase(state) == GIVEN_UP:
            return self.give_up(state)
        return super().replace(state, target, lock)

    def prepare(self, state: State, target: Target) -> str:
        if target.identity[3] not in state.of_kind(KEPT):
            raise MitigationRefusedError(f"'{target.identity[3]}' is not there any more; read again")
        return f"the swap back to {target.identity[3]}"

    def make(self, state: State, target: Target) -> str:  # noqa: ARG002  # it is there already
        name = target.identity[3]
        self.log_step(f"count what '{name}' holds")
        self.seen = self.server.contents(name, exact=False)
        return name
