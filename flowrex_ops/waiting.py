"""Wait for a condition that a reading shows, within a limit."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed


def wait_until(condition: Callable[[], bool], *, seconds: float, every_seconds: float = 0.2) -> bool:
    """Whether *condition* came true within *seconds*."""
    waiting = Retrying(
        stop=stop_after_delay(seconds), wait=wait_fixed(every_seconds), retry=retry_if_result(lambda result: not result)
    )
    try:
        return waiting(condition)
    except RetryError:
        return False
