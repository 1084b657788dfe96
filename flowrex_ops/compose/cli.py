"""The compose command line of either generation, as the project's own engineers would call it.

Only compose can say what a replica of a service is to be, so replicas are added by it, with the project's own files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from flowrex_ops.errors import StackUnavailableError

_LINES = 3
_VERSION_SECONDS = 10.0
_BLANK = re.compile(r"The \W*(\w+)\W* variable is not set")
_GENERATIONS = (("docker-compose",), ("docker", "compose"))


@cache
def find_command(made_by: str = "") -> tuple[str, ...]:
    """``docker-compose`` or ``docker compose``: of the generation that made the project (``1.29.2``), else whichever there is."""
    found = {command: version for command in _GENERATIONS if (version := _version(command))}
    if not found:
        raise StackUnavailableError("docker compose is missing; install docker-compose, or the plug-in of your docker")
    same = [command for command, version in found.items() if version.partition(".")[0] == made_by.partition(".")[0]]
    return (same or list(found))[0]


def run(
    command: tuple[str, ...],
    arguments: Sequence[str],
    *,
    project: str,
    files: Sequence[str],
    env_files: Sequence[str] = (),
    folder: str,
    environment: Mapping[str, str],
    timeout_seconds: float,
) -> str:
    """What compose prints, run on *project* with its own *files* in its own *folder*. StackUnavailableError with its last words.

    A variable that compose would leave blank is an error: whatever it made so would come up without its password.
    """
    if not Path(folder).is_dir():
        raise StackUnavailableError(
            f"the project's folder '{folder}' is not on this machine; run this where the platform is deployed from"
        )
    named = [word for file in files for word in ("-f", file)]
    named += [word for file in env_files for word in ("--env-file", file)]
    line = [*command, *named, "-p", project, *arguments]
    # A COMPOSE_… variable of whoever calls must not lead elsewhere than the project's own .env does.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    try:
        done = subprocess.run(
            line,
            cwd=folder,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        text = f"'{' '.join(line)}' did not end in {timeout_seconds:g} s; look with 'docker ps -a'"
        raise StackUnavailableError(text, code="timeout") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise StackUnavailableError(f"'{' '.join(line)}' in '{folder}' failed: {' / '.join(said[-_LINES:])}")
    blank = sorted(set(_BLANK.findall(done.stderr)))
    if blank:
        listed = ", ".join(f"'{name}'" for name in blank)
        where = ", ".join(f"'{Path(folder) / file}'" for file in env_files or (".env",))
        raise StackUnavailableError(
            f"compose would leave {listed} blank, so nothing was changed; set it in {where}, empty where that is meant"
        )
    return done.stdout


def _version(command: tuple[str, ...]) -> str:
    """``1.29.2``, ``2.26.1``; empty where there is no such command, or it hangs."""
    if shutil.which(command[0]) is None:
        return ""
    line = [*command, "version", "--short"]
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip().removeprefix("v") if done.returncode == 0 else ""
