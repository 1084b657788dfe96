"""Backups taken, checked, and tried out by a restore into a scratch database.

A backup is read to its end before it gets its name: ``pg_restore --list`` reads the table of contents alone, and is
content with a file that was cut off in the middle.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import BackupError
from flowrex_ops.postgres.backups.database_swap import Server, open_server
from flowrex_ops.postgres.backups.databases import Contents
from flowrex_ops.postgres.backups.journal import VERIFYING, Journal, new_name
from flowrex_ops.postgres.backups.source import (
    SUFFIX,
    Archive,
    checksum_file,
    compare_checksum,
    hash_file,
    list_backups,
    open_tools,
    parse_list,
)
from flowrex_ops.postgres.backups.tools import Tools, last_words
from flowrex_ops.settings import Settings

Say = Callable[[str], None]
PARTIAL = ".partial"
BEFORE = "before-restore"
"""In the names of backups that a restore takes first: what they hold is what one wants to get away from."""

_SAY_SECONDS = 2.0


class BackupStore:
    """The backups in *folder* and the *server* that they are of."""

    def __init__(self, server: Server, tools: Tools, folder: Path, *, seconds: float) -> None:
        self.server = server
        self.folder = folder
        self._tools = tools
        self._seconds = seconds

    @classmethod
    def open(cls, settings: Settings, endpoints: Endpoints) -> Self:
        """Asks the server's version; SourceUnavailableError or BackupError where there is no server or no program for it."""
        server, tools = open_server(settings, endpoints), open_tools(settings, endpoints)
        return cls(server, tools, settings.backup.folder, seconds=settings.backup.seconds)

    def take(self, say: Say, *, about: str = "") -> Path:
        """``pg_dump -Fc`` into a partial file, read to its end, and only then given its name, with its checksum beside it.

        BackupError where anything fails; the partial file is gone then.
        """
        self._make_folder()
        self._sweep()
        stem = "-".join(part for part in (self.server.live, about, f"{datetime.now(UTC):%Y%m%d_%H%M%S}") if part)
        names = (f"{stem}{f'_{number}' if number else ''}{SUFFIX}" for number in range(1000))
        file = next(self.folder / name for name in names if not (self.folder / name).exists())
        partial = file.with_name(f".{file.name}{PARTIAL}")
        try:
            self._dump(partial, say)
            self.check(partial, say)
            self._keep(partial, file)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BackupError(f"backup '{file}' cannot be written: {reason}; make room there and try again") from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return file

    def choose(self, name: str = "") -> Path:
        """The backup of that name, or the newest that no restore took first; BackupError names what there is."""
        files = list_backups(self.folder)
        if name:
            found = [file for file in files if file.name == name]
        else:
            found = [file for file in files if BEFORE not in file.name]
        if not found:
            wanted = f"backup '{name}' is not" if name else "no backup to restore is"
            there = ", ".join(file.name for file in files[:10]) or "none"
            raise BackupError(f"{wanted} in '{self.folder}'; there are: {there}; take one with 'flowrex-ops backup'")
        return found[0]

    def look(self, file: Path) -> Archive:
        """What the table of contents says; BackupError where that cannot be read or is of a later server than ours."""
        archive = parse_list(self._tools.list_archive(file, timeout_seconds=self._seconds))
        major = self.server.major()
        if archive.server and int(archive.server.partition(".")[0]) > major:
            raise BackupError(
                f"'{file.name}' is of PostgreSQL {archive.server}, the server is {major}; restore it into a server as new"
            )
        return archive

    def check(self, file: Path, say: Say = lambda _text: None) -> Archive:
        """The whole of *file* is read, as a restore would; BackupError where it is not what was written, or cut off."""
        if compare_checksum(file) == "differs":
            raise BackupError(f"'{file.name}' is not what was written: its checksum differs; take another backup")
        archive = self.look(file)
        say(f"reading all of {file.name}: {archive.tables} tables")
        self._tools.read_through(file, timeout_seconds=self._seconds)
        return archive

    def load(self, file: Path, database: str, say: Say) -> Contents:
        """Load *file* into *database*, which is there and empty, and check what came of it; BackupError says what is wrong."""
        archive = self.look(file)
        self._tools.load(
            file, self.server.login, database, timeout_seconds=self._seconds, on_tick=_Ticker(say, "loading")
        )
        say("gathering statistics (ANALYZE) and counting rows")
        self.server.analyze(database)
        contents = self.server.contents(database)
        # Partitioned tables have no rows of their own, so there may be fewer with data than the archive has entries.
        if len(contents.tables) < archive.tables:
            raise BackupError(
                f"'{file.name}' has {archive.tables} tables, {len(contents.tables)} were loaded; take another backup"
            )
        if contents.doubtful:
            named = ", ".join(sorted(contents.doubtful))
            say(f"not valid, as in the backup: {named}")
        return contents

    def test(self, file: Path, say: Say) -> Contents:
        """Restore *file* into a scratch database, check it, drop it."""
        self.check(file, say)
        with self.server.alone():
            found = self.server.look()
            self.server.drop(found.of_kind(VERIFYING))
            name = new_name(self.server.live, VERIFYING, datetime.now(UTC), found.names)
            say(f"restoring into {name}")
            journal = Journal("backup", f"test restore of {file.name}", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
            try:
                self.server.create(name, journal.to_comment())
                return self.load(file, name, say)
            finally:
                self.server.drop([name])

    def _dump(self, partial: Path, say: Say) -> None:
        expected = self.server.look().size_bytes
        login = self.server.login
        with _locked(partial) as stream:

            def reported() -> str:
                return f"{partial.stat().st_size / 1e6:.1f} MB written; the database has {expected / 1e6:.1f} MB"

            done = self._tools.pipe(
                ["pg_dump", "--format=custom", "--no-password", "--lock-wait-timeout=30s",
                 f"--dbname={self._tools.argument(login, login.database)}"],
                environment=login.environment(),
                stdin=None,
                stdout=stream,
                timeout_seconds=self._seconds,
                on_tick=_Ticker(say, reported),
            )  # fmt: skip
            if done.exit_code != 0:
                raise BackupError(f"pg_dump failed: {last_words(done)}; nothing was kept, put that right and try again")
            os.fsync(stream.fileno())

    def _keep(self, partial: Path, file: Path) -> None:
        """The checksum is there before the backup is, so that none is ever without."""
        checksum = checksum_file(file)
        waiting = checksum.with_name(f".{checksum.name}{PARTIAL}")
        try:
            with os.fdopen(_open_private(waiting), "w", encoding="ascii") as stream:
                stream.write(f"{hash_file(partial)}  {file.name}\n")
                stream.flush()
                os.fsync(stream.fileno())
            waiting.replace(checksum)
            partial.replace(file)
        except OSError:
            waiting.unlink(missing_ok=True)
            checksum.unlink(missing_ok=True)
            raise
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BackupError(f"folder '{self.folder}' cannot be made: {reason}; correct backup.folder") from None

    def _sweep(self) -> None:
        """Take away what runs that were killed have left; those that still write hold a lock."""
        for left in self.folder.glob(f".*{PARTIAL}"):
            with suppress(OSError), left.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


class _Ticker:
    """Says how far it is, now and then."""

    def __init__(self, say: Say, what: str | Callable[[], str]) -> None:
        self._say = say
        self._what = what
        self._began = self._said = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            what = self._what if isinstance(self._what, str) else self._what()
            self._say(f"{what}, {format_seconds(now - self._began)} so far")


@contextmanager
def _locked(file: Path) -> Iterator[IO[bytes]]:
    """*file* open for writing, for its owner only, and locked for as long as anybody writes to it."""
    with os.fdopen(_open_private(file), "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield stream


def _open_private(file: Path) -> int:
    """For its owner only: backups hold everything that users have told."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
