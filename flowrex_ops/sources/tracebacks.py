"""One entry of a log, understood: which exception, raised where, and whether it speaks of something that we depend on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flowrex_ops.sources.broker import classify

_FRAME = re.compile(r'^\s+File "([^"]+)", line (\d+), in (\S+)')
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Timeout|Warning|[A-Z]\w*))(?::\s?(.*))?$")
_LIBRARY = re.compile(r"[/\\](?:site-packages|dist-packages|lib[/\\]python[\d.]+)[/\\]|^<")

POOL_ERRORS = (
    "connection pool",
    "pool timeout",
    "pooltimeout",
    "queuepool limit",
    "too many clients",
    "remaining connection slots",
)
"""What drivers and pools say, in lower case, when there is no connection to be had."""

_POSTGRES = re.compile(r"\b(?:psycopg|psycopg2|asyncpg|sqlalchemy)\b|\bPoolTimeout\b|reason=database\b")
_POSTGRES_GONE = re.compile(
    r"OperationalError|InterfaceError|PoolTimeout|PoolClosed|ConnectionTimeout|AdminShutdown|CannotConnectNow"
    r"|TooManyConnections|QueryCanceled|connection (?:refused|timeout|failed|is closed|was closed)|reason=database\b",
    re.IGNORECASE,
)
_REDIS = re.compile(r"\b(?:redis|aioredis|valkey)\b.*(?:Error|error)|\bError \d+ connecting to\b.*:6379\b")
_BROKER_KINDS = ("unreachable", "timeout", "credentials", "rejected")
_OUTSIDE = re.compile(
    r"\b(?:httpx|httpcore|requests|urllib3|aiohttp)\b[\w.]*\.(?:\w*Connect\w*|\w*Timeout\w*|RequestError|RemoteProtocolError)"
)
_HOST = re.compile(r"(?:host=|https?://)['\"]?([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Trouble:
    """``kind``: ``exhausted`` (no connection to be had), ``dependency`` or ``code``; ``dependency`` names which, if any.

    ``exception`` and ``frame`` are empty where an entry has no traceback; ``frame`` is ``trading.py:get_prices``, the
    deepest one in code of our own, and ``place`` the same with folder and line, ``app/trading.py:41 in get_prices``.
    """

    exception: str
    message: str
    frame: str
    place: str
    kind: str
    dependency: str


def understand(first_line: str, traceback: Sequence[str] = ()) -> Trouble:
    """What an entry tells, by its first line and its traceback's lines (also cut, chained, or none at all).

    Of a chain the last exception counts, which is the one that the caller saw; its causes still tell the dependency.
    """
    exception = message = ""
    frames: list[tuple[str, str, str]] = []
    raised: list[str] = []
    for line in traceback:
        frame = _FRAME.match(line)
        if frame:
            frames.append((frame[1], frame[2], frame[3]))
        elif line.startswith("Traceback (most recent call last)"):
            frames = []
        elif line and not line[0].isspace() and (found := _EXCEPTION.match(line)):
            exception, message = found[1], found[2] or ""
            raised.append(line)
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])] or frames
    # A comprehension or a lambda is a frame without a name (before Python 3.12); the function around it has one.
    own = [frame for frame in own if not frame[2].startswith("<")] or own
    file, number, function = own[-1] if own else ("", "", "")
    parts = re.split(r"[/\\]", file)
    kind, dependency = _classify(first_line, exception, raised)
    return Trouble(
        exception,
        message,
        f"{parts[-1]}:{function}" if own else "",
        f"{'/'.join(parts[-2:])}:{number} in {function}" if own else "",
        kind,
        dependency,
    )


def _classify(first_line: str, exception: str, raised: Sequence[str]) -> tuple[str, str]:
    text = "\n".join((first_line, *raised))
    lowered = text.lower()
    if any(words in lowered for words in POOL_ERRORS):
        return "exhausted", "postgres"
    if _POSTGRES.search(text) and _POSTGRES_GONE.search(text):
        return "dependency", "postgres"
    if _REDIS.search(text):
        return "dependency", "redis"
    if "trade failed" in lowered and classify(first_line) in _BROKER_KINDS:
        return "dependency", "broker"
    if _OUTSIDE.search(exception) or any(_OUTSIDE.search(line) for line in raised):
        host = _HOST.search(text)
        return "dependency", host[1] if host else "an outside service"
    return "code", ""
