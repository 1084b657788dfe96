"""What users got lately, by NGINX's access log: how the sandbox knows that requests fail, and that they no longer do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flowrex_sandbox.sandbox import Sandbox

_LINE = re.compile(r'^(\S+) (\S+) "\S+ ([^ ?"]+)[^"]*" (\d{3}) \S+ (\S+) .*header_time="(?:[^"]*[ ,])?([^" ,]+)"')
_LOG_BYTES = 8 * 1024 * 1024
_LATELY_SECONDS = 10.0
_LONGEST_SECONDS = 120.0
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the access log; ``made_by`` is ``proxy`` where no replica gave an answer."""

    at: datetime
    client: str
    path: str
    status: int
    made_by: str
    seconds: float


def answers(sandbox: Sandbox, *, seconds: float = _LATELY_SECONDS) -> list[Answer]:
    """What was answered in the last *seconds*."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    lines = sandbox.stack().read_logs("nginx", since=since, max_bytes=_LOG_BYTES)
    found = (_LINE.match(line.text) for line in lines)
    return [
        Answer(
            datetime.fromisoformat(at),
            client,
            path,
            int(status),
            "proxy" if header == "-" else "backend",
            float(seconds),
        )
        for at, client, path, status, seconds, header in (match.groups() for match in found if match)
    ]


def failures(sandbox: Sandbox, *, made_by: str = "", path: str = "", seconds: float = _LATELY_SECONDS) -> list[Answer]:
    """The 5xx among them, of one maker and on one path where these are given."""
    return [
        answer
        for answer in answers(sandbox, seconds=seconds)
        if answer.status >= SERVER_ERROR and made_by in ("", answer.made_by) and path in ("", answer.path)
    ]


def seconds_since_failure(sandbox: Sandbox, *, made_by: str = "") -> float:
    """How long no request has failed; infinite for longer than two minutes."""
    found = failures(sandbox, made_by=made_by, seconds=_LONGEST_SECONDS)
    return (datetime.now(UTC) - max(answer.at for answer in found)).total_seconds() if found else float("inf")
