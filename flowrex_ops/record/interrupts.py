"""Turns the signals that end a run into an exception that the run can write down."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from types import FrameType

PUT_BACK_SECONDS = 60.0
"""How long an interrupted change may take to put back what it began, before its kernel is killed."""


class Interrupted(KeyboardInterrupt):
    """The runner was told to stop; the text names the signal."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guard:
    """Raises Interrupted on the first signal while armed; later signals, and all once disarmed, are ignored.

    A signal that comes earlier waits until the guard is armed: an import cut in half could not be finished later.
    """

    def __init__(self) -> None:
        self._armed = False
        self._waiting: signal.Signals | None = None

    def arm(self) -> None:
        """From now on a signal interrupts; at once, where one has already come."""
        self._armed = True
        if self._waiting is not None:
            self._raise(self._waiting)

    def disarm(self) -> None:
        """From now on nothing interrupts: the record is being finished."""
        self._armed = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._raise(signal.Signals(number))
        self._waiting = self._waiting or signal.Signals(number)

    def _raise(self, number: signal.Signals) -> None:
        self._armed = False
        # The signal may strike between making a coroutine and awaiting it; that is no news to the person at Ctrl-C.
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nor are the tasks that were cut off with it
        raise Interrupted(f"stopped by {number.name}")


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
