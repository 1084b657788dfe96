"""Paths as routes: what tells one thing from another in a path (numbers, ids of every kind) is no part of its route."""

from __future__ import annotations

import re
from functools import lru_cache

_SEGMENT = re.compile(r"[^/]+")
_ID = re.compile(
    r"""
    \d[\d,]*                                                # 17, 17,18
    | \d{4}-\d\d-\d\d (?:[T_ ][\d:.+-]+Z?)?                 # a day or a moment
    | \{? [0-9a-f]{8} (?: -[0-9a-f]{4} ){3} -[0-9a-f]{12} \}?  # UUID
    | (?:0x)? (?: (?=[a-f]*\d) [0-9a-f]{8,} | [0-9a-f]{16,} )  # ObjectId, digests, UUID without dashes
    | [0-7][0-9a-hjkmnp-tv-z]{25}                           # ULID
    | [^/@\s]+ (?:@|%40) [^/@\s]+                           # somebody's address
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z]{0,11}[-_:](?=.{4})")
"""``ord_01J9…``, ``trade-4711``: what kind of thing it is, before its id."""
_SYMBOL = re.compile(r"(?=(?:[^A-Z]*[A-Z]){3})[A-Z0-9]{2,}(?:[-_.=][A-Z0-9]+)*")
"""``EURUSD``, ``BTC-USD``: paths themselves are not written in capitals."""
_TOKEN = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=(?:\D*\d+){2})[A-Za-z0-9_-]{14,}")
"""Random letters and digits (Nano ID, KSUID, Stripe's): words have no digits in several places."""
_KEY = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[A-Za-z0-9]{10,}")
_HASHED_FILE = re.compile(r"(?<=[.-])(?=[0-9a-zA-Z_]*\d)(?=[0-9a-zA-Z_]*[a-zA-Z])[0-9a-zA-Z_]{8,}(?=\.\w+$)")
_LEAST_SYMBOL = 4


@lru_cache(maxsize=20_000)
def route_of(path: str) -> str:
    """``/api/trades/{id}`` of ``/api/trades/4711``; words stay as they are."""
    return _SEGMENT.sub(lambda segment: _named(segment[0], first=segment.start() <= 1), path)


def _named(segment: str, *, first: bool) -> str:
    if _is_id(segment):
        return "{id}"
    prefix = _PREFIX.match(segment)
    if prefix and (_is_id(rest := segment[prefix.end() :]) or _KEY.fullmatch(rest)):
        return "{id}"
    if not first and len(segment) >= _LEAST_SYMBOL and _SYMBOL.fullmatch(segment):
        return "{id}"
    return _HASHED_FILE.sub("{id}", segment)


def _is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text) or _TOKEN.fullmatch(text))
