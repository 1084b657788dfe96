"""Which logged error belongs to which failed request of one replica, whichever of the two is logged first.

By the request's id; else by the path that the error's line names; else by nearness. Some servers log a request before its
traceback (uvicorn), some after (gunicorn); one and the same does not change its ways, so the order that fits better is taken
for all of them: to pair every request with the error of the one before it would be wrong from the first to the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_WAITING = 64
WAITING_SECONDS = 10.0
_COMMON = {"api", "the", "app", "main", "get", "post", "index"}


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A failed request: when and in which line it was logged, its id if any, its path; ``key`` is what it is counted by."""

    seconds: float
    line: int
    identity: str
    path: str
    key: tuple[float, str, str, str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Logged(Generic[T]):
    """A logged error, from its first line to its last; ``names`` are words of the code that it came through."""

    seconds: float
    line: int
    last_line: int
    identity: str
    text: str
    names: frozenset[str]
    signature: T


class Pairing(Generic[T]):
    """Takes one replica's failed requests and errors in order; tells *settle* each request once, with its error or ``None``."""

    def __init__(self, settle: Callable[[Failed, T | None], None]) -> None:
        self._settle = settle
        self._requests: list[Failed] = []
        self._errors: list[Logged[T]] = []
        self._liking = 0
        """Above zero: errors have come before their requests so far; below: after them."""

    def add_request(self, request: Failed) -> None:
        """The next failed request."""
        self._requests.append(request)
        if len(self._requests) > MOST_WAITING:
            self._decide(self._requests[: MOST_WAITING // 2])

    def add_error(self, error: Logged[T]) -> None:
        """The next error."""
        self._errors.append(error)
        if len(self._errors) > 2 * MOST_WAITING:
            self._decide([one for one in self._requests if one.line < error.line][: MOST_WAITING // 2])
            self._errors = self._errors[-MOST_WAITING:]

    def finish(self) -> None:
        """There is no more."""
        self._decide(self._requests)

    def _decide(self, due: Sequence[Failed]) -> None:
        pairs = self._pairs()
        for request in list(due):
            error = pairs.get(request)
            self._settle(request, error.signature if error else None)
            self._requests.remove(request)
            if error:
                self._errors.remove(error)

    def _pairs(self) -> dict[Failed, Logged[T]]:
        pairs: dict[Failed, Logged[T]] = {}
        errors = list(self._errors)
        for error in self._errors:
            named = [one for one in self._requests if one not in pairs and _names_it(error, one)]
            if named:
                pairs[min(named, key=lambda one: (one.identity != error.identity, abs(one.line - error.line)))] = error
                errors.remove(error)
        left = [one for one in self._requests if one not in pairs]
        errors = [error for error in errors if not (error.identity and any(one.identity for one in left))]
        before, after = _match(left, errors, error_first=True), _match(left, errors, error_first=False)
        better = (*_fitness(before), max(self._liking, 0)) >= (*_fitness(after), max(-self._liking, 0))
        self._liking += len(before) if better else -len(after)
        return pairs | (before if better else after)


def _names_it(error: Logged[T], request: Failed) -> bool:
    """Whether the error says which request it was."""
    if abs(error.seconds - request.seconds) > WAITING_SECONDS:
        return False
    if error.identity and request.identity:
        return error.identity == request.identity
    return len(request.path) > 1 and _path_in(request.path, error.text)


@lru_cache(maxsize=1024)
def _path_in(path: str, text: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(path)}(?![\w/-])", text) is not None


def _match(requests: Sequence[Failed], errors: Sequence[Logged[T]], *, error_first: bool) -> dict[Failed, Logged[T]]:
    """Each with the nearest of the other kind on that side, one to one; first those whose code bears the route's name."""
    pairs: dict[Failed, Logged[T]] = {}
    taken: set[int] = set()
    for alike in (True, False):
        for request in requests if error_first else requests[::-1]:
            if request in pairs:
                continue
            others = {one.path for one in requests if one not in pairs} - {request.path}
            fitting = [
                error
                for error in errors
                if id(error) not in taken
                and (error.last_line < request.line if error_first else error.line > request.line)
                and abs(error.seconds - request.seconds) <= WAITING_SECONDS
                and (
                    _alike(error.names, request.path) if alike else not any(_alike(error.names, one) for one in others)
                )
            ]
            if fitting:
                pairs[request] = fitting[-1] if error_first else fitting[0]
                taken.add(id(pairs[request]))
    return pairs


def _fitness(pairs: dict[Failed, Logged[T]]) -> tuple[int, float, int]:
    """The more pairs the better, the nearer the better."""
    seconds = sum(abs(error.seconds - request.seconds) for request, error in pairs.items())
    lines = sum(max(request.line - error.last_line, error.line - request.line) for request, error in pairs.items())
    return len(pairs), -round(seconds, 3), -lines


@lru_cache(maxsize=4096)
def _alike(names: frozenset[str], path: str) -> bool:
    """Whether the code that failed bears the name of the route: ``portfolio.py`` or ``get_portfolio`` of ``/api/portfolio``."""
    words = {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", path.lower())} - _COMMON
    return bool(words & {name.rstrip("s") for name in names})
