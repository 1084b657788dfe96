"""How long requests took and where, out of NGINX's times, added up beside the counts of the access log.

``$request_time`` runs from the client's first byte to the last one sent to it; ``$upstream_connect_time``, ``…_header_time`` and
``…_response_time`` all run from the moment in which the upstream is asked. So what the request took longer than the upstream is
the client's connection, and the upstream's share is connecting, waiting for the first byte, and the body.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

PARTS = ("client", "connect", "first byte", "body")
UNTIMED, UNSPLIT, NOT_SLOW = "untimed", "unsplit", "none"
TIME_COLUMNS = ["at", "route", "replica", "version", "took", "slow_in", "requests", *PARTS]
MOST_BUCKETS = 120
_SHORTEST = 0.001
_PER_OCTAVE = 2
"""Bands of time: each is 1.4 times as long as the one before, so that a percentile is right to a fifth."""

_LABELLED = re.compile(rb' (?:upstream_)?(connect|header|time|response)(?:_time)?="([-\d., :]*)"')
_SEVERAL = re.compile(r"\s*[,:]\s+")


@dataclass(frozen=True, slots=True)
class Times:
    """One line's times as they were logged, several upstreams with commas between; None where the line does not tell them."""

    request: str | None
    connect: str | None
    header: str | None
    response: str | None


def times_of_line(line: bytes, seconds: bytes | None) -> Times:
    """The times of a line of our own format, whose ``$request_time`` is *seconds*."""
    found = {name: value.decode() for name, value in _LABELLED.findall(line)}
    return Times(
        seconds.decode() if seconds else None,
        found.get(b"connect"),
        found.get(b"header"),
        found.get(b"time") or found.get(b"response"),
    )


def times_of_fields(fields: Mapping[str, str]) -> Times:
    """The times of a line that ``access_format.parse_line`` has read."""
    return Times(fields.get("seconds"), fields.get("asked"), fields.get("header"), fields.get("response"))


def split(times: Times) -> tuple[float | None, tuple[float, ...] | None]:
    """Seconds in all, and of each of ``PARTS``; None for what is not told.

    Of several upstreams that were tried all but the last are waited for in vain: their time is before the first byte.
    """
    request = _numbers(times.request)[-1] if times.request else None
    if request is None or times.response is None:
        return request, None
    answers = _numbers(times.response)
    upstream = min(request, sum(one or 0.0 for one in answers))
    connect = min(upstream, sum(one or 0.0 for one in _numbers(times.connect or "-")))
    header = _numbers(times.header or "-")[-1]
    body = max(0.0, (answers[-1] or 0.0) - header) if header is not None else 0.0
    return request, (request - upstream, connect, max(0.0, upstream - connect - body), min(body, upstream))


def _numbers(text: str) -> list[float | None]:
    found = [part.strip() for part in _SEVERAL.split(text)]
    return [float(part) if re.fullmatch(r"\d+(?:\.\d+)?", part) else None for part in found]


class RequestTimes:
    """Adds times up by bucket, route, replica, release, band of time and what was slow: it grows with kinds, not with requests."""

    def __init__(self, *, seconds: float, slow_seconds: float) -> None:
        self._bucket = max(1, round(seconds / MOST_BUCKETS))
        self._slow_seconds = slow_seconds
        self._sums: dict[tuple[Any, ...], list[float]] = {}

    def add(self, at: float, route: str, place: bytes, version: bytes | None, times: Times) -> None:
        """Count one request."""
        took, parts = split(times)
        band = None if took is None else math.ceil(_PER_OCTAVE * math.log2(max(took, _SHORTEST) / _SHORTEST))
        key = (at - at % self._bucket, route, place, version, band, self._slow_in(took, parts))
        entry = self._sums.setdefault(key, [0.0] * (1 + len(PARTS)))
        entry[0] += 1
        for number, value in enumerate(parts or (), start=1):
            entry[number] += value

    def _slow_in(self, took: float | None, parts: tuple[float, ...] | None) -> str:
        if took is None:
            return UNTIMED
        if took < self._slow_seconds:
            return NOT_SLOW
        return PARTS[parts.index(max(parts))] if parts else UNSPLIT

    def frame(self, replicas: Mapping[bytes, str]) -> pd.DataFrame:
        """Columns ``TIME_COLUMNS``: ``took`` is the middle of the band in seconds, the parts are seconds added up.

        ``slow_in`` is the longest part of requests that were slow, or ``NOT_SLOW``, ``UNTIMED``, ``UNSPLIT``.
        """
        rows = [
            (
                datetime.fromtimestamp(at, UTC),
                route,
                replicas.get(place, place.decode(errors="replace")),
                (version or b"").decode(errors="replace").strip("-"),
                float("nan") if band is None else _SHORTEST * 2 ** ((band - 0.5) / _PER_OCTAVE),
                slow_in,
                int(number),
                *parts,
            )
            for (at, route, place, version, band, slow_in), (number, *parts) in self._sums.items()
        ]
        return pd.DataFrame(rows, columns=TIME_COLUMNS)
