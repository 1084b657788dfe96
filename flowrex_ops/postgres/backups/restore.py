"""A backup becomes the platform's data; what that was is kept.

The application stops before the backup is loaded, not only for the swap: for trades that are accepted and then vanish
users have less understanding than for a page that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from flowrex_ops.errors import BackupError, MitigationRefusedError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Target
from flowrex_ops.postgres.backups.backup import BEFORE, BackupStore
from flowrex_ops.postgres.backups.database_swap import State
from flowrex_ops.postgres.backups.journal import LOADING, new_name
from flowrex_ops.postgres.backups.source import compare_checksum
from flowrex_ops.postgres.backups.swap import SWAPPED, Swap


class RestoreDatabase(Swap):
    """A backup takes the place of the platform's data."""

    slug = "restore-database"
    action = (
        "take and check a fresh backup; stop the application; load the backup into a new database; check it;"
        " swap the two by rename in one transaction; start the application; read again"
    )
    cost = (
        "the application is down from the stop to the start; every session in the database ends; what was written since"
        " the backup is no longer there for users (it stays in the database that is kept); the server holds both meanwhile"
    )
    undo = "swap-back-database: the database from before is kept, and a fresh backup of it is taken first"

    def __init__(self, context: Context, *, backup: str = "", ready_seconds: float = 60.0) -> None:
        super().__init__(context, ready_seconds=ready_seconds)
        self._backup = backup

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """*backup* is a file's name in ``backup.folder``; without it the newest that no restore took first."""
        return cls(context, **options)

    @cached_property
    def _backups(self) -> BackupStore:
        return BackupStore.open(self.context.settings, self.context.endpoints)

    def find_target(self, state: State, phase: str) -> Target:
        identity: tuple[str, ...] = (self.server.live, str(state.oid), phase)
        if phase == SWAPPED:
            return Target(identity, self.label(state, "the swap is made, the application is not started yet"))
        file = self._backups.choose(self._backup)
        checksum = compare_checksum(file)
        if checksum == "differs":
            raise MitigationRefusedError(f"'{file.name}' is not what was written: its checksum differs; name another")
        archive = self._backups.look(file)
        facts = file.stat()
        taken = datetime.fromtimestamp(facts.st_mtime, UTC)
        about = f"{archive.tables} tables, {facts.st_size / 1e6:.2f} MB, checksum {checksum}"
        identity += (file.name, str(facts.st_size), str(facts.st_mtime_ns))
        return Target(identity, self.label(state, f"from {file.name} of {taken:%Y-%m-%d %H:%M:%S} UTC ({about})"))

    def action_of(self, targets: Sequence[Target]) -> str:
        if targets[0].identity[2] == SWAPPED:
            return "finish the restore that was interrupted after its swap: start the application, read again"
        return self.action

    def cost_of(self, targets: Sequence[Target]) -> str:
        if targets[0].identity[2] == SWAPPED:
            return "none; the application is stopped as it is"
        return self.cost

    def prepare(self, state: State, target: Target) -> str:
        if leftovers := state.of_kind(LOADING):
            self.log_step(f"drop {', '.join(leftovers)}, which an earlier run has left half loaded")
            self.server.drop(leftovers)
        file = self._file(target)
        self.log_step(f"read all of {file.name}")
        self._backups.check(file)
        self.log_step(f"take a fresh backup of '{self.server.live}' and check it")
        fresh = self._backups.take(self._say, about=BEFORE)
        return f"the restore of {file.name} (fresh backup: {fresh.name})"

    def make(self, state: State, target: Target) -> str:
        file = self._file(target)
        name = new_name(self.server.live, LOADING, datetime.now(UTC), state.names)
        self.log_step(f"make database '{name}'")
        self.server.create(name, f"being loaded from {file.name}")
        self.log_step(f"load {file.name} into it and check what came of it")
        self.seen = loaded = self._backups.load(file, name, self._say)
        live = self.server.contents(self.server.live, exact=False)
        if live.rows and not loaded.rows:
            raise BackupError(f"'{file.name}' holds no row, the database holds {live.rows}; name another backup")
        gone = sorted(live.tables.keys() - loaded.tables.keys())
        self.log_step(
            f"checked: {len(loaded.tables)} tables with {loaded.rows} rows, newest trade {loaded.newest};"
            f" before: {len(live.tables)} with about {live.rows}, newest trade {live.newest};"
            f" tables that the backup does not have: {', '.join(gone) or 'none'}"
        )
        return name

    def _file(self, target: Target) -> Path:
        name, size, changed = target.identity[3:]
        file = self._backups.choose(name)
        facts = file.stat()
        if (str(facts.st_size), str(facts.st_mtime_ns)) != (size, changed):
            raise MitigationRefusedError(f"'{name}' is not the file that was planned any more; read again")
        return file

    def _say(self, text: str) -> None:
        self.log_step(text)
