"""What of an investigation mitigations use."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from flowrex_ops.discovery.endpoints import Endpoints
    from flowrex_ops.discovery.services import ServicesSource
    from flowrex_ops.logs.access_log import AccessLogSource
    from flowrex_ops.memory.redis import RedisSource
    from flowrex_ops.metrics.backend import BackendSource
    from flowrex_ops.model import Reading
    from flowrex_ops.postgres.source import PostgresSource
    from flowrex_ops.settings import Settings
    from flowrex_ops.tls.source import TlsSource
    from flowrex_ops.websocket.source import WebSocketSource


class Context(Protocol):
    """Settings, addresses and sources; an ``Investigation`` has them all."""

    settings: Settings
    since: timedelta
    endpoints: Endpoints
    database: PostgresSource
    backend: BackendSource
    redis: RedisSource
    access: AccessLogSource
    services: ServicesSource
    tls: TlsSource
    websocket: WebSocketSource

    def with_replica(self, sessions: Reading[pd.DataFrame]) -> Reading[pd.DataFrame]:
        """Sessions with their replica."""
        ...
