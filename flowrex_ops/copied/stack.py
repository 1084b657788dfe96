"""The stack as ``docker inspect``, ``docker stats`` and copied logs show it: it can be read, and nothing runs in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from flowrex_ops.compose.logfiles import merge_by_time, read_log_chunks, read_log_file
from flowrex_ops.compose.project import SERVICE
from flowrex_ops.compose.stack import NUMBER, replica_of
from flowrex_ops.copied.files import INSPECT, STATS, Files
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import LogLine, Replica, Usage

_CONTAINER = re.compile(r"(?:.*[-_])?(?P<service>[^-_]+)[-_](?P<number>\d+)")
_SIZE = re.compile(r"([\d.]+)\s*([kKMGT]?)(i?)B")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class CopiedStack:
    """The read-only half of ``Stack``; the other half is refused."""

    kind = "replay"

    def __init__(self, files: Files) -> None:
        self._files = files

    def describe(self) -> str:
        """Which folder it is."""
        return f"files in '{self._files.folder.name}'"

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        """Those of ``docker inspect``."""
        found = [replica for _, replica, _ in self._containers() if service in (None, replica.service)]
        return sorted(found, key=lambda replica: (replica.service, replica.name))

    def get_usage(self, service: str | None = None) -> Sequence[Usage]:
        """Those of ``docker stats``; the limit is what ``docker inspect`` says, for without one the machine's memory is shown.

        ``cpu_seconds`` are those of one second.
        """
        known = {name: (replica, limit) for name, replica, limit in self._containers()}
        usages = []
        for line in _listed(self._files, STATS):
            try:
                used, name = _bytes(str(line["MemUsage"]).partition("/")[0]), str(line["Name"])
                cpu = float(str(line["CPUPerc"]).rstrip("%")) / 100
            except (KeyError, ValueError) as error:
                raise self._files.broken(STATS, f"has no memory or CPU that can be read: {error}") from None
            if name in known:  # else of another project, or gone before it was inspected
                replica, limit = known[name]
                usages.append(Usage(replica.service, replica.name, used, limit or None, cpu))
        return [one for one in usages if service in (None, one.service)]

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        """Of all files of the service by time."""
        logs = self._files.logs(service)
        share = max_bytes // len(logs)
        streams = [read_log_file(log, service=service, replica=log.stem, since=since, max_bytes=share) for log in logs]
        return merge_by_time(streams)

    def read_log_chunks(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[bytes]:
        """The same as bytes, one file after another."""
        logs = self._files.logs(service)
        return (piece for log in logs for piece in read_log_chunks(log, since=since, max_bytes=max_bytes // len(logs)))

    def __getattr__(self, name: str) -> Any:
        raise StackUnavailableError("these are copied files: nothing can be asked or changed where they come from")

    def _containers(self) -> Iterator[tuple[str, Replica, int]]:
        """The name, the replica, and the limit of its memory (0 for none) of each container that is inspected."""
        for one in _listed(self._files, INSPECT):
            try:
                name = str(one["Name"]).lstrip("/")
                labels = one["Config"].get("Labels") or {}
                own = _CONTAINER.fullmatch(name)
                given = {SERVICE: own["service"] if own else name, NUMBER: own["number"] if own else "1"}
                configured = {**one["Config"], "Labels": {**given, **labels}}
                limit = int((one.get("HostConfig") or {}).get("Memory") or 0)
                yield name, replica_of({**one, "Config": configured}), limit
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise self._files.broken(INSPECT, f"has no whole container: {type(error).__name__} {error}") from None


def _listed(files: Files, name: str) -> list[dict[str, Any]]:
    found = files.json(name)
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in listed):
        raise files.broken(name, "has something else than containers")
    if not listed:
        raise files.missing(name)
    return listed


def _bytes(text: str) -> int:
    """Of ``123.4MiB``, as ``docker stats`` writes it."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text.strip())
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])
