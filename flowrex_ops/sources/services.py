"""The stack's services, asked read-only: which replicas there are, and how they fare."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flowrex_ops.model import Replica
from flowrex_ops.sources.reading import Source, reads
from flowrex_ops.stack import Stack

REPLICA_COLUMNS = ["service", "name", "state", "health", "restarts", "exit_code", "started_at", "version", "addresses"]


class ServicesSource(Source):
    """What Docker or supervisord says of the platform's services."""

    name = "stack"

    def __init__(self, stack: Stack, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack

    @reads("services")
    def get_replicas(self) -> pd.DataFrame:
        """One row a replica, columns ``REPLICA_COLUMNS``; ``started_at`` in UTC."""
        return replicas_frame(self._stack.get_replicas())


def replicas_frame(replicas: Sequence[Replica]) -> pd.DataFrame:
    """Replicas as a DataFrame with ``REPLICA_COLUMNS``."""
    rows = [{column: getattr(replica, column) for column in REPLICA_COLUMNS} for replica in replicas]
    return pd.DataFrame(rows, columns=REPLICA_COLUMNS)
