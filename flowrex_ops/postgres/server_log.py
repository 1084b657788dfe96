"""PostgreSQL's own log, streamed once: what it says of crashes, deadlocks and damage, by kind.

The forms are those of log_destination (PostgreSQL: Error Reporting and Logging): stderr with any log_line_prefix and verbosity, csvlog, and
jsonlog; also as containerd (CRI), Docker or CloudNativePG wrap them. Only what PostgreSQL itself reports counts, from the start of its message: a
statement that is quoted (STATEMENT, DETAIL, CONTEXT, "statement: …") may hold any words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.access_format import parse_object
from flowrex_ops.model import LogLine
from flowrex_ops.reading import Source, reads

SERVER_LOG_COLUMNS = ["kind", "lines", "recent", "first_at", "last_at", "example"]

_MAX_BYTES = 32 * 1024 * 1024
_HEAD_LINES = 2000
_ENOUGH = 100
_EXAMPLE_CHARACTERS = 300

UNDERSTOOD, COLLECTED, ELSEWHERE = "understood", "from csvlog or jsonlog", "logged elsewhere"
"""Lines of PostgreSQL in English, those of them that its logging collector has written (up to a hundred), and those that say that it will."""

_KINDS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("deadlock", "deadlock detected", re.compile(r"ERROR: deadlock detected(?: at character \d+)?$")),
    (
        "ended process",
        "(PID ",
        re.compile(
            r"LOG: .*\(PID \d+\) (?:was terminated by (?:signal|exception)|exited with exit code (?:[2-9]|\d\d))"
        ),
    ),
    ("crash", "terminating any other", re.compile(r"LOG: terminating any other active server processes")),
    ("recovery", "not properly shut down", re.compile(r"LOG: database system was not properly shut down")),
    (
        "corruption",
        "",
        re.compile(
            r"(?:WARNING|ERROR|FATAL|PANIC): (?:invalid page in block \d|could not read blocks? \d|page verification failed"
            r"|missing chunk number \d+ for toast value|index \".*\" contains (?:unexpected zero|corrupted) page)"
        ),
    ),
    (
        "refused",
        "",
        re.compile(
            r"FATAL: (?:sorry, too many clients already|remaining connection slots are reserved|too many connections for (?:role|database))"
        ),
    ),
    ("lock table full", "out of shared memory", re.compile(r"ERROR: out of shared memory")),
    (
        "disk full",
        "No space left on device",
        re.compile(r"(?:LOG|WARNING|ERROR|FATAL|PANIC): could not [^']*: No space left on device"),
    ),
    (
        ELSEWHERE,
        "log output to",
        re.compile(r"LOG: (?:redirecting log output to logging collector|ending log output to stderr)"),
    ),
)
_WORDS = (
    *(word for _, word, _ in _KINDS if word),
    *("too many c", "connection slots are"),
    *("invalid page", "could not read block", "page verification", "missing chunk", " page at block"),
)
"""One of them stands in each line of a kind: a plain search is twenty times as fast as the expressions."""

_ENGLISH = re.compile(
    r"\w+: (?:starting PostgreSQL|listening on|database system (?:is|was)|the database system is|checkpoint (?:starting|complete)|restartpoint"
    r"|received |automatic (?:vacuum|analyze|aggressive)|connection |disconnection: |duration: |statement: |execute |process \d+ |could not |cancel"
    r"|terminating |duplicate key value|relation |column |role |syntax error|null value|new row|update or delete|permission denied|password auth"
    r"|no pg_hba|unexpected EOF|redo |temporary file|parameter |deadlock detected|there is |background worker|shutting down|aborting|logical )"
)

_LEVELS = "LOG|WARNING|ERROR|FATAL|PANIC"
_REPORTED = frozenset(_LEVELS.split("|"))
_STDERR = re.compile(
    r"[^\t]*?\b(" + _LEVELS + r"|DEBUG\d?|INFO|NOTICE|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):  (.*)"
)
"""A line that goes on with the text of the one before begins with a tab, whatever stands before that tab."""
_CSV = re.compile(
    r"(?:\S+ std(?:out|err) [FP] )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,]+,.*?,("
    + _LEVELS
    + r'),\w{5},"((?:[^"]|"")*)'
)
_SQLSTATE = re.compile(r"[0-9A-Z]{5}: ")
_SQLSTATE_WIDTH = len("40P01: ")
"""What ``log_error_verbosity = verbose`` puts before the message."""


class ServerLogSource(Source):
    """The log of PostgreSQL's service, read through the stack."""

    name = "logs"

    def __init__(self, stack: Stack, service: str, *, limit_seconds: float, max_bytes: int) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack
        self._service = service
        self._max_bytes = min(max_bytes, _MAX_BYTES)

    @reads("PostgreSQL's log")
    def get_events(self, *, since: timedelta, log_minutes: float) -> pd.DataFrame:
        """What PostgreSQL logged since *since* ago, a row for each kind; columns ``SERVER_LOG_COLUMNS``.

        ``recent``: how many in the last *log_minutes*. Where it logged nothing, the log's beginning tells whether it is PostgreSQL's at all.
        """
        now = self.now()
        try:
            if not self._stack.get_replicas(self._service):
                raise SourceUnavailableError(f"the stack has no service '{self._service}'; set postgres.service")
            events = count_events(self._lines(now - since), recent_since=now - timedelta(minutes=log_minutes))
            if not events["lines"].iloc[0]:
                whole = count_events(islice(self._lines(datetime.fromtimestamp(0, UTC)), _HEAD_LINES), recent_since=now)
                about = events["kind"].isin([UNDERSTOOD, COLLECTED, ELSEWHERE])
                events.loc[about] = whole[about]
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"the log of '{self._service}' broke off: {error}; ask again") from None
        return events

    def _lines(self, since: datetime) -> Iterable[LogLine]:
        return self._stack.read_logs(self._service, since=since, max_bytes=self._max_bytes)


