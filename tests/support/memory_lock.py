"""Pressure in one container is felt by the whole machine: who makes it is alone among those whom it would mislead."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowrex_sandbox.faults.memory import pressure_percent
from flowrex_sandbox.waiting import await_condition

PRESSED = 5.0
"""Half of what the runbook takes for trouble."""


@contextmanager
def calm_memory(folders: pytest.TempPathFactory, *, alone: bool = False) -> Iterator[None]:
    """Nobody presses the machine's memory while this lasts, but whoever is *alone*; it begins when what came before is over."""
    with (folders.getbasetemp().parent / "memory.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        await_condition(lambda: pressure_percent() < PRESSED, "the machine's memory was calm", timeout_seconds=120)
        yield
