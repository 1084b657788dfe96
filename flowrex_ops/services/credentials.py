"""A password that was changed on one side alone: open connections go on, and whoever connects anew is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, whole
from flowrex_ops.compose import Stack
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.credentials import refusal_in
from flowrex_ops.logs.json_entry import excerpt
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Evidence, LogLine, Reading, Severity, Verdict
from flowrex_ops.reading import Source, reads
from flowrex_ops.services.configuration import apart_of, listed
from flowrex_ops.services.impact import of_failures
from flowrex_ops.services.resolver import needed_names

Frame = Reading[pd.DataFrame]

REFUSAL_COLUMNS = [
    "service", "replica", "lines", "dependency", "login", "refused", "first_at", "last_at", "example",
]  # fmt: skip
"""``lines`` of its log were read; ``refused`` is how often, each second once, for one error is several lines. Each replica has a row of none.

A service whose log cannot be read has a row without that, and why as its ``example``."""
_NOW = timedelta(seconds=150)
"""A pool that is refused waits twice as long each time, up to two minutes (psycopg_pool's 128 s): what is longer ago is over."""
_UP = timedelta(seconds=30)
"""A process that Docker started again has logged in by then, or was refused again."""
_OF_RIGHTS = re.compile(r"(?i)NOPERM|no permissions")
"""The login was taken; a command, a key or a channel is not its to use."""
FEW, ENOUGH_LINES = 3, 20
_MOST_SERVICES, _BYTES = 8, 8 * 1024 * 1024


class CredentialsSource(Source):
    """The logs of *service*, and of whatever else has a database or a cache in its environment. Servers' own logs are not read: they tell of anybody's login, ours too."""

    name = "credentials"

    def __init__(self, stack: Stack, service: str, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack, self._service = stack, service

    @reads("refused logins")
    def get_refusals(self, *, since: timedelta) -> pd.DataFrame:
        """A row a replica and who refuses it, columns ``REFUSAL_COLUMNS``; times in UTC."""
        users = {one.service for one in self._stack.get_replicas() if needed_names(one.definition.environment)}
        services = [self._service, *sorted(users - {self._service})][:_MOST_SERVICES]
        begin = self.now() - since
        share = _BYTES // len(services)
        tables = []
        for one in services:
            try:
                found = count_refusals(self._stack.read_logs(one, since=begin, max_bytes=share))
            except (OSError, UnicodeError, SourceUnavailableError) as error:
                unread = {"service": one, "lines": 0, "example": f"the log of {one} cannot be read: {error}"}
                found = pd.DataFrame([unread], columns=REFUSAL_COLUMNS)
            tables.append(found.astype(object))
        return pd.concat(tables, ignore_index=True)


def count_refusals(lines: Iterable[LogLine]) -> pd.DataFrame:
    """One pass: columns ``REFUSAL_COLUMNS``."""
    read: dict[tuple[str, str], int] = {}
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines:
        where = (line.service, line.replica)
        read[where] = read.get(where, 0) + 1
        if refused := refusal_in(line.text):
            _count(found.setdefault((*where, *refused), {"refused": 0, "first_at": line.at, "example": ""}), line)
    rows = [
        {"service": service, "replica": replica, "lines": number, "dependency": "", "refused": 0}
        for (service, replica), number in read.items()
    ]
    rows += [
        {
            **dict(zip(("service", "replica", "dependency", "login"), key, strict=True)),
            "lines": read[key[0], key[1]],
            **one,
        }
        for key, one in found.items()
    ]
    frame = pd.DataFrame(rows, columns=REFUSAL_COLUMNS)
    return frame.assign(**{name: pd.to_datetime(frame[name], utc=True) for name in ("first_at", "last_at")})


def _count(one: dict[str, Any], line: LogLine) -> None:
    last: datetime | None = one.get("last_at")
    if last is None or line.at is None or line.at - last >= timedelta(seconds=1):
        one["refused"] += 1
        one["last_at"] = line.at or last
        one["example"] = excerpt(line.text.strip())[:300]


@check("credentials.rotated-halfway")
def check_rotated_halfway(refusals: Frame, services: Frame, variants: Frame, log: Reading[LogSummary]) -> Verdict:
    """No replica's log tells that PostgreSQL or Redis refuses its login, now."""
    cause = "credentials.rotated-halfway"
    if missing(refusals):
        return inconclusive(cause, refusals)
    table = whole(refusals.require(), REFUSAL_COLUMNS)
    told = table[table["refused"].ne(0)]
    rows = whole(services.require(), REPLICA_COLUMNS) if services.available else pd.DataFrame(columns=REPLICA_COLUMNS)
    processes = {row.name: row for row in rows.itertuples(index=False)}
    when = [_when(row, processes.get(row.replica), refusals.taken_at) for row in told.itertuples()]
    said = pd.Series(when, index=told.index, dtype=object)
    now, untimed = told[said.eq("now")], told[said.eq("")]
    if now["refused"].sum() >= FEW:
        return _judge(cause, now, rows, variants, log)
    unread = untimed.loc[untimed["refused"].isna(), "example"].dropna()
    if not len(now) and len(unread):
        return inconclusive(cause, *unread)
    if len(now) or len(untimed):
        why = "rare, or it has just begun; look again in a minute" if len(now) else "when is not told; is it so now?"
        return inconclusive(cause, f"{_said(next((now if len(now) else untimed).itertuples()))}: {why}")
    names = ", ".join(sorted(set(table["service"].dropna())))
    over = f"; over is: {_said(next(told.itertuples()))}" if len(told) else ""
    lines = int(table.loc[table["refused"].eq(0), "lines"].sum())
    reported = f"none of {lines} lines of {names or 'the logs'} tells of a login that is refused"
    if lines < ENOUGH_LINES:
        return inconclusive(cause, f"{reported}, and these are too few{over}")
    return ruled_out(cause, f"{reported}{' now' if over else ''}{over}")


# A new process has another environment, and its own word. One that was started by Docker itself may have been refused to death.
def _when(row: Any, process: Any, taken_at: datetime) -> str:
    """``now``, ``over``, or nothing where the log does not tell."""
    if pd.isna(row.last_at):
        return ""
    if process is not None and pd.notna(process.started_at) and row.last_at < process.started_at:
        up = process.state == "running" and (not process.restarts or taken_at - process.started_at >= _UP)
        return "over" if up else "now"
    return "now" if taken_at - row.last_at <= _NOW else "over"


def _judge(cause: str, now: pd.DataFrame, rows: pd.DataFrame, variants: Frame, log: Reading[LogSummary]) -> Verdict:
    refused, by = (sorted(set(now[name].dropna())) for name in ("replica", "dependency"))
    title = f"{' and '.join(by)} {'refuses' if len(by) == 1 else 'refuse'} {listed(refused)}"
    same = rows[rows["service"].isin(now["service"]) & rows["state"].eq("running")]
    others = sorted(set(same["name"].dropna()) - set(refused))
    evidence = [Evidence(row.replica, _said(row), "log") for row in now.itertuples()]
    if others:
        title = f"{title}, and not {listed(others)}"
        evidence.append(Evidence("not refused", listed(others), "log"))
    made = apart_of(variants)
    evidence += [
        Evidence(row.replica, f"made with another {', '.join(names)} than {row.newest}", "stack")
        for row in made[made["service"].isin(now["service"])].itertuples()
        if (names := [what for what in row.differs if what.startswith("environment ")])
    ]
    severity = Severity.P2
    if log.available and (begin := log.require().failing_since(0.05)):
        severity = of_failures(*log.require().count_since(begin))
    reason = f"{title}: {evidence[0].value}"
    told = confirmed(cause, reason, evidence[:8], severity=severity, title=title, services=now["service"].dropna())
    rights = now["example"].astype(str).str.contains(_OF_RIGHTS).all()
    return told.with_steps(lambda one: not rights or "password" not in f"{one.target} {one.text}")


def _said(row: Any) -> str:
    login = f" '{row.login}'" if isinstance(row.login, str) and row.login else ""
    when = " to ".join(f"{at:%H:%M:%S}" for at in (row.first_at, row.last_at) if pd.notna(at))
    what = "commands, of which it has no right to some," if _OF_RIGHTS.search(str(row.example)) else "login"
    return f"{row.dependency} refused {what}{login} {row.refused} times, {when} UTC, such as '{row.example}'"
