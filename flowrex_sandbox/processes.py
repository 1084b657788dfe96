"""Processes of a sandbox: found again by what they are, so that none is left behind and no stranger is touched."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "FLOWREX_SANDBOX_HOME"
"""Environment variable that every process of a sandbox inherits; its value is the sandbox's home."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process; ``started`` tells it from a later one with the same number."""

    pid: int
    parent: int
    started: str
    command: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        current = next((p for p in list_processes() if p.pid == self.pid), None)
        return current is not None and current.started == self.started


def list_processes() -> list[Process]:
    """All processes that ``ps`` or ``/proc`` shows, without zombies."""
    if Path("/proc/self/stat").exists():
        return [p for p in map(_from_proc, Path("/proc").glob("[0-9]*")) if p]
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,lstart=,command="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    return [_from_ps(line) for line in listing.stdout.splitlines() if line.strip()]


def find_marked(home: Path) -> list[Process]:
    """The processes that belong to the sandbox at *home*, and all that descend from them.

    Known by the mark in their environment or, for programs that overwrite it with their title, by *home* in it.
    """
    everything = [p for p in list_processes() if p.pid != os.getpid()]
    roots = {p.pid for p in everything if _belongs(p, home)}
    return [p for p in everything if p.pid in roots or p.pid in _descendants(roots, everything)]


def descendants(pid: int) -> list[Process]:
    """Everything that descends from *pid*."""
    everything = list_processes()
    below = _descendants({pid}, everything)
    return [p for p in everything if p.pid in below]


def kill(processes: Iterable[Process], *, timeout_seconds: float = 5.0) -> None:
    """End *processes* for good and wait until they are gone. A stopped (SIGSTOP) one is ended too."""
    left = list(processes)
    for process in left:
        send(process, signal.SIGKILL)
    deadline = time.monotonic() + timeout_seconds
    while left and time.monotonic() < deadline:
        left = [process for process in left if process.alive]
        time.sleep(0.02)


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal, unless the process is gone or its number was taken over by another."""
    if process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _descendants(roots: set[int], everything: Iterable[Process]) -> set[int]:
    below: set[int] = set()
    known = list(everything)
    frontier = set(roots)
    while frontier:
        frontier = {p.pid for p in known if p.parent in frontier and p.pid not in below}
        below |= frontier
    return below


def _belongs(process: Process, home: Path) -> bool:
    mark = f"{MARK}={home}".encode()
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        inside = Path(f"/proc/{process.pid}/cwd").readlink().is_relative_to(home)
    except OSError:
        environment, inside = b"", not Path("/proc").exists()
    return mark in environment.split(b"\0") or (inside and str(home) in process.command)


def _from_proc(folder: Path) -> Process | None:
    try:
        stat = (folder / "stat").read_text()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None  # it ended meanwhile
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return Process(int(folder.name), int(fields[1]), fields[19], command)


def _from_ps(line: str) -> Process:
    # 'lstart' is five words: Mon Nov 23 17:00:00 2026
    pid, parent, weekday, month, day, clock, year, *command = line.split(None, 7)
    return Process(int(pid), int(parent), f"{weekday} {month} {day} {clock} {year}", " ".join(command))
