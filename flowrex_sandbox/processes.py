"""Processes of a sandbox: found again by what they are, so that none is left behind and no stranger is touched."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from flowrex_ops.model import Replica
from flowrex_sandbox.waiting import comes_true

MARK = "FLOWREX_SANDBOX_HOME"
"""Environment variable that every process of a sandbox inherits; its value is the sandbox's home."""


def find_marked(home: Path) -> list[psutil.Process]:
    """The processes that belong to the sandbox at *home*, and all that descend from them.

    Known by the mark in their environment or, for programs that overwrite it with their title, by *home* in it.
    """
    roots = [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, home)]
    found = dict.fromkeys(member for root in roots for member in family(root.pid))
    return [process for process in found if process.pid != os.getpid()]


def family(pid: int) -> list[psutil.Process]:
    """The process of that number, where it runs, and everything that descends from it."""
    try:
        process = psutil.Process(pid)
        return [one for one in (process, *process.children(recursive=True)) if is_alive(one)]
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> str:
    """Its command line, or the title that it gave itself; empty where it has ended or belongs to somebody else."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def kill(processes: Iterable[psutil.Process], *, timeout_seconds: float = 5.0) -> None:
    """End *processes* for good and wait until they are gone. A stopped (SIGSTOP) one is ended too."""
    killed = list(processes)
    for process in killed:
        send(process, signal.SIGKILL)
    comes_true(lambda: not any(map(is_alive, killed)), timeout_seconds=timeout_seconds)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal, unless the process is gone or its number was taken over by another."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def container_of(replica: Replica) -> str:
    """The container that a replica of the compose stack is."""
    return replica.identity.partition("@")[0]


def pid_of(replica: Replica) -> int:
    """The number of the process that a replica of the embedded stack is."""
    return int(replica.identity.rsplit(":", 2)[1])


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(home) or (
            Path(process.cwd()).is_relative_to(home) and str(home) in command_of(process)
        )
    except psutil.Error:
        return False
