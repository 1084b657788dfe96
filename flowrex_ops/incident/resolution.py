"""The checklist before an incident counts as resolved: read off its timeline, worked through, and what is done noted on it.

Two items are done by the tool: a run of triage that finds nothing, and thirty minutes of watching. Three are for people: they
confirm them. Everything that is done stands on the timeline, so a second try goes on from there.

Watching counts only what was looked at: an unknown, or three looks that were missed, begin the time anew. Sentry is
left out of it, since it looks back at the incident itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident import incident as incidents
from flowrex_ops.incident.events import HEALTHY, UNHEALTHY, UNKNOWN, at, health_of
from flowrex_ops.model import RunStatus, Severity, VerdictKind
from flowrex_ops.redaction.redactor import Redactor

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult
    from flowrex_ops.settings import Settings

CONFIRMED = "checklist"
"""Kind of the timeline's lines by which somebody confirms an item: ``{"item", "by"}``."""
WATCH = "watch"
"""Kind of the lines of a watch: ``{"state", "interval_seconds"}``."""
VERIFIED, WATCHED = "verified", "watched"
ASKED = {
    "fix-deployed": "the permanent fix is deployed",
    "status-page": "the status page says that it is over",
    "channel-closed": "the channel is closed, with a last word in it",
}
_PEOPLES = ", ".join(ASKED)
WATCH_MINUTES = 30
_MISSED = 3
"""A watch that misses so many readings has a hole; what it saw before does not count."""
_LOOK_BACK_MINUTES = 5.0
"""Triage's own default."""
_TRIES = 3
_NOT_OF_USERS = frozenset({"monitoring.blind", "host.clock-drift", "service.disk-filling", "host.conntrack-full"})
_NOT_OF_USERS |= {"net.packet-loss", "net.saturated"}
"""What may stay unknown when users are asked about: without Prometheus nobody would be notified, and they are served all the same."""
_SHOWN = 2
"""Of the symptoms of one look so many stand on its line; one who waits wants to see it change, and not to read."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item: whether it is done, and why (or what to do)."""

    name: str
    says: str
    done: bool = False

    def to_dict(self) -> dict[str, Any]:
        """``{item, done, says}``."""
        return {"item": self.name, "done": self.done, "says": self.says}


def answer(lines: Sequence[Mapping[str, Any]], *, minutes: float = WATCH_MINUTES) -> list[Item]:
    """Every item in the playbook's order, from the incident's timeline."""
    fix, *rest = (_asked(name, lines) for name in ASKED)
    return [fix, _verified(lines), _watched(lines, minutes), *rest]


def watched(lines: Sequence[Mapping[str, Any]]) -> timedelta:
    """How long the platform has been healthy without a break: no reading that was unhealthy, or unknown, and no hole."""
    first: datetime | None = None
    last: datetime | None = None
    for line in (line for line in lines if line.get("kind") == WATCH):
        longest = timedelta(seconds=_MISSED * float(line.get("interval_seconds") or 60))
        hole = last is not None and at(line) - last > longest
        if health_of(line) != HEALTHY:
            first = last = None
            continue
        last = at(line)
        first = last if first is None or hole else first
    return last - first if first and last else timedelta(0)


