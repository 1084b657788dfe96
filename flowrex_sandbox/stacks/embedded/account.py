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
    """Ourselves; as root, ``nobody`` in a user namespace of our own; where that is forbidden, the real ``nobody``.

    The namespace maps only the number: files stay ours, so that a home that is closed to others will do. It takes a
    number that has a name, because ``initdb`` asks for the name; a user without one gets the same treatment as root.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Account()
    nobody = pwd.getpwnam("nobody")
    namespace = ("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--")
    if _works((*namespace, "true")):
        return Account(namespace)
    drop = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--")
    if _works((*drop, "true")):
        return Account(drop, nobody.pw_uid, nobody.pw_gid)
    raise SandboxError(
        f"PostgreSQL does not run as user {os.geteuid()}, and neither 'unshare --user' nor 'setpriv' works here;"
        " start the sandbox as an ordinary user"
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def can_reach(account: Account, path: Path) -> bool:
    """Whether *account* may enter *path* and list it."""
    return _works((*account.prefix, "test", "-r", str(path), "-a", "-x", str(path)))


def _works(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
