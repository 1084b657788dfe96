"""What can be asked of all incidents at once: action items that are open, and how long it took to notice, to answer and to end them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.incident.events import get_durations, get_milestones
from flowrex_ops.incident.incident import Incident, find, read_incident
from flowrex_ops.incident.post_mortem import FILE, read_actions

ACTION_COLUMNS = ["incident", "action", "owner", "due", "status", "overdue"]
STATISTIC_COLUMNS = ["severity", "incidents", "time", "median_seconds", "of"]
_DONE = frozenset({"done", "closed", "finished", "cancelled", "canceled", "won't do", "dropped"})


def open_actions(outputs: Path, *, today: date) -> tuple[pd.DataFrame, list[str]]:
    """The action items of all post-mortems that are not done, the earliest due first; and what could not be read, a line each.

    Columns ``ACTION_COLUMNS``; ``due`` is a date or missing, and what has none is never overdue.
    """
    rows, unreadable = list[tuple[Any, ...]](), list[str]()
    for folder in find(outputs):
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
            actions = read_actions(text)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, ParameterError) as error:
            unreadable.append(f"{folder.name}: {error}")
            continue
        for action, owner, due, status in actions.itertuples(index=False):
            if str(status).strip().lower() not in _DONE:
                rows.append((folder.name, action, owner, due, status, due is not None and due < today))
    rows.sort(key=lambda row: (row[3] or date.max, row[0]))
    return pd.DataFrame(rows, columns=ACTION_COLUMNS), unreadable


def measure_incidents(outputs: Path, *, since: datetime | None = None) -> pd.DataFrame:
    """How long incidents took, by severity (worst first): the median of each of ``get_durations``; columns ``STATISTIC_COLUMNS``.

    ``of`` is from how many of the ``incidents`` the median is, for of some a moment left no trace.
    """
    rows = [row for incident, folder in _incidents(outputs, since) for row in _durations(incident, folder)]
    frame = pd.DataFrame(rows, columns=["incident", "severity", "time", "seconds"])
    frame["severity"] = frame["severity"].fillna("--")
    order = list(dict.fromkeys(frame["time"]))
    found = frame.groupby(["severity", "time"], as_index=False).agg(
        incidents=("incident", "nunique"), median_seconds=("seconds", "median"), of=("seconds", "count")
    )
    place = found["time"].map(order.index) if len(found) else found["time"]
    found = found.assign(place=place).sort_values(["severity", "place"])
    return found[STATISTIC_COLUMNS].reset_index(drop=True)


def _incidents(outputs: Path, since: datetime | None) -> Iterator[tuple[Incident, Path]]:
    for folder in find(outputs):
        with contextlib.suppress(RecordError):  # 'records verify' names it
            incident = read_incident(folder)
            if since is None or incident.opened >= since:
                yield incident, folder


def _durations(incident: Incident, folder: Path) -> Iterator[tuple[Any, ...]]:
    severity = incident.severity.value if incident.severity else None
    for row in get_durations(get_milestones(incident, timeline.read(folder))).itertuples():
        yield incident.id, severity, row[1], row.seconds
