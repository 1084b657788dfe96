"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from flowrex_ops.errors import SandboxError


def await_condition(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_seconds: float,
    poll_seconds: float = 0.05,
    details: Callable[[], str] = str,
) -> None:
    """Return as soon as *condition* holds; SandboxError saying *what* did not come about, with *details*, when late."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            more = details()
            raise SandboxError(f"{what} not within {timeout_seconds:g} s{': ' + more if more else ''}")
        time.sleep(poll_seconds)
