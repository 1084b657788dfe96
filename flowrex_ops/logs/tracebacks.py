"""One entry of a log, understood: which exception, raised where, and whether it speaks of something that we depend on.

A signature is the exception and the function of our own code that it came out of, without line numbers, which every
release moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowrex_ops.logs.broker_errors import classify

HEADING = "Traceback (most recent call last)"
_MARGIN = re.compile(r"^\s*(?:[|+] ?|\+-\+-+ \d+ -+)+")
"""What an exception group puts before each of its lines."""
_FRAME = re.compile(r'^[\s>]*File "([^"]+)", line (\d+)(?:, in (\S+))?')
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.<>]*)(?::\s(.*)|:?\s*)$")
_LIBRARY = re.compile(
    r"[/\\](?:site-packages|dist-packages|lib(?:64)?[/\\]python[\d.]+|\.?venv|virtualenvs|\.pyenv)[/\\]|^<|\.(?:pyx|pxd|pxi|so|c|cpp)$"
)
_PACKAGE = re.compile(r"[/\\](?:site|dist)-packages[/\\](\w+)")

POOL_ERRORS = (
    "connection pool",
    "pool timeout",
    "pooltimeout",
    "queuepool limit",
    "too many clients",
    "remaining connection slots",
    "query_wait_timeout",
    "no more connections allowed",
)
"""What drivers, pools and PgBouncer say, in lower case, when there is no connection to be had."""

_ASYNCPG_POOL = "asyncpg/pool.py"

FILES = "descriptors"
_NO_FILES = re.compile(r"too many open files|no file descriptors available|\bEMFILE\b", re.IGNORECASE)
"""EMFILE, in glibc's words and in musl's: whatever it was that could not be opened, also a socket to a dependency."""
_POSTGRES = re.compile(r"\b(?:psycopg|psycopg2|asyncpg|sqlalchemy)\b|\bPoolTimeout\b|reason=database\b")
_POSTGRES_GONE = re.compile(
    r"OperationalError|InterfaceError|PoolTimeout|PoolClosed|ConnectionTimeout|AdminShutdown|CannotConnectNow"
    r"|TooManyConnections|QueryCanceled|ReadOnlySQLTransaction|DeadlockDetected|LockNotAvailable|DiskFull|OutOfMemory"
    r"|InsufficientPrivilege|InvalidPassword|InvalidAuthorization|CrashShutdown|ConnectionDoesNotExist|pgbouncer cannot connect|server login has been failing|connection (?:refused|timeout|failed|is closed|was closed)|reason=database\b",
    re.IGNORECASE,
)
"""Not the statement's fault but the server's state, by the classes that psycopg and asyncpg have for SQLSTATE 25006, 28, 40P01, 42501, 53, 55P03, 57, 58
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_REDIS = re.compile(r"\b(?:redis|aioredis|valkey)\b.*(?:Error|error)|\bError \d+ connecting to\b.*:6379\b")
_REDIS_CODE = re.compile(r"\bredis\b.*(?:DataError|WRONGTYPE|unknown command|wrong number of arguments)")
_NOT_REACHED = re.compile(
    r"^(?:socket\.gaierror|(?:builtins\.|asyncio\.(?:exceptions\.)?)?(?:ConnectionRefusedError|ConnectionResetError|ConnectionError"
    r"|OSError|TimeoutError|BrokenPipeError))$"
)
"""What a driver lets through when its server cannot be reached; which server, its own frames or the port tell."""
_DRIVERS = {"asyncpg": "postgres", "psycopg": "postgres", "psycopg2": "postgres", "redis": "redis", "aioredis": "redis"}
_PORT = re.compile(r"(?:', |:)(5432|6379)\b")
_PORTS = {"5432": "postgres", "6379": "redis"}
_BROKER_KINDS = ("unreachable", "timeout", "credentials", "rejected")
_OUTSIDE = re.compile(
    r"\b(?:httpx|httpcore|requests|urllib3|aiohttp)\b[\w.]*\.(?:\w*Connect\w*|\w*Timeout\w*|RequestError|RemoteProtocolError)"
)
_TOLD = re.compile(
    r"\bHTTPS?ConnectionPool\(host='(?P<urllib3>[\w.-]+)'|\bCannot connect to host (?P<aiohttp>[\w.-]+)"
    r"|\b(?:40[137]|429|5\d\d) (?:Client|Server) Error: .*? for url: https?://(?P<requests>[\w.-]+)"
    r"|\b(?:Client error '(?:40[137]|429)|Server error '5\d\d)\b[^']*' for url 'https?://(?P<httpx>[\w.-]+)"
)
"""What HTTP clients say of the other side, also in a line without a traceback; of what it calls our mistake (400, 404) nothing."""
_HOST = re.compile(r"(?:host=|https?://)['\"]?([\w.-]+)")


@dataclass(frozen=True, slots=True)
class ParsedError:
    """``kind``: ``descriptors`` (no file to be opened), ``exhausted`` (no connection to be had), ``dependency`` or ``code``; ``dependency`` names which, if any.

    ``exception`` and ``frame`` are empty where an entry has no traceback; ``frame`` is ``trading.py:get_prices``, the
    deepest one in code of our own, and ``place`` the same with folder and line, ``app/trading.py:41 in get_prices``.
    ``names``: the words in the files and functions of our own code on the way there.
    """

    exception: str
    message: str
    frame: str
    place: str
    kind: str
    dependency: str
    names: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Section:
    """One traceback of a chain or of a group: its frames, and the first line after them, which names the exception."""

    depth: int
    frames: list[tuple[str, str, str]] = field(default_factory=list)
    exception: str = ""
    message: str = ""
    line: str = ""

    @property
    def own(self) -> list[tuple[str, str, str]]:
        """Frames in code of our own; all of them where none is."""
        return [frame for frame in self.frames if not _is_library(frame)] or self.frames


