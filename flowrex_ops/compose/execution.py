"""Commands run inside a replica: how much of what they say is kept."""

from __future__ import annotations

EXECUTION_BYTES = 64 * 1024


def shortened(output: bytes) -> str:
    """The end of *output*, which is where a traceback says what went wrong."""
    return output[-EXECUTION_BYTES:].decode("utf-8", errors="replace")
