"""What this machine knows of the store, an incident a file in ``.store/`` of the working copy."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flowrex_ops.files import locked, write_atomic

FOLDER = ".store"


@dataclass(frozen=True, slots=True)
class About:
    """One local incident.

    ``manifest`` is the hash of the manifest that both had last, ``seen`` that of the store's own that was looked at last;
    ``name`` is what it is called in the store where that is another name.
    """

    manifest: str = ""
    seen: str = ""
    name: str = ""


class Synced:
    """Kept in *outputs*; what cannot be read counts as never seen."""

    def __init__(self, outputs: Path) -> None:
        self._folder = outputs / FOLDER

    def of(self, local: str) -> About:
        """What is known of the incident that is called *local* here."""
        try:
            value = json.loads((self._folder / f"{local}.json").read_bytes())
            return About(**{key: str(value.get(key) or "") for key in ("manifest", "seen", "name")})
        except (OSError, ValueError, AttributeError):
            return About()

    def note(self, local: str, **changes: str) -> None:
        """Change what is known of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        known = self.of(local)
        value = {"manifest": known.manifest, "seen": known.seen, "name": known.name, **changes}
        write_atomic(self._folder / f"{local}.json", json.dumps(value))

    def held(self, local: str) -> contextlib.AbstractContextManager[int]:
        """Two processes of one machine send an incident one after the other."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return locked(self._folder / f"{local}.lock")

    def local_name(self, remote: str) -> str | None:
        """What the store's *remote* is called here; ``None`` for a copy that is this machine's own under another name."""
        base, plus, machine = remote.partition("+")
        if plus and machine == self.machine and self.of(base).name == remote:
            return None
        return remote

    def seen(self, remote: str) -> str:
        """Hash of the store's manifest of *remote* that was looked at last; empty for never."""
        local = self.local_name(remote)
        return self.of(local).seen if local else ""

    @cached_property
    def machine(self) -> str:
        """This working copy's name among others: the host, and a number of its own."""
        file = self._folder / "machine"
        try:
            return file.read_text(encoding="ascii")
        except (OSError, ValueError):
            self._folder.mkdir(parents=True, exist_ok=True)
            host = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname())[:40]
            name = f"{host}-{secrets.token_hex(2)}"
            write_atomic(file, name)
            return name
