"""As whom PostgreSQL runs: it refuses to run as root, and the sandbox must also work for root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flowrex_ops.errors import SandboxError


@dataclass(frozen=True, slots=True)
class Account:
    """``prefix`` goes before a command line; ``uid`` and ``gid`` are set where the data must belong to another user."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


@cache
def database_account() -> Account:
    """Ourselves; as root, a user namespace in which we are nobody special; where that is forbidden, ``nobody``."""
    if os.geteuid() != 0:
        return Account()
    namespace = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    if _works((*namespace, "true")):
        return Account(namespace)
    nobody = pwd.getpwnam("nobody")
    drop = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--")
    if _works((*drop, "true")):
        return Account(drop, nobody.pw_uid, nobody.pw_gid)
    raise SandboxError(
        "PostgreSQL does not run as root, and neither 'unshare --user' nor 'setpriv' works here;"
        " start the sandbox as an ordinary user"
    )


def can_reach(account: Account, path: Path) -> bool:
    """Whether *account* may enter *path* and list it."""
    return _works((*account.prefix, "test", "-r", str(path), "-a", "-x", str(path)))


def _works(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
