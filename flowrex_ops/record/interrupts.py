"""Turns the signals that end a run into something that the run can write down."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

PUT_BACK_SECONDS = 60.0
"""How long an interrupted change may take to put back what it began, before its kernel is killed."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guard:
    """Acts on the first signal while armed; later signals, and all once disarmed, are ignored.

    A signal that comes earlier waits until the guard is armed: an import cut in half could not be finished later.
    """

    def __init__(self) -> None:
        self._act: Callable[[], object] | None = None
        self._waiting: signal.Signals | None = None
        self.reason = ""
        """Which signal the run was stopped by, once it is."""

    def arm(self, act: Callable[[], object]) -> None:
        """From now on the first signal calls *act*; at once, where one has already come.

        It is called wherever the main thread then is, so it leaves word and does no more: an exception that is raised
        in the middle of an event loop is lost, or another is made of it.
        """
        self._act = act
        if self._waiting is not None:
            self._stop(self._waiting)

    def disarm(self) -> None:
        """From now on nothing interrupts: the record is being finished."""
        self._act = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._act is not None:
            self._stop(signal.Signals(number))
        self._waiting = self._waiting or signal.Signals(number)

    def _stop(self, number: signal.Signals) -> None:
        if not self.reason and self._act is not None:
            self.reason = f"stopped by {number.name}"
            self._act()


@contextlib.contextmanager
def interruptible() -> Iterator[Guard]:
    """Within this block SIGINT, SIGTERM and SIGHUP go to the guard; outside the main thread nothing changes."""
    guard = Guard()
    if threading.current_thread() is not threading.main_thread():
        yield guard
        return
    earlier = {number: signal.signal(number, guard) for number in _SIGNALS}
    try:
        yield guard
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