@dataclass(slots=True)
class Resolution:
    """The checklist of the incident in *folder*, as *by* works through it; *minutes* is how long it must have been healthy, *wait_minutes* how long that may take to begin."""

    folder: Path
    settings: Settings
    settings_file: str
    by: str
    minutes: float
    tell: Callable[[str], None]
    wait_minutes: float = 10

    def __post_init__(self) -> None:
        timeline.require_own(self.folder)

    @property
    def redactor(self) -> Redactor:
        """What nothing is written without."""
        return Redactor(self.settings.secret_values())

    @property
    def items(self) -> list[Item]:
        """The checklist as it stands now."""
        return answer(timeline.read(self.folder), minutes=self.minutes)

    def confirm(self, names: Sequence[str]) -> None:
        """Somebody says that these are done. ParameterError for what is no item that people confirm."""
        unknown = [name for name in names if name not in ASKED]
        if unknown:
            raise ParameterError(f"--confirm: '{unknown[0]}' is not an item that people confirm; give {_PEOPLES}")
        for name in names:
            self._note(kind=CONFIRMED, text=f"{ASKED[name]} (confirmed by {self.by})", item=name, by=self.by)

    def work(self, *, watch_every_seconds: float | None = None, ask: Callable[[str], bool] | None = None) -> list[Item]:
        """Do what is open and can be done: watch (where it may), run triage, ask (where there is somebody).

        Triage comes after the watch: it looks back some minutes, in which the incident itself would still be seen.
        """
        open_ones = {item.name for item in self.items if not item.done}
        if WATCHED in open_ones and watch_every_seconds is not None:
            self.watch(every_seconds=watch_every_seconds)
        # A few times where something stayed unknown: one answer that came late is no reason to send people away.
        tries = _TRIES if any(item.name == VERIFIED and not item.done for item in self.items) else 0
        while tries and self._run_triage() == UNKNOWN:
            tries -= 1
        self.confirm([name for name in ASKED if ask and name in open_ones and ask(f"{ASKED[name]}?")])
        return self.items

    def close(self, items: Sequence[Item], *, force: str = "") -> bool:
        """Mark it resolved where all *items* are done, or *force* says why not all have to be; whether it is resolved."""
        open_ones = ", ".join(item.name for item in items if not item.done)
        if open_ones and not force:
            return False
        text = f"with {open_ones} open: {force}" if open_ones else "every item of the checklist is done"
        incidents.close(self.folder, by=self.by, text=f"resolved: {text}", redactor=self.redactor)
        return True

    def watch(self, *, every_seconds: float, look: Callable[[Settings], tuple[str, str]] | None = None) -> bool:
        """Look every *every_seconds* until it has been healthy long enough; ``False`` at the first relapse.

        Right after a cure the last minute's log lines and alerts still tell of before: it waits for the first healthy look, for
        ``wait_minutes`` at most. What is unknown is no regression, and begins the time anew; after three times as many looks as it
        takes it gives up. Ctrl-C keeps what was seen: the next watch goes on from there.
        """
        seconds, give_up = self.minutes * 60, time.monotonic() + self.wait_minutes * 60
        left, waiting = math.ceil(3 * seconds / every_seconds) + 1, True
        while left:
            began = time.monotonic()
            state, says = (look or take_look)(self.settings)
            # On a busy machine a look takes longer than the interval; that is no time in which nobody looked.
            interval = round(every_seconds + time.monotonic() - began, 3)
            waiting = waiting and state == UNHEALTHY
            text = f"not healthy yet, waiting: {says}" if waiting else f"{state}: {says}"
            noted = self._note(kind=WATCH, text=text, state=state, interval_seconds=interval, waiting=waiting)
            self.tell(f"  {noted['text']}")
            left -= not waiting
            if state == UNHEALTHY and not (waiting and time.monotonic() < give_up):
                return False
            if watched(timeline.read(self.folder)).total_seconds() >= seconds:
                return True
            time.sleep(every_seconds)
        return False

    def _run_triage(self) -> str:
        """A run in this incident; healthy is a complete one without a finding. It looks back no longer than was watched.

        Nobody is in the dark here, so each source has the time of the settings, not triage's own second.
        """
        from flowrex_ops.record.runbook import run_runbook

        self.tell("  running triage")
        given = {
            "incident_id": self.folder.name,
            "operator": self.by,
            "recent_minutes": min(_LOOK_BACK_MINUTES, max(1.0, self.minutes)),
            "reading_seconds": self.settings.limits.reading_seconds,
            **({"settings": self.settings_file} if self.settings_file else {}),
        }
        result = run_runbook("triage", given, trigger="resolve")
        state, text = judge_run(result)
        self._note(kind="health-run", text=text, state=state, record=result.id, by=self.by)
        return state

    def _note(self, **event: Any) -> dict[str, Any]:
        line = timeline.append(self.folder, self.redactor.json(event))
        write_manifest(self.folder)
        return line


