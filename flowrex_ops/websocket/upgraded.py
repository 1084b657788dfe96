"""What the proxy's access log says of WebSockets: one line with status 101 for each, written when it ended.

NGINX logs a request once it is over (ngx_http_log_module); for an upgraded connection ``$request_time`` is how long it was open.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flowrex_ops.logs.access_format import Format, compile_format, parse_line, path_of
from flowrex_ops.logs.access_log import parse_time

UNREPORTED = 0
"""In the place of a close code: only the proxy tells of this connection, and it logs none."""

KEPT = 5000
_LINE = re.compile(rb"^[^\n]*(?<!\d)101(?!\d)[^\n]*$", re.MULTILINE)


def read_upgraded(
    chunks: Iterable[bytes],
    *,
    recent_since: datetime,
    find_formats: Callable[[], Sequence[str]] = tuple,
    replicas: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The newest connections that ended, as rows of ``CLOSING_COLUMNS``: their code is ``UNREPORTED``, their age often unknown.

    *find_formats* gives the proxy's own ``log_format``, asked only where there is such a line; *replicas* names by ``host:port``.
    """
    found: deque[dict[str, Any]] = deque(maxlen=KEPT)
    for fields in _upgraded(chunks, find_formats):
        if at := _moment(fields.get("time", "")):
            found.append(_row(fields, at, recent_since, replicas or {}))
    return list(found)


def find_used_path(chunks: Iterable[bytes], find_formats: Callable[[], Sequence[str]]) -> str:
    """At which path most connections were opened; empty where none was."""
    found = Counter(map(path_of, _upgraded(chunks, find_formats)))
    path = next(iter(found.most_common(1)), ("", 0))[0]
    return path if path.startswith("/") else ""


def _upgraded(chunks: Iterable[bytes], find_formats: Callable[[], Sequence[str]]) -> Iterator[Mapping[str, str]]:
    """The fields of each line with status 101."""
    formats: list[Format] | None = None
    for chunk in chunks:
        for match in _LINE.finditer(chunk):
            if formats is None:
                formats = [compile_format(text) for text in find_formats()]
            fields = _fields(match[0], formats)
            if fields.get("status") == "101":
                yield fields


def _fields(line: bytes, formats: Sequence[Format]) -> Mapping[str, str]:
    for one in formats:
        if one.pattern and (found := one.pattern.match(line)):
            return {name: text.decode(errors="replace") for name, text in found.groupdict(b"").items()}
    return parse_line(line.decode(errors="replace"), formats) or {}


def _moment(text: str) -> datetime | None:
    try:
        return parse_time(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _row(
    fields: Mapping[str, str], at: datetime, recent_since: datetime, replicas: Mapping[str, str]
) -> dict[str, Any]:
    took, place = fields.get("seconds", ""), fields.get("upstream", "")
    numeric = re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", took)
    return {
        "at": at,
        "replica": replicas.get(place, ""),
        "code": UNREPORTED,
        "by": "unreported",
        "age_seconds": float(took) if numeric else None,
        "idle_seconds": None,
        "recent": at >= recent_since,
        "restart": False,
        "client": fields.get("client", ""),
        "reason": "",
    }
