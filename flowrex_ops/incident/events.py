"""What happened, in one table and one picture, and when it began, was noticed, understood, mitigated and over. Pure, but for reading deploys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, format_times, new_figure
from flowrex_ops.durations import format_seconds
from flowrex_ops.incident.incident import Incident, Status
from flowrex_ops.model import MitigationState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Line = Mapping[str, Any]

HEALTHY, UNHEALTHY, UNKNOWN = "healthy", "unhealthy", "unknown"
_FORMERLY = {"well": HEALTHY, "not well": UNHEALTHY}
"""As timelines said it that were written before."""
EVENT_COLUMNS = ["at", "what", "event", "who"]
_LOOKS = {
    "alert": (VERMILLION, "X"),
    "finding": (BLUE, "o"),
    "mitigation": (GREEN, "s"),
    "message": (ORANGE, "^"),
    "deploy": (INK, "D"),
    "people": (GREY, "P"),
}
DURATION_COLUMNS = ["time_to", "took", "seconds", "until"]
_WHAT = {
    "alert": "alert",
    "run-finished": "finding",
    **dict.fromkeys(("mitigation-intent", "mitigation-result"), "mitigation"),
    **dict.fromkeys(("message", "message-sent"), "message"),
    **dict.fromkeys(
        ("incident", "incident-changed", "note", "escalation", "reminder", "checklist", "health-run", "watch"), "people"
    ),
}
_SPANS = (
    ("detect", "started", "detected"),
    ("acknowledge", "detected", "acknowledged"),
    ("diagnose", "detected", "diagnosed"),
    ("mitigate", "detected", "mitigated"),
    ("resolve", "started", "resolved"),
)
_BY_TOOL = frozenset({"", "flowrex-ops"})
_DEPLOYS = "*-recent-starts.csv"
_WAVE = timedelta(minutes=10)
"""Replicas of one version that start within this are one deploy."""


def at(line: Line) -> datetime:
    """When a line of a timeline was written."""
    return datetime.fromisoformat(str(line["at"]))


def health_of(line: Line) -> str:
    """The state of a line about the platform's health: healthy, unhealthy or unknown."""
    state = str(line.get("state"))
    return _FORMERLY.get(state, state)


def merge_events(lines: Sequence[Line], deploys: pd.DataFrame) -> pd.DataFrame:
    """Every event that a post-mortem tells, the earliest first; columns ``EVENT_COLUMNS``, ``what`` is a key of ``_LOOKS``.

    *lines* is the timeline, *deploys* as ``read_deploys`` gives them. Steps and looks of a watch are left out, relapses are not.
    """
    rows = [
        (at(line), _WHAT[line["kind"]], str(line["text"]), str(line.get("by") or line.get("operator") or ""))
        for line in lines
        if _is_told(line)
    ]
    rows += [(row.at, "deploy", row.event, "") for row in deploys.itertuples()]
    frame = pd.DataFrame(rows, columns=EVENT_COLUMNS)
    return frame.assign(at=pd.to_datetime(frame["at"], utc=True)).sort_values("at", kind="stable", ignore_index=True)


def read_deploys(folder: Path) -> pd.DataFrame:
    """Starts of replicas that runs of triage saw, one row a version and wave; columns ``at``, ``event``.

    A table that cannot be read is left out: the post-mortem is about more than deploys.
    """
    tables = list(_read_starts(folder / "evidence"))
    if not tables:
        return pd.DataFrame(columns=["at", "event"])
    starts = pd.concat(tables).drop_duplicates(["started_at", "name"])
    starts = starts[starts["version"].fillna("").ne("")].sort_values("started_at")
    waves = starts.groupby(["version", starts["started_at"].diff().gt(_WAVE).cumsum()], sort=False)
    rows = [
        (part["started_at"].min(), f"{version} started ({', '.join(sorted(set(part['name'].astype(str))))})")
        for (version, _), part in waves
    ]
    return pd.DataFrame(rows, columns=["at", "event"])


