"""What PostgreSQL's own log says went wrong: it crashed, sessions deadlocked, a page is damaged."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, unreported
from flowrex_ops.model import Evidence, Reading, Verdict
from flowrex_ops.postgres.server_log import COLLECTED, ELSEWHERE, UNDERSTOOD

Frame = Reading[pd.DataFrame]

_HUSHED = ("log", "fatal", "panic")
"""Values of ``log_min_messages`` with which an ERROR is not logged."""


@check("db.restarted")
def check_restarted(events: Frame, settings: Frame | None = None) -> Verdict:
    """PostgreSQL's log, in which it would stand, tells of no crash and no recovery in the last *log_minutes*; an orderly restart is none."""
    cause = "db.restarted"
    if unknown := _unknown(events):
        return inconclusive(cause, unknown)
    crash, recovery = _row(events, "crash"), _row(events, "recovery")
    happened = crash if crash["recent"] else recovery
    if happened["recent"]:
        ended = _row(events, "ended process")
        why = str(ended["example"]) if crash["recent"] and ended["recent"] else str(happened["example"])
        how = (
            "crashed and threw out all sessions" if crash["recent"] else "was killed, or its machine was, and recovered"
        )
        title = f"PostgreSQL {how} at {_at(happened)}"
        return confirmed(cause, f"{title}: {why}", [_evidence(row) for row in (ended, crash, recovery)], title=title)
    return _nothing(cause, events, settings, "neither a crash nor a recovery", crash, recovery)


@check("db.deadlocks")
def check_deadlocks(events: Frame, settings: Frame | None = None, *, deadlocks: int = 3) -> Verdict:
    """PostgreSQL's log, in which they would stand, tells of fewer than *deadlocks* in the last *log_minutes*."""
    cause = "db.deadlocks"
    if unknown := _unknown(events):
        return inconclusive(cause, unknown)
    row = _row(events, "deadlock")
    if row["recent"] >= deadlocks:
        title = f"{row['recent']:.0f} sessions were ended by a deadlock lately, the last at {_at(row)}"
        return confirmed(cause, title, [_evidence(row)], title=title)
    few = f"{row['recent']:.0f} deadlock{'' if row['recent'] == 1 else 's'} lately, fewer than {deadlocks}"
    return _nothing(cause, events, settings, few if row["recent"] else "no deadlock", row, errors=True)


@check("db.corrupted")
def check_corrupted(events: Frame, settings: Frame | None = None) -> Verdict:
    """PostgreSQL's log, in which it would stand, tells of no page that could not be read since *since*."""
    cause = "db.corrupted"
    if unknown := _unknown(events):
        return inconclusive(cause, unknown)
    row = _row(events, "corruption")
    if row["lines"]:
        title = "PostgreSQL cannot read a page of its data"
        return confirmed(cause, f"{title}, last at {_at(row)}: {row['example']}", [_evidence(row)], title=title)
    return _nothing(cause, events, settings, "no damaged page", errors=True)


def refused_of(events: Frame | None) -> tuple[pd.Series | None, bool]:
    """What PostgreSQL's log tells of connections that it refused lately for want of slots, None for nothing; and whether it would tell."""
    if events is None or not events.available or _unknown(events):
        return None, False
    rows = events.require()
    rows = rows[rows["kind"].eq("refused")]
    if rows.empty or (rows["lines"].iloc[0] and pd.isna(rows["last_at"].iloc[0])):
        return None, False
    return (rows.iloc[0] if rows["recent"].iloc[0] else None), bool(_row(events, UNDERSTOOD)["lines"])


def _unknown(events: Frame) -> Frame | str:
    if missing(events):
        return events
    rows = events.require()
    if rows.empty or unreported(rows, "kind", "lines", "recent"):
        return "PostgreSQL's log does not tell what happened how often"
    return ""


def _row(events: Frame, kind: str) -> pd.Series:
    rows = events.require()
    return rows[rows["kind"].eq(kind)].iloc[0]


def _nothing(
    cause: str, events: Frame, settings: Frame | None, what: str, *rows: pd.Series, errors: bool = False
) -> Verdict:
    """Ruled out where it would have been seen. *rows* that have lines without a time may be recent; *errors* may be hushed."""
    if any(row["lines"] and pd.isna(row["last_at"]) for row in rows):
        return inconclusive(cause, "PostgreSQL's log tells of it, in lines without a time: put %m into log_line_prefix")
    own: dict[Hashable, Any] = {"destination": "stderr", "collector": "off", "min_messages": "warning"}
    where = "by its own first lines; its settings could not be read"
    if settings is not None and settings.available and len(settings.require()):
        (own,) = settings.require().head(1).to_dict("records")
        where = f"log_destination {own['destination']}, logging_collector {own['collector']}"
    away = own["collector"] != "off" or "stderr" not in str(own["destination"]) or _row(events, ELSEWHERE)["lines"]
    if away and not _row(events, COLLECTED)["lines"]:
        return inconclusive(cause, f"PostgreSQL logs into files of its own or to syslog ({where}), which are not read")
    if errors and own["min_messages"] in _HUSHED:
        return inconclusive(cause, f"log_min_messages is {own['min_messages']}: PostgreSQL logs no error")
    if not _row(events, UNDERSTOOD)["lines"]:
        return inconclusive(cause, "the log of PostgreSQL's service holds no line of it in English (lc_messages)")
    past = next((f" in that time, the last at {_at(row)}" for row in rows if row["lines"] and not row["recent"]), "")
    return ruled_out(cause, f"PostgreSQL's log tells of {what}{past}")


def _at(row: pd.Series) -> str:
    return f"{row['last_at']:%H:%M:%S} UTC" if pd.notna(row["last_at"]) else "a time that is not known"


def _evidence(row: pd.Series) -> Evidence:
    count = f"{row['lines']:.0f} lines, {row['recent']:.0f} of them lately, the last at {_at(row)}"
    return Evidence(str(row["kind"]), f"{count}: {row['example']}" if row["lines"] else "no line", "PostgreSQL's log")
