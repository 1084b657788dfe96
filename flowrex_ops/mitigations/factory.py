"""Give a mitigation what it needs from the investigation that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
from psycopg.conninfo import conninfo_to_dict

from flowrex_ops.checks.pools import leaking_replicas
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.mitigations import find
from flowrex_ops.mitigations.guard import Mitigation
from flowrex_ops.model import Reading
from flowrex_ops.settings import Settings
from flowrex_ops.sources.backend import BackendSource
from flowrex_ops.sources.endpoints import Endpoints
from flowrex_ops.sources.postgres import PostgresSource


class Context(Protocol):
    """What of an investigation mitigations use."""

    settings: Settings
    endpoints: Endpoints
    database: PostgresSource
    backend: BackendSource

    def with_replica(self, sessions: Reading[pd.DataFrame]) -> Reading[pd.DataFrame]:
        """Sessions with their replica."""
        ...


def build(slug: str, context: Context, options: Mapping[str, Any]) -> Mitigation:
    """The mitigation named *slug*, wired to the context's sources; *options* are its thresholds."""
    if slug == "restart-backend":
        return find(slug)(**_for_backend(context, options))
    return find(slug)(**_for_sessions(context), **options)


def _for_sessions(context: Context) -> dict[str, Any]:
    dsn = context.endpoints.postgres_dsn or ""
    if context.database.refused and context.endpoints.postgres_reserve_dsn:
        dsn = context.endpoints.postgres_reserve_dsn
    role = context.settings.postgres.application_role or conninfo_to_dict(context.endpoints.postgres_dsn or "").get(
        "user"
    )
    return {
        "dsn": dsn,
        "role": str(role or ""),
        "get_sessions": context.database.get_sessions,
        "limit_seconds": context.settings.limits.reading_seconds,
    }


def _for_backend(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stack": context.endpoints.stack,
        "service": context.settings.backend.service,
        "port": context.settings.backend.port,
        "get_leaking": _leaking(context, **options),
        "request_seconds": context.settings.limits.reading_seconds,
    }


def _leaking(context: Context, *, idle_after_seconds: float) -> Callable[[], Sequence[str]]:
    def get_leaking() -> Sequence[str]:
        pools = context.backend.sample_pools()
        sessions = context.with_replica(context.database.get_sessions())
        for reading in (pools, sessions):
            if not reading.available:
                raise SourceUnavailableError(f"which replicas leak cannot be read: {reading.error}")
        return leaking_replicas(pools.require(), sessions.require(), idle_after_seconds=idle_after_seconds)

    return get_leaking