def count_events(lines: Iterable[LogLine], *, recent_since: datetime) -> pd.DataFrame:
    """One pass, constant memory: a row for each kind, first of all the lines that were understood."""
    found: dict[str, dict[str, Any]] = {
        kind: {**dict.fromkeys(SERVER_LOG_COLUMNS), "kind": kind, "lines": 0, "recent": 0, "example": ""}
        for kind in (UNDERSTOOD, COLLECTED, *(kind for kind, _, _ in _KINDS))
    }
    understood = found[UNDERSTOOD]
    in_csv: set[str] = set()
    for line in lines:
        notable = any(word in line.text for word in _WORDS)
        if not notable and understood["lines"] >= _ENOUGH:
            continue
        said = parse(line.text, csv=line.replica in in_csv)
        if said is None:
            continue
        form, text = said
        if form == "csvlog":
            in_csv.add(line.replica)
        kinds = [kind for kind, _, pattern in _KINDS if pattern.match(text)] if notable else []
        if _ENGLISH.match(text):
            kinds += [UNDERSTOOD] if form == "stderr" else [UNDERSTOOD, COLLECTED]
        for kind in kinds:
            _count(found[kind], line, text, recent_since)
    return pd.DataFrame(list(found.values()), columns=SERVER_LOG_COLUMNS).astype(
        {"first_at": "datetime64[ns, UTC]", "last_at": "datetime64[ns, UTC]"}
    )


def _count(entry: dict[str, Any], line: LogLine, text: str, recent_since: datetime) -> None:
    entry["lines"] += 1
    entry["recent"] += line.at is not None and line.at >= recent_since
    entry["first_at"] = entry["first_at"] or line.at
    entry["last_at"] = line.at or entry["last_at"]
    entry["example"] = text[:_EXAMPLE_CHARACTERS]


def parse(text: str, *, csv: bool = False) -> tuple[str, str] | None:
    """The form of a line of PostgreSQL and its ``LEVEL: message``; None for any other, and for what belongs to the line before.

    *csv*: the log is known to be csvlog's, in which a statement goes on in lines that look like anything.
    """
    if found := _CSV.match(text):
        return "csvlog", f"{found[1]}: {found[2]}"
    if csv:
        return None
    if '{"' in text and (inner := _of_json(text[text.index('{"') :])):
        return inner
    if (found := _STDERR.match(text)) and found[1] in _REPORTED:
        message = found[2][_SQLSTATE_WIDTH:] if _SQLSTATE.match(found[2]) else found[2]
        return "stderr", f"{found[1]}: {message}".rstrip()
    return None


def _of_json(text: str) -> tuple[str, str] | None:
    """An object of jsonlog, of CloudNativePG around one, or of Docker around a line of whatever form."""
    entry = parse_object(text)
    if entry is None:
        return None
    if isinstance(entry.get("log"), str):
        return parse(entry["log"].rstrip("\n"))
    record = entry["record"] if isinstance(entry.get("record"), dict) else entry
    level, message = record.get("error_severity"), record.get("message")
    return ("jsonlog", f"{level}: {message}") if level in _REPORTED else None
