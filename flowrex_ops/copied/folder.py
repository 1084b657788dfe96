"""A folder of copies as an investigation asks it: each source reads its files with its own parser, at the time of the copies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from flowrex_ops.archive.readings import REPLAY, without_addresses
from flowrex_ops.compose import Stack
from flowrex_ops.copied.database import CopiedDatabase
from flowrex_ops.copied.files import CERTIFICATES, CLOCK, COMMANDS, LOGS, NGINX, RANGES, REDIS, REDIS_LATER, Files
from flowrex_ops.copied.stack import CopiedStack
from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.discovery.roles import database_url, find_parts
from flowrex_ops.errors import ParameterError, SourceUnavailableError
from flowrex_ops.model import Reading, Replica
from flowrex_ops.reading import Source
from flowrex_ops.settings import Settings

_FROM_STACK = frozenset({"logs", "access log", "stack", "memory"})
"""Sources that ask nobody but the stack."""
_SECTIONS = {"commandstats": "cmdstat_", "errorstats": "errorstat_", "keyspace": r"db\d+$"}
"""Of INFO, those whose lines are told by their names; readers of the others pick theirs out of all."""


class Copies:
    """One folder of copies."""

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.taken_at = self.files.clock()
        self._stack = CopiedStack(self.files)
        self._database = CopiedDatabase(self.files, "")

    def endpoints(self, settings: Settings) -> Endpoints:
        """The platform as the copies show it; there is nobody to ask at any address."""
        replicas, role = tuple[Replica, ...](), ""
        with suppress(SourceUnavailableError):
            replicas = tuple(self._stack.get_replicas())
        stack = cast("Stack", self._stack)
        parts = find_parts(without_addresses(settings), stack, replicas) if replicas else None
        found = parts.settings if parts else without_addresses(settings)
        backend = [one for one in replicas if one.service == found.backend.service]
        url = next((url for one in backend if (url := database_url(one.definition.environment))), "")
        self._database = CopiedDatabase(self.files, settings.postgres.application_role or urlsplit(url).username or "")
        with suppress(SourceUnavailableError):
            role = self._database.role()
        line = f"{self._stack.describe()}, as it was at {self.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        return Endpoints(stack=stack, stack_line=line, replicas=replicas, application_role=role, settings=found)

    def attach(self, sources: Iterable[Source]) -> None:
        """Let *sources* read the files in place of the wire; those of which nothing can be copied answer nothing."""
        wire: Mapping[str, Callable[..., Any]] = {
            "postgres": self._database,
            "redis": self._redis,
            "prometheus": self._ranges,
            "tls": self._certificates,
            "nginx": lambda: self.files.text(NGINX),
            **dict.fromkeys(_FROM_STACK, self.files.text),
        }
        for source in sources:
            source.now = lambda: self.taken_at
            source.copy = wire.get(source.name)
            source.replayed = None if source.name in wire else self._nothing

    def require_sound(self) -> None:
        """ParameterError where a file is broken, or none is known; before anything is started."""
        several = (*COMMANDS, *self.files.each(LOGS, ".log"), *self.files.each(CERTIFICATES, ".pem"))
        known = {*several, *self.files.each(RANGES, ".json")} - {CLOCK}
        if not any((self.files.folder / name).is_file() for name in known):
            raise ParameterError(
                f"'{self.files.folder}' holds no readings of a run, and nothing that is known of a copied site; put {LOGS}/nginx.log"
                " and the like into it, as docs/replay.md says"
            )
        for read in (
            self._stack.get_replicas,
            self._stack.get_usage,
            self._database.sessions,
            self._database.limits,
            self._database.locks,
            self._redis,
            self._certificates,
            lambda: self._ranges("query_range", {"query": ""}),
        ):
            with suppress(SourceUnavailableError):  # not copied, which its reading says
                read()

    def _nothing(self, source: str, what: str, asked: str) -> Reading[Any]:
        error = f"{what} cannot be copied into a folder; run 'flowrex-ops capture' where {source} can be asked"
        return Reading(source, what, error=error, taken_at=self.taken_at, asked=asked)

    def _redis(self) -> list[_Look]:
        import redis

        parse_info = redis.Redis().response_callbacks["INFO"]  # the client's own; it connects to nobody yet
        looks = [REDIS, REDIS_LATER] if (self.files.folder / REDIS_LATER).is_file() else [REDIS]
        found: list[_Look] = []
        for name in looks:
            facts = parse_info(self.files.text(name))
            if "redis_version" not in facts:
                raise self.files.broken(name, "is no INFO of Redis")
            told = facts.get("server_time_usec")
            found.append(_Look(facts, datetime.fromtimestamp(told / 1e6, UTC) if told else self.taken_at))
        return found

    def _ranges(self, what: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Series of the metric that is asked for, of all files; what Prometheus would have to compute is not there."""
        names = str(given.get("query", "")).split(" or ")
        series = []
        for file in self.files.each(RANGES, ".json"):
            body = self.files.json(file)
            try:
                if body["status"] != "success" or body["data"]["resultType"] != "matrix":
                    raise self.files.broken(file, "is no range answer of Prometheus")
                series += [one for one in body["data"]["result"] if one["metric"].get("__name__", "") in names]
            except (LookupError, TypeError, AttributeError):
                raise self.files.broken(file, "is no range answer of Prometheus") from None
        if what != "query_range" or not series:
            raise self.files.missing(f"{RANGES}/METRIC.json", COMMANDS[f"{RANGES}/METRIC.json"])
        window = float(given["start"]), float(given["end"])
        kept = [
            {**one, "values": [pair for pair in one["values"] if window[0] <= float(pair[0]) <= window[1]]}
            for one in series
        ]
        return {"resultType": "matrix", "result": kept}

    def _certificates(self) -> list[dict[str, Any]]:
        from flowrex_ops.tls.certificates import read_file

        found = []
        for name in self.files.each(CERTIFICATES, ".pem"):
            path = self.files.folder / name
            try:
                chain = read_file(path)
            except (OSError, ValueError) as error:
                raise self.files.broken(name, f"holds no certificate that can be read: {error}") from None
            untold = dict.fromkeys(
                ("verify_text", "trust_text"), "a copy shows the chain, and not whether clients trust it"
            )
            own = {"endpoint": path.stem, "server_name": path.stem, "chain": chain, "disk": ()}
            found.append({**own, **untold, "asked_at": self.taken_at, "seconds": 0.0})
        if not found:
            raise self.files.missing(f"{CERTIFICATES}/HOST.pem")
        return found


@dataclass(frozen=True, slots=True)
class _Look:
    """One ``INFO`` as a client gives it, whatever section is asked for."""

    facts: Mapping[str, Any]
    at: datetime

    def info(self, section: str) -> Mapping[str, Any]:
        """The lines of *section*."""
        pattern = _SECTIONS.get(section, "")
        return {name: fact for name, fact in self.facts.items() if re.match(pattern, name)}

    def __getattr__(self, name: str) -> Any:
        raise SourceUnavailableError("a copy of INFO does not tell this; ask Redis where it runs")


def copied() -> Copies | None:
    """What this kernel is to read in place of the platform; None where its readings come from a capture, or from the platform."""
    folder = Path(os.environ.get(REPLAY, ""))
    return Copies(folder) if os.environ.get(REPLAY) and folder.is_dir() else None
