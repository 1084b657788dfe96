"""The docker and compose command lines, as the platform's engineers have them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from flowrex_ops.compose.cli import find_command
from flowrex_ops.errors import SandboxError

COMPOSE_FILE = "docker-compose.prod.yml"
_TIMEOUT_SECONDS = 60.0


BESIDE = "flowrex-sandbox"
"""The label of containers that a fault starts beside the sandbox of that name; they go with it."""


def docker(
    *arguments: str, timeout_seconds: float = _TIMEOUT_SECONDS, environment: Mapping[str, str] | None = None
) -> str:
    """What ``docker`` prints; SandboxError with its last line when it fails."""
    return _run(("docker", *arguments), timeout_seconds=timeout_seconds, environment=environment)


def docker_works(*arguments: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
    """Whether ``docker`` ends well."""
    try:
        docker(*arguments, timeout_seconds=timeout_seconds)
    except SandboxError:
        return False
    return True


def compose(home: Path, *arguments: str, timeout_seconds: float) -> str:
    """What ``docker-compose -f docker-compose.prod.yml`` prints in *home*."""
    return _run((*find_command(), "-f", COMPOSE_FILE, *arguments), timeout_seconds=timeout_seconds, folder=home)


def _run(
    command: tuple[str, ...],
    *,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    # A COMPOSE_… variable of whoever calls must not lead elsewhere than the sandbox's .env does.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**inherited, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise SandboxError(f"command '{command[0]}' is missing; install it, or use the stack 'supervisor'") from None
    except subprocess.TimeoutExpired:
        text = " ".join(command[:4])
        raise SandboxError(f"'{text} …' did not end in {timeout_seconds:g} s; look with 'docker ps -a'") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise SandboxError(f"'{' '.join(command[:4])} …' failed: {' / '.join(lines[-3:])}")
    return done.stdout
