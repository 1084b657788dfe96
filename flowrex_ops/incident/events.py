"""What happened, in one table: alerts, findings, mitigations, messages, deploys, and what people said and decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

EVENT_COLUMNS = ["at", "what", "event", "who"]
KINDS = ("alert", "finding", "mitigation", "message", "deploy", "people")
_PEOPLE = ("incident", "incident-changed", "note", "escalation", "reminder", "checklist", "health-run")
_DEPLOYS = "*-recent-starts.csv"
_WAVE = timedelta(minutes=10)
"""Replicas of one version that start within this are one deploy."""


def merge_events(lines: Sequence[Mapping[str, Any]], deploys: pd.DataFrame) -> pd.DataFrame:
    """Every event that a post-mortem tells, the earliest first; columns ``EVENT_COLUMNS``, ``what`` is one of ``KINDS``.

    *lines* is the timeline, *deploys* as ``read_deploys`` gives them. Steps and looks of a watch are left out, relapses are not.
    """
    rows = [row for line in lines for row in _row(line)]
    rows += [(row.at, "deploy", row.event, "") for row in deploys.itertuples()]
    frame = pd.DataFrame(rows, columns=EVENT_COLUMNS)
    return frame.assign(at=pd.to_datetime(frame["at"], utc=True)).sort_values("at", kind="stable", ignore_index=True)


def read_deploys(folder: Path) -> pd.DataFrame:
    """Starts of replicas that runs of triage saw, one row a version and wave; columns ``at``, ``event``.

    A table that cannot be read is left out: the post-mortem is about more than deploys.
    """
    tables = [table for path in sorted((folder / "evidence").glob(_DEPLOYS)) if (table := _read(path)) is not None]
    if not tables:
        return pd.DataFrame(columns=["at", "event"])
    starts = pd.concat(tables).drop_duplicates(["started_at", "name"])
    starts = starts[starts["version"].fillna("").ne("")].sort_values("started_at")
    waves = starts.groupby(["version", starts["started_at"].diff().gt(_WAVE).cumsum()], sort=False)
    rows = [(part["started_at"].min(), _deploy(str(version), part)) for (version, _), part in waves]
    return pd.DataFrame(rows, columns=["at", "event"])


def _deploy(version: str, part: pd.DataFrame) -> str:
    names = ", ".join(sorted(set(part["name"].astype(str))))
    return f"{version} started ({names})"


def _read(path: Path) -> pd.DataFrame | None:
    try:
        table = pd.read_csv(path)
        return table.assign(started_at=pd.to_datetime(table["started_at"], utc=True))
    except (OSError, ValueError, KeyError):
        return None


def _row(line: Mapping[str, Any]) -> Iterator[tuple[datetime, str, str, str]]:
    what = _what(line)
    if what:
        yield (
            datetime.fromisoformat(str(line["at"])),
            what,
            str(line["text"]),
            str(line.get("by") or line.get("operator") or ""),
        )


def _what(line: Mapping[str, Any]) -> str:
    kind = str(line.get("kind"))
    if kind == "alert":
        return "alert"
    if kind == "run-finished":
        return "" if str(line.get("record")).endswith("-post_mortem") else "finding"
    if kind in ("mitigation-intent", "mitigation-result"):
        return "mitigation"
    if kind in ("message", "message-sent"):
        return "message"
    if kind in _PEOPLE or (kind == "watch" and line.get("state") == "not well"):
        return "people"
    return ""