def parse_traceback(first_line: str, traceback: Sequence[str] = ()) -> ParsedError:
    """What an entry tells, by its first line and its traceback's lines (also cut, chained, grouped, or none at all).

    Of a chain the last exception counts, which is the one that the caller saw; its causes still tell the dependency.
    Of a group its first member counts: that a group was raised says nothing.
    """
    sections = _sections(traceback)
    named = [section for section in sections if section.exception]
    chosen = _deciding(named) or (sections[-1] if sections else _Section(0))
    # A comprehension or a lambda is a frame without a name (before Python 3.12); the function around it has one.
    own = [frame for frame in chosen.own if not frame[2].startswith("<")] or chosen.own
    file, number, function = own[-1] if own else ("", "", "")
    parts = re.split(r"[/\\]", file)
    kind, dependency = _classify(first_line, chosen.exception, named)
    words = " ".join(f"{re.split(r'[/.]', name)[-2 if '.' in name else -1]} {what}" for name, _, what in own)
    return ParsedError(
        chosen.exception,
        chosen.message,
        f"{parts[-1]}:{function}" if own else "",
        f"{'/'.join(parts[-2:])}:{number} in {function}" if own else "",
        kind,
        dependency,
        frozenset(re.findall(r"[a-z]{3,}", words.lower())),
    )


def _sections(lines: Sequence[str]) -> list[_Section]:
    found: list[_Section] = []
    for raw in lines:
        margin = _MARGIN.match(raw)
        line = raw[margin.end() :] if margin else raw
        depth = len(margin[0].rstrip()) if margin else 0  # a group in another stands further right
        frame = _FRAME.match(line)
        if HEADING in line or (frame and not found):
            found.append(_Section(depth))
        current = found[-1] if found else None
        if current is None or current.exception:
            continue
        if frame:
            current.frames.append((frame[1], frame[2], frame[3] or ""))
        elif line and not line[0].isspace() and HEADING not in line and (named := _EXCEPTION.match(line)):
            current.exception, current.message, current.line = named[1], named[2] or "", line
    return found


def _deciding(named: Sequence[_Section]) -> _Section | None:
    """The last exception of the outermost chain; where that is a group, the first of its members that is none."""
    if not named:
        return None
    outermost = min(section.depth for section in named)
    at = max(index for index, section in enumerate(named) if section.depth == outermost)
    if not named[at].exception.endswith("ExceptionGroup"):
        return named[at]
    members = (one for one in named[at + 1 :] if not one.exception.endswith("ExceptionGroup"))
    return next(members, named[at])


def _is_library(frame: tuple[str, str, str]) -> bool:
    """Somebody else's code; also compiled code, whose path leads nowhere and whose function has its module in its name."""
    file, _, function = frame
    return bool(_LIBRARY.search(file)) or ("." in function and not function.startswith("<"))


def _classify(first_line: str, exception: str, sections: Sequence[_Section]) -> tuple[str, str]:
    raised = [section.line for section in sections]
    text = "\n".join((first_line, *raised))
    lowered = text.lower()
    if _NO_FILES.search(text):
        return FILES, ""
    if any(words in lowered for words in POOL_ERRORS) or any(map(_waited_for_pool, sections)):
        return "exhausted", "postgres"
    if _POSTGRES.search(text) and _POSTGRES_GONE.search(text):
        return "dependency", "postgres"
    if _REDIS.search(text) and not _REDIS_CODE.search(text):
        return "dependency", "redis"
    if "trade failed" in lowered and classify(first_line) in _BROKER_KINDS:
        return "dependency", "broker"
    other = _other_dependency(exception, sections, text)
    return ("dependency", other) if other else ("code", "")


def _waited_for_pool(section: _Section) -> bool:
    """Asyncpg's pool says no more than ``TimeoutError`` where it has no connection to give; its own frames tell which."""
    return section.exception.endswith("TimeoutError") and any(
        _ASYNCPG_POOL in re.sub(r"\\+", "/", file) and "acquire" in function for file, _, function in section.frames
    )


def tells_of_pool(lowered: str) -> bool:
    """Whether a line, in lower case, speaks of a pool that has no connection to give; an entry in JSON is one line, with its traceback."""
    return any(words in lowered for words in POOL_ERRORS) or (_ASYNCPG_POOL in lowered and "ntimeouterror" in lowered)


def _other_dependency(exception: str, sections: Sequence[_Section], text: str) -> str:
    """Which other service an exception tells of, that of a client library or the plain one beneath it; empty for none."""
    if _OUTSIDE.search(exception) or any(_OUTSIDE.search(section.line) for section in sections):
        host = _HOST.search(text)
        return host[1] if host else "an outside service"
    if reported := _TOLD.search(text):
        return next(host for host in reported.groups() if host)
    return next((_server(section) for section in sections if _NOT_REACHED.match(section.exception)), "")


def _server(section: _Section) -> str:
    """Which server a connection was not made to, by its port or by the driver that tried."""
    if port := _PORT.search(section.message):
        return _PORTS[port[1]]
    used = [found[1] for file, _, _ in section.frames if (found := _PACKAGE.search(file))]
    return next((_DRIVERS[name] for name in reversed(used) if name in _DRIVERS), "")