def take_look(settings: Settings) -> tuple[str, str]:
    """One look at everything that users would notice: healthy, unhealthy or unknown, and why. Takes a few seconds at most.

    Sentry's new issues are left out: it looks back half an hour, at the incident itself.
    """
    from flowrex_ops.incident.survey import symptoms_of, take_survey
    from flowrex_ops.incident.symptoms import NO, SENTRY, YES
    from flowrex_ops.investigation import Investigation

    investigation = Investigation.for_readings("watch", settings)
    try:
        seen = symptoms_of(take_survey(investigation, recent_minutes=1))
    finally:
        investigation.database.close()
    seen = seen[seen["symptom"].ne(SENTRY)]
    bad = seen[seen["seen"].eq(YES)]
    if len(bad):
        worst = "; ".join(f"{row.symptom}: {row.says}" for row in bad.sort_values("severity").head(_SHOWN).itertuples())
        return UNHEALTHY, worst + (f"; and {len(bad) - _SHOWN} more, see triage" if len(bad) > _SHOWN else "")
    unknown = seen[seen["seen"].ne(NO)]
    if len(unknown):
        return UNKNOWN, f"{len(unknown)} of {len(seen)} symptoms could not be looked at: {unknown['says'].iloc[0]}"
    return HEALTHY, f"none of {len(seen)} symptoms is seen"


def judge_run(result: RunResult) -> tuple[str, str]:
    """What a run of triage says of health, and in which words."""
    lasting = [one.cause for one in result.findings if one.severity is Severity.P3 and one.cause in _NOT_OF_USERS]
    if len(lasting) < len(result.findings) or result.severity not in (None, *[Severity.P3][: len(lasting)]):
        return UNHEALTHY, f"{UNHEALTHY}: {result.diagnosis or result.severity}"
    unknown = [
        one for one in result.verdicts if one.kind is VerdictKind.INCONCLUSIVE and one.cause not in _NOT_OF_USERS
    ]
    found = f" that users feel ({', '.join(lasting)} is for later)" if lasting else ""
    if result.status is RunStatus.COMPLETE:
        return HEALTHY, f"nothing found{found}, everything {'else ' if lasting else ''}ruled out"
    if result.status is RunStatus.PARTIAL and not unknown:
        return HEALTHY, f"nothing found{found}; only what the monitoring would tell is not known"
    why = result.reason or "it was not complete"
    if unknown:
        why = f"{unknown[0].cause}: {unknown[0].reason or 'inconclusive'}"
        why += f"; and {len(unknown) - 1} more" if unknown[1:] else ""
    return UNKNOWN, f"the run is {result.status.value} ({why}); unknown is not healthy, try again"


def _asked(name: str, lines: Sequence[Mapping[str, Any]]) -> Item:
    said = [line for line in lines if line.get("kind") == CONFIRMED and line.get("item") == name]
    if said:
        return Item(
            name, done=True, says=f"confirmed by {said[-1].get('by') or 'somebody'} at {at(said[-1]):%H:%M} UTC"
        )
    return Item(name, says=f"confirm that {ASKED[name]}: --confirm {name}")


def _verified(lines: Sequence[Mapping[str, Any]]) -> Item:
    """By the last run of triage, unless something was changed or unhealthy after it."""
    since = max((at(line) for line in lines if _is_trouble(line)), default=None)
    runs = [line for line in lines if line.get("kind") == "health-run" and (since is None or at(line) > since)]
    if not runs:
        return Item(VERIFIED, says="no run of triage since the last change; resolve runs one")
    return Item(VERIFIED, done=health_of(runs[-1]) == HEALTHY, says=f"{runs[-1].get('record')}: {runs[-1].get('text')}")


def _watched(lines: Sequence[Mapping[str, Any]], minutes: float) -> Item:
    seen, needed = watched(lines).total_seconds(), minutes * 60
    size, unit = (60, "min") if needed > 60 else (1, "s")  # noqa: PLR2004  (a minute)
    done = seen >= needed
    says = f"healthy for {seen // size:.0f} of {needed / size:g} {unit}"
    return Item(WATCHED, done=done, says=says if done else f"{says}; give --watch")


def _is_trouble(line: Mapping[str, Any]) -> bool:
    kind = line.get("kind")
    return (
        kind in ("mitigation-intent", "mitigation-result")
        or (kind == "alert" and line.get("state") == "firing")
        or (kind == WATCH and health_of(line) == UNHEALTHY)
    )
