"""Cancel or end PostgreSQL sessions of the application, and no others.

Superusers are never touched, also when the application runs as one (the ``postgres`` image makes POSTGRES_USER a
superuser): the mitigation then has nothing to act on, and says so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import resources
from typing import Any, ClassVar, Self

import pandas as pd
import psycopg

from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Reading, Target
from flowrex_ops.postgres import sessions as s
from flowrex_ops.postgres.source import connect
from flowrex_ops.services.served import Felt, look, require_served
from flowrex_ops.waiting import wait_until

EFFECT_SECONDS = 10.0
"""How long an effect may take to show: a cancelled statement ends at its next interrupt check."""
_NAMED = 5


class SessionMitigation(Mitigation):
    """Acts on single sessions, each known by (pid, backend_start, xact_start): a pid alone is used again by the system."""

    resource = "postgres"
    nothing = "no session fits any more"
    sql: ClassVar[str]
    next_cure = "restart-backend, which gives a replica that keeps the slots of ended sessions a new pool"

    def __init__(
        self,
        *,
        dsn: str,
        role: str,
        get_sessions: Callable[[], Reading[pd.DataFrame]],
        limit_seconds: float,
        get_felt: Callable[[], Felt] | None = None,
    ) -> None:
        """*get_felt* tells what users feel; without it a session that is gone is all that can be verified."""
        self._dsn = dsn
        self._role = role
        self._get_sessions = get_sessions
        self._limit_seconds = limit_seconds
        self._get_felt = get_felt

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """By the connection that is kept for superusers where ordinary ones are refused; *options* are thresholds."""
        endpoints = context.endpoints
        dsn = endpoints.postgres_dsn or ""
        if context.database.refused and endpoints.postgres_reserve_dsn:
            dsn = endpoints.postgres_reserve_dsn
        return cls(
            dsn=dsn,
            role=endpoints.application_role,
            get_sessions=context.database.get_sessions,
            limit_seconds=context.settings.limits.reading_seconds,
            get_felt=lambda: look(context),
            **options,
        )

    @abstractmethod
    def select(self, sessions: pd.DataFrame) -> pd.DataFrame:
        """The rows of *sessions* that call for this mitigation."""

    def find_targets(self) -> Sequence[Target]:
        sessions = self._read()
        chosen = self.select(sessions)
        mine = chosen[chosen["role"].eq(self._role) & ~s.protected(chosen)]
        mine = mine.assign(by_hand=s.by_hand(mine))
        return [_target(row) for _, row in mine.sort_values("pid").iterrows()]

    def apply(self, target: Target) -> str:
        pid, backend_start, xact_start = target.identity
        values = {
            "pid": int(pid),
            "backend_start": datetime.fromisoformat(backend_start),
            "xact_start": datetime.fromisoformat(xact_start) if xact_start else None,
            "role": self._role,
        }
        text = resources.files("flowrex_ops.postgres").joinpath("sql", f"{self.sql}.sql").read_text(encoding="utf-8")
        row = self._execute(text, values)
        if not row or not row["done"]:
            raise MitigationRefusedError(
                f"{target.label} is not the session that was planned any more; nothing was done to it"
            )
        return f"{self.done} {target.label}"

    done: ClassVar[str]

    def verify(self, plan: Plan) -> str:
        """The sessions are gone, and users are served."""
        planned = {target.identity for target in plan.targets}
        left: list[Target] = []

        def gone() -> bool:
            left[:] = [target for target in self.find_targets() if target.identity in planned]
            return not left

        if not wait_until(gone, seconds=EFFECT_SECONDS):
            names = ", ".join(target.label for target in left)
            raise VerificationError(f"still there after {EFFECT_SECONDS:g} s: {names}; look at the sessions again")
        pids = [str(target.identity[0]) for target in plan.targets]
        named = (
            f"PID {pids[0]} is"
            if len(pids) == 1
            else f"PIDs {', '.join(pids[:_NAMED])}{' …' if len(pids) > _NAMED else ''} are"
        )
        gone_text = f"verified: {named} gone"
        return (
            f"{gone_text}; {require_served(self._get_felt, next_cure=self.next_cure)}" if self._get_felt else gone_text
        )

    def _read(self) -> pd.DataFrame:
        reading = self._get_sessions()
        if not reading.available:
            raise SourceUnavailableError(f"the sessions cannot be read: {reading.error}", code=reading.code)
        return reading.require()

    def _execute(self, sql: str, values: dict[str, Any]) -> dict[str, Any] | None:
        connection = connect(self._dsn, limit_seconds=self._limit_seconds, read_only=False)
        try:
            return connection.execute(sql, values).fetchone()
        except psycopg.Error as error:
            text = " ".join(str(error).split())
            raise MitigationRefusedError(
                f"PostgreSQL refused: {text}; grant pg_signal_backend; a superuser's session takes a superuser"
            ) from None
        finally:
            connection.close()


class CancelLongQueries(SessionMitigation):
    """Cancel the statements that run too long; their sessions and pools stay."""

    slug = "cancel-long-queries"
    causes = ("db.long-running-query",)
    action = "cancel the running statement of each session (pg_cancel_backend)"
    cost = "each of these queries fails with an error for whoever waits for it; nothing else is touched"
    undo = "not needed: the sessions stay; the query can be run again"
    sql = "cancel_backend"
    done = "cancelled"

    def __init__(self, *, long_query_seconds: float, **common: Any) -> None:
        super().__init__(**common)
        self._after = long_query_seconds

    def select(self, sessions: pd.DataFrame) -> pd.DataFrame:
        return s.long_running(sessions, after_seconds=self._after)


class TerminateIdleInTransaction(SessionMitigation):
    """End the sessions that sit idle inside a transaction; cancelling does nothing to an idle session."""

    slug = "terminate-idle-in-transaction"
    causes = ("db.idle-in-transaction",)
    action = "end each session (pg_terminate_backend); its open transaction is rolled back"
    cost = "uncommitted work of these sessions is lost; their requests, if any still wait, fail"
    undo = "cannot be undone; most pools open new connections by themselves, the others need restart-backend"
    sql = "terminate_backend"
    done = "ended"

    def __init__(self, *, idle_after_seconds: float, **common: Any) -> None:
        super().__init__(**common)
        self._after = idle_after_seconds

    def select(self, sessions: pd.DataFrame) -> pd.DataFrame:
        return s.idle_in_transaction(sessions, after_seconds=self._after)


class TerminateRootBlocker(SessionMitigation):
    """End the sessions at the roots of the blocking trees; everything behind them goes on."""

    slug = "terminate-root-blocker"
    causes = ("db.lock-contention",)
    action = "end the session at the root of each blocking tree (pg_terminate_backend); its transaction is rolled back"
    cost = "the root's uncommitted work is lost; the sessions that waited go on"
    undo = "cannot be undone; whoever ran it can run it again"
    sql = "terminate_backend"
    done = "ended"

    def select(self, sessions: pd.DataFrame) -> pd.DataFrame:
        return sessions[sessions["pid"].isin(s.root_pids(sessions))]


def _target(row: pd.Series) -> Target:
    started = row["xact_start"]
    identity = (
        str(int(row["pid"])),
        row["backend_start"].isoformat(),
        "" if started is None or pd.isna(started) else started.isoformat(),
    )
    who = f"{row['application'] or row['role']}{' by hand' if row['by_hand'] else ''}"
    return Target(identity, f"PID {int(row['pid'])} ({who}, {row['state']})")
