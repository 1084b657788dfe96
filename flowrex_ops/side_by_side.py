"""Calls in daemon threads: one that hangs keeps neither a run nor the interpreter from ending.

Threads of a ``ThreadPoolExecutor`` are waited for as the interpreter ends, also those whose caller has long given them up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")


class Call(threading.Thread, Generic[T]):
    """One call, started; its ``result`` or its ``error`` is there once it has ended."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.result: T | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001  (carried to the caller's thread and raised there)
            self.error = error

    def wait(self) -> T:
        """Its result; raises its error."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # set whenever there was no error


def side_by_side(ask: Callable[[A], T], items: Iterable[A], *, most: int = 16) -> list[T]:
    """What *ask* says of each item, in their order, *most* asked at a time; raises the first error."""
    room = threading.Semaphore(most)

    def asked(item: A) -> T:
        with room:
            return ask(item)

    calls = [Call(lambda item=item: asked(item)) for item in items]  # type: ignore[misc]  # a default binds it
    return [call.wait() for call in calls]
