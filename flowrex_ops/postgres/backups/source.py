"""Backups in a folder of this machine: how old, how large, whether they are what was written, whether they can be read."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import BackupError, FlowrexOpsError, SourceUnavailableError
from flowrex_ops.postgres.backups.login import MAINTENANCE, get_login
from flowrex_ops.postgres.backups.tools import Tools, find_tools
from flowrex_ops.postgres.source import connect
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import Settings

SUFFIX = ".dump"
CHECKSUM_SUFFIX = ".sha256"
BACKUP_COLUMNS = ["name", "taken_at", "age_seconds", "size_bytes", "checksum", "readable", "tables", "server", "detail"]
_PIECE_BYTES = 1 << 20
_SHARE = 0.7
"""The part of a reading's time limit that is spent on looking into files."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive's table of contents says."""

    server: str
    tables: int


class BackupsSource(Source):
    """The backups in *folder*; *find_tools* gives what reads them."""

    name = "backups"

    def __init__(self, folder: Path, find_tools: Callable[[], Tools], *, limit_seconds: float, limit_rows: int) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._folder = folder
        self._find_tools = find_tools

    @reads("backups")
    def get_backups(self) -> pd.DataFrame:
        """Newest first; columns ``BACKUP_COLUMNS``. As many are looked into as the time limit allows, the others say so.

        ``checksum`` is ``matches``, ``differs``, ``none`` or ``not read``; ``readable`` is missing where nobody looked.
        """
        deadline = time.monotonic() + self.limit_seconds * _SHARE
        files = list_backups(self._folder)[: self.limit_rows]
        tools, complaint = self._tools()
        rows = [self._row(file, tools, complaint, deadline) for file in files]
        return pd.DataFrame(rows, columns=BACKUP_COLUMNS)

    def _tools(self) -> tuple[Tools | None, str]:
        try:
            return self._find_tools(), ""
        except FlowrexOpsError as error:
            return None, str(error)

    def _row(self, file: Path, tools: Tools | None, complaint: str, deadline: float) -> tuple[object, ...]:
        facts = file.stat()
        taken = datetime.fromtimestamp(facts.st_mtime, UTC)
        age = (datetime.now(UTC) - taken).total_seconds()
        head = (file.name, taken, age, facts.st_size)
        left = deadline - time.monotonic()
        if left <= 0:
            return *head, "not read", None, None, "", "no time was left to look into it"
        checksum = compare_checksum(file, deadline=deadline)
        if tools is None:
            return *head, checksum, None, None, "", complaint
        try:
            archive = parse_list(tools.list_archive(file, timeout_seconds=max(0.5, left)))
        except BackupError as error:
            return *head, checksum, False, None, "", str(error)
        except SourceUnavailableError as error:
            return *head, checksum, None, None, "", str(error)
        return *head, checksum, True, archive.tables, archive.server, ""


def open_tools(settings: Settings, endpoints: Endpoints) -> Tools:
    """What reads and writes archives of the server's version. SourceUnavailableError or BackupError say what is missing."""
    login = get_login(settings, endpoints)
    connection = connect(login.conninfo(MAINTENANCE), limit_seconds=settings.limits.reading_seconds)
    with contextlib.closing(connection):
        major = connection.info.server_version // 10_000
    return find_tools(settings, endpoints, login, major=major)


def list_backups(folder: Path) -> list[Path]:
    """The archives in *folder*, newest first; SourceUnavailableError where it cannot be listed."""
    try:
        found = [file for file in folder.iterdir() if file.suffix == SUFFIX and not file.name.startswith(".")]
        return sorted(found, key=lambda file: (file.stat().st_mtime, file.name), reverse=True)
    except FileNotFoundError:
        raise SourceUnavailableError(
            f"folder '{folder}' does not exist; take a backup with 'flowrex-ops backup' or set backup.folder"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceUnavailableError(f"folder '{folder}' cannot be read: {reason}; correct backup.folder") from None


def checksum_file(file: Path) -> Path:
    """``x.dump.sha256``, as ``sha256sum`` writes and checks it."""
    return file.with_name(file.name + CHECKSUM_SUFFIX)


def compare_checksum(file: Path, *, deadline: float | None = None) -> str:
    """``matches``, ``differs``, ``none`` (there is no checksum), or ``not read`` after *deadline*."""
    try:
        words = checksum_file(file).read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return "none"
    found = hash_file(file, deadline=deadline)
    if found is None:
        return "not read"
    return "matches" if words and words[0].lower() == found else "differs"


def hash_file(file: Path, *, deadline: float | None = None) -> str | None:
    """SHA-256 of *file*; ``None`` when *deadline* (monotonic) passes first."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            if deadline is not None and time.monotonic() > deadline:
                return None
    return digest.hexdigest()


def parse_list(text: str) -> Archive:
    """What ``pg_restore --list`` says."""
    server = re.search(r"^;\s+Dumped from database version: (\S+)", text, re.MULTILINE)
    tables = len(re.findall(r"^\d+; \d+ \d+ TABLE DATA ", text, re.MULTILINE))
    return Archive(server[1] if server else "", tables)
