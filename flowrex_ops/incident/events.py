"""What happened, in one table and one picture, and when it began, was noticed, understood, mitigated and over. Pure, but for reading evidence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops.chart_style import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, format_times, new_figure
from flowrex_ops.durations import format_seconds
from flowrex_ops.incident.incident import Incident, Status
from flowrex_ops.model import MitigationState, RunStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[str, Any]

HEALTHY, UNHEALTHY, UNKNOWN = "healthy", "unhealthy", "unknown"
_FORMERLY = {"well": HEALTHY, "not well": UNHEALTHY}
"""As timelines said it that were written before."""
EVENT_COLUMNS = ["at", "what", "event", "who"]
_LOOKS = {
    "start": (INK, "v"),
    "alert": (VERMILLION, "X"),
    "finding": (BLUE, "o"),
    "mitigation": (GREEN, "s"),
    "message": (ORANGE, "^"),
    "deploy": (INK, "D"),
    "people": (GREY, "P"),
    "chat": (GREY, "."),
}
DURATION_COLUMNS = ["time_to", "took", "seconds", "until"]
_WHAT = {
    "alert": "alert",
    "chat": "chat",
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
_DEPLOYS, _ALERTS = "*-recent-starts.csv", "*-alerts.csv"
_WAVE = timedelta(minutes=10)
"""Replicas of one version that start within this are one deploy."""


def at(line: Line) -> datetime:
    """When a line of a timeline was written."""
    return datetime.fromisoformat(str(line["at"]))


def _happened(line: Line) -> datetime:
    """What was said in a channel, and imported later, happened when it was said."""
    return datetime.fromisoformat(str(line.get("said_at") or line["at"]))


def health_of(line: Line) -> str:
    """The state of a line about the platform's health: healthy, unhealthy or unknown."""
    state = str(line.get("state"))
    return _FORMERLY.get(state, state)


def merge_events(lines: Sequence[Line], seen: pd.DataFrame, *, began: datetime | None = None) -> pd.DataFrame:
    """Every event that a post-mortem tells, the earliest first; columns ``EVENT_COLUMNS``, ``what`` is a key of ``_LOOKS``.

    *lines* is the timeline, *seen* as ``read_seen`` gives it, *began* when users began to suffer. Left out are steps, looks of a watch
    that were healthy, drafts that were sent, and alerts that the timeline has itself.
    """
    sent = {line.get("message") for line in lines if line["kind"] == "message-sent"}
    alerts = {line.get("alertname") for line in lines if line["kind"] == "alert"}
    rows = [(began, "start", "users began to suffer", "")] if began else []
    rows += [
        (_happened(line), _WHAT[line["kind"]], _event(line), str(line.get("by") or line.get("operator") or ""))
        for line in lines
        if _is_reported(line) and not (line["kind"] == "message" and line.get("message") in sent)
    ]
    rows += [(row.at, row.what, row.event, "") for row in seen.itertuples() if row.name not in alerts]
    frame = pd.DataFrame(rows, columns=EVENT_COLUMNS)
    return frame.assign(at=pd.to_datetime(frame["at"], utc=True)).sort_values("at", kind="stable", ignore_index=True)


def read_seen(folder: Path) -> pd.DataFrame:
    """What runs of triage saw of deploys and alerts; columns ``at``, ``what``, ``event``, ``name``.

    A table that cannot be read is left out: the post-mortem is about more than these.
    """
    evidence = folder / "evidence"
    rows = [*_deploys(_read(evidence, _DEPLOYS, "started_at")), *_alerts(_read(evidence, _ALERTS, "since"))]
    return pd.DataFrame(rows, columns=["at", "what", "event", "name"])


def _deploys(starts: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """One row a version and wave of replicas that started."""
    if starts.empty:
        return
    starts = starts.drop_duplicates(["started_at", "name"])
    starts = starts[starts["version"].fillna("").ne("")].sort_values("started_at")
    waves = starts.groupby(["version", starts["started_at"].diff().gt(_WAVE).cumsum()], sort=False)
    for (version, _), part in waves:
        names = ", ".join(sorted(set(part["name"].astype(str))))
        yield part["started_at"].min(), "deploy", f"{version} started ({names})", ""


def _alerts(alerts: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """One row an alert, from when it first fired."""
    if alerts.empty:
        return
    firing = alerts[alerts["state"].eq("firing")].sort_values("since")
    for name, part in firing.groupby("alert", sort=False):
        first = part.iloc[0]
        yield first["since"], "alert", f"alert {name} firing: {first['summary']}", name


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
    moments = pd.concat([events["at"], pd.to_datetime(milestones["at"], utc=True)])
    if len(moments):
        format_times(axes, moments)
    rows = _name_moments(axes, milestones)
    axes.set_xlabel("time of day, UTC")
    axes.set_title(_title(milestones), pad=8 + 13 * rows)
    return figure


def _name_moments(axes: Axes, milestones: pd.DataFrame) -> int:
    """A dashed line for each moment with its name above, in as many rows as it takes for none to lie on another; how many."""
    from matplotlib.dates import date2num

    begin, end = axes.get_xlim()
    free: list[float] = []  # where each row is free again, as a share of the axis
    for moment, part in milestones.sort_values("at", kind="stable").groupby("at"):
        axes.axvline(moment, color=INK, linestyle="--", linewidth=1, zorder=1)
        name = ", ".join(map(str, part["milestone"]))
        width, where = 0.012 * len(name), (float(date2num(moment)) - begin) / (end - begin)  # type: ignore[no-untyped-call]  # of matplotlib
        left = min(where, 1 - width)
        row = next((row for row, taken in enumerate(free) if taken <= left), len(free))
        free[row:] = [left + width, *free[row + 1 :]]
        axes.annotate(
            name,
            (left, 1),
            xycoords="axes fraction",
            xytext=(2, 3 + 13 * row),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    return len(free)


def _is_reported(line: Line) -> bool:
    kind = line.get("kind")
    if kind == "watch":
        return health_of(line) == UNHEALTHY and not line.get("waiting")
    return kind in _WHAT and not (kind == "run-finished" and str(line.get("record")).endswith("-post_mortem"))


def _event(line: Line) -> str:
    """A line of the timeline as it is told afterwards: what happened, without the tool's own bookkeeping."""
    kind, text = line["kind"], str(line["text"])
    message = str(line.get("message")).partition("-")[2]
    if kind == "run-finished":
        cut = "" if line.get("status") in (None, RunStatus.COMPLETE, RunStatus.PARTIAL) else f" ({line['status']})"
        return f"{str(line.get('record')).partition('/')[2][4:]}: {line.get('diagnosis') or 'no cause confirmed'}{cut}"
    if kind == "message":
        return f"{message} message written, not sent by this tool"
    if kind == "message-sent":
        return text.replace(f"message {line.get('message')}", f"{message} message")
    if kind == "mitigation-intent":
        return f"{line.get('slug')} begins: {text}"
    if kind == "mitigation-result":
        return f"{line.get('slug')} {line.get('state')}: {text}"
    return "incident opened" if kind == "incident" else text


def _read(folder: Path, pattern: str, moment: str) -> pd.DataFrame:
    tables = []
    for path in sorted(folder.glob(pattern)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            table = pd.read_csv(path)
            tables.append(table.assign(**{moment: pd.to_datetime(table[moment], utc=True, format="ISO8601")}))
    return pd.concat(tables) if tables else pd.DataFrame()


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
