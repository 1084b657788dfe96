"""What of an investigation mitigations use."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

import pandas as pd

from flowrex_ops.model import Reading
from flowrex_ops.settings import Settings
from flowrex_ops.sources.access_log import AccessLogSource
from flowrex_ops.sources.backend import BackendSource
from flowrex_ops.sources.endpoints import Endpoints
from flowrex_ops.sources.postgres import PostgresSource
from flowrex_ops.sources.redis import RedisSource
from flowrex_ops.sources.services import ServicesSource
from flowrex_ops.sources.tls import TlsSource
from flowrex_ops.sources.websocket import WebSocketSource


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
