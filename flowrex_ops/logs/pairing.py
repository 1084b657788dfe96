"""Which logged error belongs to which failed request of one replica, whichever of the two is logged first.

By the request's id; else by the path that the error's line names; else by nearness. Some servers log a request before its
traceback (uvicorn), some after (gunicorn); one and the same does not change its ways, so the order that fits better is taken
for all of them: to pair every request with the error of the one before it would be wrong from the first to the last.

One replica's lines are in order, also where several replicas' are interleaved; whether errors come before or after
their requests is learned per replica, from what fits more often and nearer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_WAITING = 64
WAITING_SECONDS = 10.0
_NEAREST = 8
"""So many of the other kind are looked at; what is further away belongs to somebody else."""
_PATH = re.compile(r"(?<![\w/:.])/[^\s'\"?,;:()\[\]{}]*")
_COMMON = {"api", "the", "app", "main", "get", "post", "index"}


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A failed request: when and in which line it was logged, its id if any, path and route; ``key`` is what it is counted by."""

    seconds: float
    line: int
    identity: str
    path: str
    route: str
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
    """Takes one replica's failed requests and errors in order; gives *finalize* each request once, with its error or ``None``."""

    def __init__(self, finalize: Callable[[Failed, T | None], None]) -> None:
        self._finalize = finalize
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
        decided = list(due)
        for request in decided:
            error = pairs.get(request)
            self._finalize(request, error.signature if error else None)
        gone = {id(pairs[request]) for request in decided if request in pairs} | {id(request) for request in decided}
        self._requests = [one for one in self._requests if id(one) not in gone]
        self._errors = [one for one in self._errors if id(one) not in gone]

    def _pairs(self) -> dict[Failed, Logged[T]]:
        pairs = _named(self._requests, self._errors)
        taken = {id(error) for error in pairs.values()}
        left = [one for one in self._requests if one not in pairs]
        known = any(one.identity for one in left)  # then an error with an id that fits none is of another request
        errors = [one for one in self._errors if id(one) not in taken and not (known and one.identity)]
        before, after = _match(left, errors, error_first=True), _match(left, errors, error_first=False)
        better = (*_fitness(before), max(self._liking, 0)) >= (*_fitness(after), max(-self._liking, 0))
        self._liking += len(before) if better else -len(after)
        return pairs | (before if better else after)


def _named(requests: Sequence[Failed], errors: Sequence[Logged[T]]) -> dict[Failed, Logged[T]]:
    """Pairs of which the error says which request it was: by its id, else by its path and then the nearest."""
    by_name: dict[str, list[Failed]] = {}
    for request in requests:
        for name in (request.identity, request.path):
            by_name.setdefault(name, []).append(request)
    pairs: dict[Failed, Logged[T]] = {}
    for error in errors:
        names = (
            [error.identity] if error.identity in by_name else [name.rstrip(".") for name in _PATH.findall(error.text)]
        )
        named = [
            one
            for name in names
            if name not in ("", "/")
            for one in by_name.get(name, ())
            if one not in pairs
            and abs(error.seconds - one.seconds) <= WAITING_SECONDS
            and (not (error.identity and one.identity) or error.identity == one.identity)
        ]
        if named:
            _, nearest = min((abs(one.line - error.line), place) for place, one in enumerate(named))
            pairs[named[nearest]] = error
    return pairs


def _match(requests: Sequence[Failed], errors: Sequence[Logged[T]], *, error_first: bool) -> dict[Failed, Logged[T]]:
    """Each with the nearest of the other kind on that side, one to one; first those whose code bears the route's name.

    Code that bears the name of another route, of which a request waits still, is not this one's.
    """
    pairs: dict[Failed, Logged[T]] = {}
    taken: set[int] = set()
    waiting = Counter(one.route for one in requests)
    bears = {names: {route for route in waiting if _alike(names, route)} for names in {one.names for one in errors}}
    for alike in (True, False):
        for request in requests if error_first else requests[::-1]:
            if request in pairs:
                continue
            for error in _beside(request, errors, taken, error_first=error_first):
                own = request.route in bears[error.names]
                others = any(waiting[route] for route in bears[error.names] if route != request.route)
                if own if alike else not others:
                    pairs[request] = error
                    taken.add(id(error))
                    waiting[request.route] -= 1
                    break
    return pairs


def _beside(request: Failed, errors: Sequence[Logged[T]], taken: set[int], *, error_first: bool) -> Iterator[Logged[T]]:
    """The errors next to a request on one side, the nearest first."""
    at = bisect_left(errors, request.line, key=lambda one: one.line)
    places = range(at - 1, -1, -1) if error_first else range(at, len(errors))
    seen = 0
    for place in places:
        error = errors[place]
        if seen >= _NEAREST or abs(error.seconds - request.seconds) > WAITING_SECONDS:
            return
        if id(error) not in taken:
            seen += 1
            yield error


def _fitness(pairs: dict[Failed, Logged[T]]) -> tuple[int, float, int]:
    """The more pairs the better, the nearer the better."""
    seconds = sum(abs(error.seconds - request.seconds) for request, error in pairs.items())
    lines = sum(max(request.line - error.last_line, error.line - request.line) for request, error in pairs.items())
    return len(pairs), -round(seconds, 3), -lines


@lru_cache(maxsize=4096)
def _alike(names: frozenset[str], route: str) -> bool:
    """Whether the code that failed bears the name of the route: ``portfolio.py`` or ``get_portfolio`` of ``/api/portfolio``."""
    words = {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", route.lower())} - _COMMON
    return bool(words & {name.rstrip("s") for name in names})
