"""How a source is asked: with a deadline, without raising, and not again at once after it hung.

A thread for each reading, with a deadline: client libraries' timeouts do not cover a server that accepts and then is
silent. A source that hung is not asked again for 10 s, so a dead PostgreSQL costs one limit, not ten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Reading
from flowrex_ops.side_by_side import Call

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Source")

FRESH_SECONDS = 10.0
"""What was begun and ended longer ago is read anew: in a notebook that is stepped through its cell may come minutes later."""

COOL_DOWN_SECONDS = 10.0
"""After a source hung, it is not asked again for this long: ten readings of a dead source cost one time limit, not ten."""

TOO_MANY_CONNECTIONS = "53300"
"""PostgreSQL's SQLSTATE too_many_connections (its manual, appendix A, class 53)."""
UNREACHABLE, ANSWERED = "unreachable", "answered"
UNREACHABLE_CODES = frozenset({UNREACHABLE, "timeout", "57P01", "57P02", "57P03"})
"""What is evidence that no PostgreSQL serves: no connection, no answer in time, shutting down, crashed, starting up.

``answered`` is a server (or a pooler) that refuses in words of its own."""


class Source:
    """Something that can be asked read-only. ``on_reading`` sees every answer, also the failed ones.

    ``replayed``, where it is set, answers in its place: source, what, and the arguments. ``copy`` stands in for the wire alone: raw
    answers that somebody copied, understood as those that come over it; ``now`` is their time then. ``begun`` is what nobody has asked for yet.
    """

    name = "source"
    libraries: ClassVar[tuple[str, ...]] = ()
    """What it imports when it is first asked. The time that takes is ours, not the source's: its limit begins after."""

    def __init__(self, *, limit_seconds: float, limit_rows: int = 1000) -> None:
        self.limit_seconds = limit_seconds
        self.limit_rows = limit_rows
        self.on_reading: Callable[[Reading[Any]], None] = lambda _reading: None
        self.replayed: Callable[[str, str, str], Reading[Any]] | None = None
        self.copy: Callable[..., Any] | None = None
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._hung: tuple[float, SourceUnavailableError] | None = None
        self.begun: dict[tuple[str, str], Call[Reading[Any]]] = {}

    def _raise_while_cooling(self) -> None:
        if self._hung and time.monotonic() - self._hung[0] < COOL_DOWN_SECONDS:
            raise self._hung[1]


def reads(
    what: str, *, extra_seconds: str = ""
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], Reading[T]]]:
    """Turn a method that returns a value or raises ``SourceUnavailableError`` into one that returns a Reading of *what*.

    This is the one place where a failure becomes an unknown. The method runs under the source's time limit;
    *extra_seconds* names a keyword argument that lengthens it (the window of a sampled reading).
    """

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Reading[T]]:
        @wraps(method)
        def ask(self: S, *args: P.args, **kwargs: P.kwargs) -> Reading[T]:
            asked = _as_text(args, kwargs)
            reading: Reading[T]
            if self.replayed:
                reading = self.replayed(self.name, what, asked)
            else:
                reading = _take_begun(self, what, asked) or read(self, *args, **kwargs)
            self.on_reading(reading)
            return reading

        def read(self: S, *args: P.args, **kwargs: P.kwargs) -> Reading[T]:
            for library in self.libraries:
                import_module(library)
            started = time.monotonic()
            allowed = self.limit_seconds + float(str(kwargs.get(extra_seconds, 0)))
            try:
                self._raise_while_cooling()
                value = call_within(allowed, lambda: method(self, *args, **kwargs), self.name)
                reading = Reading(
                    self.name,
                    what,
                    value,
                    truncated=isinstance(value, pd.DataFrame) and len(value) >= self.limit_rows,
                    seconds=time.monotonic() - started,
                )
            except SourceUnavailableError as error:
                if time.monotonic() - started >= allowed:
                    self._hung = (time.monotonic(), error)
                seconds = time.monotonic() - started
                reading = Reading(self.name, what, error=str(error), code=error.code, seconds=seconds)
            except Exception as error:  # noqa: BLE001  # whatever it answered, the run must go on without it
                text = f"{self.name} gave no {what} that can be understood: {type(error).__name__}: {error}"
                reading = Reading(self.name, what, error=text, seconds=time.monotonic() - started)
            return replace(reading, asked=_as_text(args, kwargs), taken_at=self.now())

        vars(ask).update(what=what, read=read)  # for ``begin``
        return ask  # type: ignore[return-value]  # a method, whose self mypy wants named

    return decorate


def begin(ask: Callable[P, Reading[T]], *args: P.args, **kwargs: P.kwargs) -> None:
    """Begin a reading that takes a while: the cell that asks for the same, in the same words, waits for what is left of it.

    It counts as a reading, and is noted, when it is asked for. A replay and copies have nothing to wait for.
    """
    source: Source = ask.__self__  # type: ignore[attr-defined]  # a bound method
    if source.replayed or source.copy:
        return
    what, read = ask.what, ask.read  # type: ignore[attr-defined]  # set by ``reads``
    source.begun[what, _as_text(args, kwargs)] = Call(lambda: read(source, *args, **kwargs))


def _take_begun(source: Source, what: str, asked: str) -> Reading[Any] | None:
    call = source.begun.pop((what, asked), None)
    if call is None:
        return None
    call.join()  # it has a time limit of its own
    reading = call.result
    return reading if reading and (source.now() - reading.taken_at).total_seconds() <= FRESH_SECONDS else None


def _as_text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in sorted(kwargs.items()))])


def call_within(seconds: float, function: Callable[[], T], name: str) -> T:
    """The result of *function*, or SourceUnavailableError when it takes longer than *seconds*.

    Client libraries' own time limits do not cover a server that accepts and then says nothing; this does.
    """
    call = Call(function)
    call.join(seconds)
    if call.is_alive():
        raise SourceUnavailableError(
            f"{name} did not answer in {seconds:g} s; check that it is running or run 'flowrex-ops doctor'",
            code="timeout",
        )
    return call.wait()
