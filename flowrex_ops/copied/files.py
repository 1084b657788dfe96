"""The files that a folder of copies may hold, how each is copied, and their bounded, checked reading."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrex_ops.compose.logfiles import parse_time
from flowrex_ops.errors import ParameterError, SourceUnavailableError

LOGS, CERTIFICATES, RANGES = "logs", "certificates", "prometheus"
CLOCK, INSPECT, STATS, NGINX = "captured-at.txt", "docker-inspect.json", "docker-stats.json", "nginx-T.txt"
SESSIONS, SERVER, LOCKS = "pg_stat_activity.csv", "pg_settings.csv", "pg_locks.csv"
REDIS, REDIS_LATER = "redis-info.txt", "redis-info-2.txt"
COMMANDS = {
    CLOCK: "date -u +%FT%TZ",
    INSPECT: "docker inspect $(docker compose ps -aq)",
    STATS: "docker stats --no-stream --format '{{json .}}'",
    SESSIONS: "psql -U postgres --csv -c 'SELECT *, pg_blocking_pids(pid) AS blocked_by, clock_timestamp() AS now FROM pg_stat_activity'",
    SERVER: "psql -U postgres --csv -c 'SELECT name, setting FROM pg_settings'",
    LOCKS: "psql -U postgres --csv -c 'SELECT *, relation::regclass AS relation_name FROM pg_locks'",
    REDIS: "redis-cli INFO all",
    REDIS_LATER: "redis-cli INFO all",
    NGINX: "nginx -T",
    f"{LOGS}/SERVICE.log": "docker compose logs --no-log-prefix --no-color --since 2h SERVICE",
    f"{CERTIFICATES}/HOST.pem": "openssl s_client -connect HOST:443 -servername HOST -showcerts </dev/null",
    f"{RANGES}/METRIC.json": "curl -sG localhost:9090/api/v1/query_range -d query=METRIC -d step=15s -d start=… -d end=…",
}
"""What each file is the output of; those of PostgreSQL, Redis and NGINX are run where these run."""
MOST_BYTES = 32 * 2**20
"""Of a file that is no log, of which the newest part is read."""
_TAIL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Files:
    """One folder. What is not in it raises SourceUnavailableError with how to copy it, what is broken ParameterError."""

    folder: Path

    def missing(self, name: str, command: str = "") -> SourceUnavailableError:
        """What is said where *name* was not copied."""
        return SourceUnavailableError(
            f"{name} is not in '{self.folder.name}', or empty: copy it with `{command or COMMANDS[name]} > {name}`"
        )

    def text(self, name: str) -> str:
        """A whole file. One that is empty is what a command leaves that failed: it tells nothing, and not that nothing is there."""
        path = self.folder / name
        if not self._has(path) or not path.stat().st_size:
            raise self.missing(name)
        if path.stat().st_size > MOST_BYTES:
            raise ParameterError(f"'{path}' has more than {MOST_BYTES >> 20} MB; copy less of it")
        try:
            return path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise ParameterError(f"'{path}' cannot be read: {error.strerror}") from None

    def json(self, name: str) -> Any:
        """A file of JSON, or of one JSON object a line, which is a list of them."""
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            try:
                return [json.loads(line) for line in text.splitlines() if line.strip()]
            except (ValueError, RecursionError):
                raise self.broken(name, f"is no JSON: {error}") from None

    def rows(self, name: str, *needed: str) -> list[dict[str, str]]:
        """The rows of a CSV file that has the columns *needed*."""
        try:
            reader = csv.DictReader(io.StringIO(self.text(name)), strict=True)
            found = list(reader)
        except csv.Error as error:
            raise self.broken(name, f"is no CSV: {error}") from None
        if lacks := sorted(set(needed) - set(reader.fieldnames or ())):
            raise self.broken(name, f"has no column {', '.join(lacks)}")
        if any(None in row or None in row.values() for row in found):
            raise self.broken(name, "has a row that is cut off")
        return found

    def broken(self, name: str, why: str) -> ParameterError:
        """What is said of a file that is not what its name says."""
        known = COMMANDS.get(name) or next(how for one, how in COMMANDS.items() if one[:5] == name[:5])
        return ParameterError(f"'{self.folder / name}' {why}; it should be what `{known}` prints")

    def each(self, folder: str, suffix: str) -> list[str]:
        """The names of the files in a folder of the folder."""
        return [
            f"{folder}/{path.name}" for path in sorted((self.folder / folder).glob(f"*{suffix}")) if self._has(path)
        ]

    def _has(self, path: Path) -> bool:
        """Whether it is a file that lies here: a link that somebody sent may lead to what is nobody's business."""
        return path.is_file() and path.resolve().is_relative_to(self.folder.resolve())

    def logs(self, service: str) -> list[Path]:
        """``SERVICE.log``, those of its replicas (``SERVICE-1.log``), and ``SERVICE-access.log`` and ``SERVICE-error.log``."""
        names = re.compile(rf"{LOGS}/{re.escape(service)}(-(\d+|access|error))?\.log")
        own = [self.folder / name for name in self.each(LOGS, ".log") if names.fullmatch(name)]
        if not own:
            name = f"{LOGS}/{service}.log"
            raise self.missing(name, COMMANDS[f"{LOGS}/SERVICE.log"].replace("SERVICE", service))
        return own

    def clock(self) -> datetime:
        """When it was copied: as it says, else the newest line of a log that has a time, else the newest file."""
        if (self.folder / CLOCK).is_file():
            at = parse_time(self.text(CLOCK).strip())
            if at is None:
                raise self.broken(CLOCK, "has no time")
            return at
        logs = [self.folder / name for name in self.each(LOGS, ".log")]
        latest = datetime.now(UTC) + timedelta(days=1)  # a line may say anything
        lines = [at for log in logs for line in _last_lines(log) if (at := parse_time(line)) and at < latest]
        files = (path.stat().st_mtime for deep in ("*", "*/*") for path in self.folder.glob(deep) if path.is_file())
        return max(lines) if lines else datetime.fromtimestamp(max(files, default=0), UTC)


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        return stream.read().decode(errors="replace").splitlines()
