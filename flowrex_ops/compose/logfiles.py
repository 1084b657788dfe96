"""Log files as bounded streams of lines with their times (all times UTC)."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from flowrex_ops.compose.logstream import PIECE_BYTES, whole_lines
from flowrex_ops.model import LogLine

_HEAD = 80
"""Characters at the start of a line in which its time is looked for."""

_ZONE = r"(?: ?(Z|UTC|[+-]\d\d:?\d\d)(?![\d-]))?"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # 2026-11-23T17:00:00.123Z (backend), 2026-11-23 17:00:00,123 (Python), 2026-11-23 17:00:00 +0530 (gunicorn)
    (re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?" + _ZONE), ""),
    # 2026/11/23 17:00:00 (NGINX error log)
    (re.compile(r"(\d{4}/\d\d/\d\d) (\d\d:\d\d:\d\d)()" + _ZONE), "%Y/%m/%d %H:%M:%S"),
    # 23/Nov/2026:17:00:00 +0000 (access logs)
    (re.compile(r"(\d\d/[A-Z][a-z]{2}/\d{4}):(\d\d:\d\d:\d\d)()" + _ZONE), "%d/%b/%Y %H:%M:%S"),
    # 23 Nov 2026 17:00:00.123 (Redis)
    (re.compile(r"(\d\d? [A-Z][a-z]{2} \d{4}) (\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?" + _ZONE), "%d %b %Y %H:%M:%S"),
)
_EPOCH = re.compile(r'"(?:ts|time|timestamp|@timestamp)": ?(\d{10}(?:\.\d+)?)\b')
"""Caddy, zap, structlog: seconds since 1970 in JSON."""


def parse_time(text: str) -> datetime | None:
    """The time near the start of a log line, or ``None``. Times without a zone are UTC."""
    if text[:1].isspace():  # a traceback's line, or a continued one: the most of a log in trouble
        return None
    head = text[:_HEAD]
    for pattern, form in _PATTERNS:
        match = pattern.search(head)
        if match:
            day, clock, fraction, zone = match.groups()
            try:
                at = _at(f"{day} {clock}", form, zone)
            except ValueError:
                return None
            return at.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
    since_1970 = _EPOCH.search(head) if head[:1] == "{" else None
    return datetime.fromtimestamp(float(since_1970[1]), UTC) if since_1970 else None


def _at(text: str, form: str, zone: str | None) -> datetime:
    """The same as strptime, and for ISO 8601 (no *form*) ten times as fast."""
    at = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
    if zone is None or zone in ("Z", "UTC"):
        return at.replace(tzinfo=UTC)
    hours, minutes = int(zone[:3]), int(zone[0] + zone[-2:])
    return at.replace(tzinfo=UTC) - timedelta(hours=hours, minutes=minutes)


def read_log_file(path: Path, *, service: str, replica: str, since: datetime, max_bytes: int) -> Iterator[LogLine]:
    """Lines since a time from the newest *max_bytes* of a file and of its rotated predecessor ``<file>.1``.

    A line without a time of its own (a traceback's) belongs to, and takes the time of, the line before it. Where the
    limit cuts an entry in two, the rest of it is left out; a log without any times is given whole.
    """
    at: datetime | None = None
    rest: list[str] = []
    cut = _size(path) > max_bytes
    for text in _tail(path, max_bytes):
        at = parse_time(text) or at
        if at is None and cut:
            rest.append(text)
        elif at is None or at >= since:
            yield LogLine(service, replica, text, at)
    if at is None:
        yield from (LogLine(service, replica, text, None) for text in rest)


def read_log_chunks(path: Path, *, since: datetime, max_bytes: int) -> Iterator[bytes]:
    """What ``read_log_file`` reads, as pieces of whole lines. Where *since* lies is searched for, not read up to."""
    for file, offset in _parts(path, max_bytes):
        with file.open("rb") as stream:
            end = stream.seek(0, 2)
            stream.seek(_first_since(stream, since, offset, end))
            yield from whole_lines(iter(lambda: stream.read(PIECE_BYTES), b""))  # used up before the next


def _first_since(stream: BinaryIO, since: datetime, start: int, end: int) -> int:
    """Where the first line at or after *since* begins, between two offsets; times in a log only grow. A log without any is given whole."""
    beginning, timed = start, False
    while end - start > PIECE_BYTES:
        middle = (start + end) // 2
        at, place = _time_after(stream, middle, end)
        if at is not None and at < since:
            start = place
        else:
            end = middle
    stream.seek(max(0, start - 1))
    if start:
        stream.readline()  # the rest of a line that the offset cuts in two
    for line in iter(stream.readline, b""):
        at = parse_time(line[:_HEAD].decode("utf-8", errors="replace"))
        timed = timed or at is not None
        if at is not None and at >= since:
            return stream.tell() - len(line)
    return stream.tell() if timed or start > beginning else beginning


def _time_after(stream: BinaryIO, offset: int, end: int) -> tuple[datetime | None, int]:
    """The time of the first line after *offset* that has one, and where that line begins."""
    stream.seek(offset)
    stream.readline()
    while stream.tell() < end:
        place = stream.tell()
        at = parse_time(stream.readline()[:_HEAD].decode("utf-8", errors="replace"))
        if at is not None:
            return at, place
    return None, end


def merge_by_time(streams: Sequence[Iterator[LogLine]]) -> Iterator[LogLine]:
    """The streams as one, ordered by time; each is read only as far as needed."""
    beginning = datetime.min.replace(tzinfo=UTC)
    yield from heapq.merge(*streams, key=lambda line: line.at or beginning)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, path.with_name(path.name + ".1")) if file.is_file())


def _tail(path: Path, max_bytes: int) -> Iterator[str]:
    for file, offset in _parts(path, max_bytes):
        with file.open("rb") as stream:
            if offset:
                stream.seek(offset - 1)
                stream.readline()  # the rest of a line that the limit cuts in two
            for raw in stream:
                yield raw.decode("utf-8", errors="replace").rstrip("\r\n")


def _parts(path: Path, max_bytes: int) -> list[tuple[Path, int]]:
    """The file and its rotated predecessor, the older first, each with the offset from which on it counts."""
    left = max_bytes
    parts: list[tuple[Path, int]] = []
    for file in (path, path.with_name(path.name + ".1")):
        if left > 0 and file.is_file():
            size = file.stat().st_size
            parts.append((file, max(0, size - left)))
            left -= size
    return parts[::-1]
