"""The platform's database brought back from a backup, and back again: never half, whatever happens on the way.

The backup is loaded into a database of its own, and what users see changes in one transaction that renames two. What a
run is at stands in the comment on the platform's database before it is done, so that the next run can finish or undo it.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property

from flowrex_ops.errors import BackupError, FlowrexOpsError, MitigationRefusedError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.postgres.backups.application import Application
from flowrex_ops.postgres.backups.database_swap import Server, State, open_server
from flowrex_ops.postgres.backups.databases import Connection, Contents
from flowrex_ops.postgres.backups.journal import KEPT, LOADING, Journal, new_name
from flowrex_ops.waiting import wait_until

_BACK_SECONDS = 30.0
"""How long PostgreSQL, and then the application, are waited for after something went wrong."""


SWAPPED, GIVEN_UP = "swapped", "given up"
"""Phases in which the database that is the platform's already stays it."""


class Swap(Mitigation):
    """Another database takes the place of the platform's: journal, stop, (load,) swap, start. Each step may be the last."""

    causes = ()
    resource = "postgres"

    def __init__(self, context: Context, *, ready_seconds: float) -> None:
        self.context = context
        self.application = Application.of(context, ready_seconds=ready_seconds)
        self._mine = False
        self.seen: Contents | None = None

    @cached_property
    def server(self) -> Server:
        """The server that is configured or was discovered; SourceUnavailableError where there is none."""
        return open_server(self.context.settings, self.context.endpoints)

    @abstractmethod
    def find_target(self, state: State, phase: str) -> Target:
        """The one target; *phase* goes into its identity. BackupError or MitigationRefusedError where there is none."""

    @abstractmethod
    def prepare(self, state: State, target: Target) -> str:
        """Before anything is stopped; returns what the run is about, for the journal."""

    @abstractmethod
    def make(self, state: State, target: Target) -> str:
        """The database that is to be the platform's, checked, while the application is stopped; its name."""

    def phase(self, state: State) -> str:
        """What an earlier run has left, as part of the plan: empty, ``stopped``, or ``swapped``."""
        if state.journal is None:
            return ""
        return SWAPPED if state.journal.swapped and state.journal.slug == self.slug else "stopped"

    def find_targets(self) -> Sequence[Target]:
        try:
            self.server.require_rights()
            state = self.server.look()
            return [self.find_target(state, self.phase(state))]
        except BackupError as error:
            raise MitigationRefusedError(str(error)) from None

    def apply(self, target: Target) -> str:
        with self.server.alone() as lock:
            self._mine = True
            state = self.server.look()
            if self.phase(state) == SWAPPED and state.journal:
                return f"the swap was made by the run of {state.journal.begun}; {self._start(state.journal)}"
            return self.replace(state, target, lock)

    def verify(self, plan: Plan) -> str:
        """The platform's database has what was checked (or more, for it is in use again), and every replica answers from it."""
        state = self.server.look()
        _, oid, phase, *_ = plan.targets[0].identity
        if (str(state.oid) == oid) != (phase in (SWAPPED, GIVEN_UP)):
            raise VerificationError(
                f"'{self.server.live}' is not the database that it should be; plan anew and read the plan"
            )
        ready = self.application.require_ready(self.application.running())
        now = self.server.contents(self.server.live, exact=False)
        missing = sorted((self.seen.tables.keys() if self.seen else set()) - now.tables.keys())
        if missing or state.journal or not ready:
            raise VerificationError(
                f"missing tables: {', '.join(missing) or 'none'}; journal: {state.journal}; {ready} replicas are ready"
            )
        newest = f", newest trade {now.newest:%Y-%m-%d %H:%M:%S} UTC" if now.newest else ""
        kept = (state.of_kind(KEPT) or ["none"])[-1]
        return (
            f"verified: '{self.server.live}' has {now.rows} rows in {len(now.tables)} tables{newest};"
            f" {ready} replicas answer from it; the database from before is '{kept}'"
        )

    def clean_up(self) -> str:
        """Before the swap: as it was. After it: the new data, with the application started."""
        if not self._mine:
            return "nothing was changed"
        if not wait_until(self._answers, seconds=_BACK_SECONDS):
            return "PostgreSQL does not answer, so the application stays stopped; when it is back, run this again"
        with self.server.alone():
            state = self.server.look()
            if state.journal is None:
                return "The platform is as it was"
            if not state.journal.swapped:
                return f"The platform is on the data from before: {self.give_up(state)}"
            try:
                done = self._start(state.journal, seconds=_BACK_SECONDS)
            except VerificationError as error:
                done = str(error)
            return f"The platform is on the new data: {done}; swap-back-database goes back"

    def replace(self, state: State, target: Target, lock: Connection) -> str:
        what = self.prepare(state, target)
        before = state.journal
        stopped = sorted({*(before.stopped if before else ()), *self.application.running()})
        comment = before.comment if before else state.comment
        journal = Journal(self.slug, what, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", tuple(stopped), comment)
        self.log_step(f"write into the comment on '{self.server.live}' that this is under way")
        self.server.note(journal.to_comment())
        self.log_step(f"stop {', '.join(name for _, name in stopped) or 'nothing, for nothing runs'}")
        self.application.stop(stopped)
        new = self.make(state, target)
        kept = new_name(self.server.live, KEPT, datetime.now(UTC), self.server.look().names)
        self.log_step(
            f"rename '{self.server.live}' to '{kept}' and '{new}' to '{self.server.live}', in one transaction"
        )
        # The lock ended if PostgreSQL was started again meanwhile, and somebody else may have it.
        lock.execute("SELECT 1")
        swapped = dataclasses.replace(journal, swapped=True)
        about = (
            f"from before {what} by {self.operator or 'nobody named'}, until {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        self.server.swap(new, kept, comment=swapped.to_comment(), kept_comment=about)
        return f"'{self.server.live}' is {what}; what it was is kept as '{kept}'; {self._start(swapped)}"

    def _start(self, journal: Journal, *, seconds: float | None = None) -> str:
        self.log_step(f"start {', '.join(name for _, name in journal.stopped) or 'nothing, for nothing ran'}")
        ready = self.application.require_ready(journal.stopped, seconds=seconds, start=True)
        self.log_step("note that it is over")
        self.server.note(journal.comment)
        return f"{ready} replicas were started and answer"

    def give_up(self, state: State) -> str:
        """Take away what was half loaded, and have the application run again on what there was."""
        if state.journal is None:
            return "nothing was under way"
        self.log_step("drop what was half loaded")
        self.server.drop(state.of_kind(LOADING))
        return self._start(state.journal, seconds=_BACK_SECONDS)

    def _answers(self) -> bool:
        try:
            self.server.look()
        except FlowrexOpsError:
            return False
        return True

    def label(self, state: State, what: str) -> str:
        left = f"; left by a run of {state.journal.begun}: {state.journal.what}" if state.journal else ""
        return f"database {self.server.live} ({state.size_bytes / 1e6:.1f} MB): {what}{left}"
