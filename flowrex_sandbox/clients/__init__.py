"""Starting and ending the clients that make trouble: detached processes that outlive the command that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flowrex_sandbox.processes import MARK, command_of, find_marked, kill
from flowrex_sandbox.sandbox import Sandbox

_FOLDER = Path(__file__).parent


def start_client(
    sandbox: Sandbox,
    kind: str,
    *,
    script: str = "holder.py",
    dsn: str = "",
    urls: tuple[str, ...] = (),
    rate: float = 0,
) -> None:
    """Start a client; its DSN goes by environment, for command lines can be read by everybody."""
    environment = {
        **os.environ,
        MARK: str(sandbox.home),
        "FLOWREX_HOLDER_DSN": dsn,
        "FLOWREX_HOLDER_URLS": " ".join(urls),
        "FLOWREX_HOLDER_RATE": str(rate),
    }
    log = sandbox.home / "log" / f"fault-{kind}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, str(_FOLDER / script), kind],
            cwd=sandbox.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end_clients(sandbox: Sandbox) -> None:
    """End every client that makes trouble; PostgreSQL sees their sessions end."""
    kill(process for process in find_marked(sandbox.home) if str(_FOLDER) in command_of(process))
