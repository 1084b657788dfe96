"""The stack's services, asked read-only: which replicas there are, and how they fare."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.compose.project import FILES, FOLDER
from flowrex_ops.discovery.roles import serves
from flowrex_ops.model import Replica, Usage
from flowrex_ops.reading import Source, reads

REPLICA_COLUMNS = [
    "service",
    "name",
    "state",
    "health",
    "restarts",
    "oom_killed",
    "exit_code",
    "started_at",
    "version",
    "addresses",
    "created_at",
]
USAGE_COLUMNS = ["service", "name", "memory_bytes", "memory_limit_bytes", "memory_share", "cpu_percent"]
DISK_COLUMNS = [
    "where",
    "mount",
    "used_bytes",
    "total_bytes",
    "used_share",
    "inodes_total",
    "inodes_share",
    "read_only",
]

ENDED = "ended"
"""The state of what ended well by itself and may be a job: nothing tells that it is to run."""
_MAY_END = ("no", "on-failure")
_DEPENDS_ON = "com.docker.compose.depends_on"
_IN_FILE = re.compile(r"([\w.-]+)[\"']?:\s*\{?\s*[\"']?condition[\"']?:\s*[\"']?service_completed_successfully\b")
_AWAITED = re.compile(r"([^,:]+):service_completed_successfully\b")
"""A migration and the like: https://docs.docker.com/reference/compose-file/services/#depends_on; Compose keeps it as a label."""


class ServicesSource(Source):
    """What Docker or supervisord says of the platform's services."""

    name = "stack"

    def __init__(self, stack: Stack, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack

    @reads("resource usage", extra_seconds="window_seconds")
    def sample_usage(self, *, window_seconds: float = 0.5) -> pd.DataFrame:
        """Memory now, CPU over the window; columns ``USAGE_COLUMNS``, one row a running replica.

        ``cpu_percent`` is of one core, ``memory_limit_bytes`` missing where there is none.
        """
        started = time.monotonic()
        if self.copy:  # one look, at the second before it
            seen = self._stack.get_usage()
            return usage_frame({one.name: replace(one, cpu_seconds=0.0) for one in seen}, seen, 1.0)
        before = {usage.name: usage for usage in self._stack.get_usage()}
        time.sleep(max(0.0, window_seconds - (time.monotonic() - started)))
        seconds = time.monotonic() - started
        return usage_frame(before, self._stack.get_usage(), seconds)

    @reads("disks")
    def get_disks(self) -> pd.DataFrame:
        """Filesystems that the services write to; columns ``DISK_COLUMNS``.

        ``inodes_share`` is 0 where they cannot run out, ``read_only`` says that one is which was mounted to be written to.
        """
        found = self._stack.get_disks(timeout_seconds=self.limit_seconds * 0.8)
        rows = [
            (
                disk.where,
                disk.mount,
                disk.used_bytes,
                disk.total_bytes,
                disk.used_bytes / max(1, disk.total_bytes),
                disk.inodes_total,
                None if disk.inodes_used is None else disk.inodes_used / max(1, disk.inodes_total or 0),
                disk.read_only,
            )
            for disk in found
        ]
        return pd.DataFrame(rows, columns=DISK_COLUMNS).astype({"read_only": object})

    @reads("services")
    def get_replicas(self) -> pd.DataFrame:
        """One row a replica, columns ``REPLICA_COLUMNS``; ``started_at`` in UTC. What was to end, and has, is none; what may be such, ``ENDED``."""
        replicas = self._stack.get_replicas()
        ended = [one for one in replicas if one.exit_code == 0]
        awaited = _awaited(replicas) if ended else set()
        left = [one for one in replicas if one not in ended or one.service not in awaited]
        return replicas_frame([replace(one, state=ENDED) if _may_be_job(one, replicas) else one for one in left])


def _may_be_job(one: Replica, replicas: Sequence[Replica]) -> bool:
    """Whether it ended well where it was allowed to, looks like no server, and no other replica knows it by name."""
    if one.exit_code != 0 or one.definition.restart_policy not in _MAY_END or serves(one):
        return False
    name = re.compile(rf"(?<![\w.-]){re.escape(one.service)}(?![\w-])")
    made = [other.definition for other in replicas if other.service != one.service]
    return not any(
        name.search(text) for d in made for text in (d.command, d.labels.get(_DEPENDS_ON, ""), *d.environment.values())
    )


def _awaited(replicas: Sequence[Replica]) -> set[str]:
    """Services that are to end, by the label of whoever waits, or by compose's files: ``up --no-deps`` writes no such label."""
    told = [one.definition.labels for one in replicas]
    found = {name for labels in told for name in _AWAITED.findall(labels.get(_DEPENDS_ON, ""))}
    files = {Path(labels.get(FOLDER, ""), file) for labels in told for file in labels.get(FILES, "").split(",") if file}
    for file in files:
        with suppress(OSError, UnicodeError):
            found.update(_IN_FILE.findall(file.read_text(encoding="utf-8")))
    return found


def replicas_frame(replicas: Sequence[Replica]) -> pd.DataFrame:
    """Replicas as a DataFrame with ``REPLICA_COLUMNS``."""
    rows = [{column: getattr(replica, column) for column in REPLICA_COLUMNS} for replica in replicas]
    return pd.DataFrame(rows, columns=REPLICA_COLUMNS)


def usage_frame(before: Mapping[str, Usage], after: Sequence[Usage], seconds: float) -> pd.DataFrame:
    """Two samples as a DataFrame with ``USAGE_COLUMNS``; a replica that was not there before has no ``cpu_percent``."""
    rows = [
        (
            usage.service,
            usage.name,
            float(usage.memory_bytes),
            float(usage.memory_limit_bytes) if usage.memory_limit_bytes else None,
            usage.memory_bytes / usage.memory_limit_bytes if usage.memory_limit_bytes else None,
            100 * max(0.0, usage.cpu_seconds - before[usage.name].cpu_seconds) / max(seconds, 0.001)
            if usage.name in before
            else None,
        )
        for usage in after
    ]
    return pd.DataFrame(rows, columns=USAGE_COLUMNS)