def get_milestones(incident: Incident, lines: Sequence[Line]) -> dict[str, datetime | None]:
    """The moments (UTC) of an incident; ``None`` for what has not happened, or left no trace.

    Detected: the first alert, or when it was opened. Acknowledged: the first word of a person after that. Diagnosed: the first run with a
    diagnosis, or somebody's *Identified*. Mitigated: the last verified mitigation before the end, or somebody's *Mitigating*.
    """

    def moments(wanted: Callable[[Line], object]) -> list[datetime]:
        return [at(line) for line in lines if wanted(line)]

    def first(wanted: Callable[[Line], object]) -> datetime | None:
        return min(moments(wanted), default=None)

    detected = min([incident.opened, *moments(lambda one: one.get("kind") == "alert")])
    verified = moments(lambda one: one.get("state") == MitigationState.VERIFIED and "slug" in one)
    return {
        "started": min(incident.started, detected),
        "detected": detected,
        "acknowledged": first(_is_a_person),
        "diagnosed": first(lambda one: one.get("diagnosis") or _becomes(one, Status.IDENTIFIED)),
        "mitigated": max(verified, default=None) or first(lambda one: _becomes(one, Status.MITIGATING)),
        "resolved": incident.resolved,
    }


def get_durations(milestones: Mapping[str, datetime | None]) -> pd.DataFrame:
    """Time to detect, acknowledge, diagnose, mitigate and resolve; columns ``DURATION_COLUMNS``.

    To detect and to resolve count from the start, the others from the detection; ``seconds`` is missing for what has not happened.
    """
    rows = []
    for name, since, until in _SPANS:
        begin, end = milestones[since], milestones[until]
        seconds = max(0.0, (end - begin).total_seconds()) if begin and end else None
        rows.append((name, "not yet, or no trace of it" if seconds is None else format_seconds(seconds), seconds, end))
    return pd.DataFrame(rows, columns=DURATION_COLUMNS).astype({"seconds": float})


def plot_course(events: pd.DataFrame, milestones: pd.DataFrame) -> Figure:
    """Each kind of event on a line of its own over time (UTC), the milestones as dashed lines with their names.

    *events* has the columns of ``EVENT_COLUMNS``; *milestones* has ``milestone`` and ``at``.
    """
    kinds = [kind for kind in _LOOKS if events["what"].eq(kind).any()]
    figure, axes = new_figure(1.6 + 0.38 * max(1, len(kinds)))
    for place, kind in enumerate(reversed(kinds)):
        colour, mark = _LOOKS[kind]
        at = events.loc[events["what"].eq(kind), "at"]
        axes.scatter(
            at, [place] * len(at), color=colour, marker=mark, s=70, zorder=3, edgecolors="white", linewidths=0.6
        )
    axes.set_yticks(range(len(kinds)), kinds[::-1])
    axes.set_ylim(-0.6, len(kinds) - 0.4)
    axes.grid(axis="y", color="#e3e3dd", zorder=0)
    for row in milestones.itertuples():
        axes.axvline(row.at, color=INK, linestyle="--", linewidth=1, zorder=1)
        # Slanted, so that names of moments that lie close together can both be read.
        axes.text(row.at, 1.02, str(row.milestone), transform=axes.get_xaxis_transform(), rotation=35, fontsize=9)
    moments = pd.concat([events["at"], pd.to_datetime(milestones["at"], utc=True)])
    if len(moments):
        format_times(axes, moments)
    axes.set_xlabel("time of day, UTC")
    axes.set_title(_title(milestones), pad=52)
    return figure


def _is_told(line: Line) -> bool:
    kind = line.get("kind")
    if kind == "watch":
        return health_of(line) == UNHEALTHY and not line.get("waiting")
    return kind in _WHAT and not (kind == "run-finished" and str(line.get("record")).endswith("-post_mortem"))


def _read_starts(folder: Path) -> Iterator[pd.DataFrame]:
    for path in sorted(folder.glob(_DEPLOYS)):
        try:
            table = pd.read_csv(path)
            yield table.assign(started_at=pd.to_datetime(table["started_at"], utc=True))
        except (OSError, ValueError, KeyError):
            continue


def _is_a_person(line: Line) -> bool:
    """Whether somebody spoke: took a role, wrote a note, notified somebody; a run is not a word."""
    by = str(line.get("by") or "")
    by_tool = by in _BY_TOOL or by.startswith("alert ") or set(line.get("changes") or {}) == {"severity"}
    return line.get("kind") in ("incident-changed", "note", "message", "escalation") and not by_tool


def _becomes(line: Line, status: Status) -> bool:
    return ((line.get("changes") or {}).get("status") or {}).get("is") == status


def _title(milestones: pd.DataFrame) -> str:
    at = dict(zip(milestones["milestone"], milestones["at"], strict=True))
    if "resolved" not in at or "started" not in at:
        return "Not resolved yet"
    minutes = (at["resolved"] - at["started"]).total_seconds() / 60
    return f"Over after {minutes:.0f} minutes"
