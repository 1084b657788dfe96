"""What a sandbox remembers of itself: ``state.json`` in its home, readable by its owner only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flowrex_ops.errors import SandboxError

STATE_FILE = "state.json"
VERSION = "1.4.2"
"""The release that the stand-in platform runs."""
BROKER_ACCOUNT = "101-004-1234567-001"


def _secret() -> str:
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class State:
    """Ports by purpose (``postgres``, ``redis``, ``http``, ``backend-1`` …), passwords and places of one sandbox.

    ``run_dir`` holds the sockets, ``data_dir`` the database; both are in the home unless that cannot be (a path too
    long for a socket, a home that the database's user may not enter). ``version`` is the backend's release, ``defects``
    the names of those that it brings (see ``backend/app/defects.py``).
    """

    stack: str
    name: str
    home: str
    replicas: int
    ports: dict[str, int]
    run_dir: str
    data_dir: str
    version: str = VERSION
    defects: str = ""
    app_password: str = field(default_factory=_secret, repr=False)
    admin_password: str = field(default_factory=_secret, repr=False)
    reporting_password: str = field(default_factory=_secret, repr=False)
    broker_token: str = field(default_factory=_secret, repr=False)
    sentry_token: str = field(default_factory=_secret, repr=False)
    grafana_token: str = field(default_factory=_secret, repr=False)

    def dsn(self, role: str, database: str = "flowrex") -> str:
        """PostgreSQL as ``flowrex`` (the application), ``postgres`` (the superuser) or ``reporting`` (an outside client)."""
        passwords = {"flowrex": self.app_password, "postgres": self.admin_password}
        password = passwords.get(role, self.reporting_password)
        return f"postgresql://{role}:{password}@127.0.0.1:{self.ports['postgres']}/{database}"

    @property
    def released_defects(self) -> str:
        """``1.5.0:name,name`` as the backend takes it; empty for a release without any."""
        return f"{self.version}:{self.defects}" if self.defects else ""


def default_name(home: Path) -> str:
    """``flowrex-1a2b3c``: the same for the same home, another for another."""
    return f"flowrex-{hashlib.sha256(str(home).encode()).hexdigest()[:6]}"


def read_state(home: Path) -> State | None:
    """The state of the sandbox at *home*, or ``None`` when there is none."""
    file = home / STATE_FILE
    try:
        return State(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SandboxError(
            f"'{file}' cannot be read: {error}; run 'flowrex-ops sandbox down' and start again"
        ) from None


def write_state(state: State) -> None:
    """Write ``state.json`` whole or not at all."""
    file = Path(state.home) / STATE_FILE
    write_private(file, json.dumps(asdict(state), indent=2) + "\n")


def write_private(file: Path, text: str) -> None:
    """Write *text* to *file* by way of a temporary file that only the owner can read."""
    temporary = file.with_name(file.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(file)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One ``up`` or ``down`` at a time per home; the second waits."""
    home.parent.mkdir(parents=True, exist_ok=True)
    file = home.parent / f".{home.name}.lock"
    while True:
        with file.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not file.exists() or file.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                continue  # whoever held the lock before us has removed this file
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return
