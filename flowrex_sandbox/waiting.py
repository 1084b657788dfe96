"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from flowrex_ops.errors import SandboxError


def comes_true(condition: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = 0.05) -> bool:
    """Whether *condition* holds within so many seconds; returns as soon as it does."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def await_condition(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_seconds: float,
    poll_seconds: float = 0.05,
    details: Callable[[], str] = str,
) -> None:
    """Return as soon as *condition* holds; SandboxError saying *what* did not come about, with *details*, when late."""
    if not comes_true(condition, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds):
        more = details()
        raise SandboxError(f"{what} not within {timeout_seconds:g} s{': ' + more if more else ''}")
