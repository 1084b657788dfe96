"""Resolves an incident: works through its checklist, does what a tool can do, asks for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident import lifecycle
from flowrex_ops.incident.resolution import ASKED, CONFIRMED, VERIFIED, WATCHED, Item, answer
from flowrex_ops.incident.watch import NOT_WELL, UNKNOWN, WELL, watch
from flowrex_ops.model import RunStatus, VerdictKind
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult

Ask = Callable[[str], bool]

_LOOK_BACK_MINUTES = 5.0
"""Triage's own default."""
_TRIES = 3


class Closing:
    """The checklist of the incident in *folder*. Everything that is done stands on its timeline: a second try goes on from there."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        settings_file: str,
        *,
        by: str,
        minutes: float,
        tell: Callable[[str], None],
    ) -> None:
        timeline.require_own(folder)
        self._folder = folder
        self._settings = settings
        self._settings_file = settings_file
        self._by = by
        self._minutes = minutes
        self._tell = tell
        self._redactor = Redactor(settings.secret_values())

    @property
    def items(self) -> list[Item]:
        """The checklist as it stands now."""
        return answer(timeline.read(self._folder), minutes=self._minutes)

    def confirm(self, names: Sequence[str]) -> None:
        """Somebody says that these are done. ParameterError for what is no item that people confirm."""
        unknown = [name for name in names if name not in ASKED]
        if unknown:
            raise ParameterError(
                f"--confirm: '{unknown[0]}' is not an item that people confirm; give {', '.join(ASKED)}"
            )
        for name in names:
            event = {"kind": CONFIRMED, "text": f"{ASKED[name]}, says {self._by}", "item": name, "by": self._by}
            timeline.append(self._folder, self._redactor.json(event))

    def work(self, *, watch_every_seconds: float | None, ask: Ask | None = None) -> list[Item]:
        """Do what is open and can be done: watch (where it may), run triage, ask (where there is somebody).

        Triage comes after the watch: it looks back some minutes, in which the incident itself would still be seen.
        """
        open_ones = {item.name for item in self.items if not item.done}
        if WATCHED in open_ones and watch_every_seconds is not None:
            watch(
                self._folder,
                self._settings,
                minutes=self._minutes,
                every_seconds=watch_every_seconds,
                on_look=lambda state, says: self._tell(f"  {state}: {says}"),
            )
        if any(item.name == VERIFIED and not item.done for item in self.items):
            self._verify()
        for name in ASKED if ask else ():
            if name in open_ones and ask and ask(f"{ASKED[name]}?"):
                self.confirm([name])
        return self.items

    def close(self, items: Sequence[Item], *, anyway: str = "") -> bool:
        """Mark it resolved where all *items* are done, or *anyway* says why not all have to be; whether it is resolved."""
        open_ones = [item.name for item in items if not item.done]
        if open_ones and not anyway:
            return False
        text = "resolved: every item of the checklist is done"
        if open_ones:
            text = f"resolved with {', '.join(open_ones)} open: {anyway}"
        lifecycle.close(self._folder, by=self._by, text=text, redactor=self._redactor)
        return True

    def _verify(self) -> None:
        """Run triage, a few times where something stayed unknown: one answer that came late is no reason to send people away."""
        for _ in range(_TRIES):
            if self._run_triage() != UNKNOWN:
                return

    def _run_triage(self) -> str:
        """A run in this incident; well is a complete one without a finding. It looks back no longer than was watched.

        Nobody is in the dark here, so each source has the time of the settings, not triage's own second.
        """
        from flowrex_ops.record.runbook import run_runbook

        self._tell("  running triage")
        given: dict[str, str | float] = {
            "incident_id": self._folder.name,
            "operator": self._by,
            "settings": self._settings_file,
        }
        given |= {
            "recent_minutes": min(_LOOK_BACK_MINUTES, max(1.0, self._minutes)),
            "reading_seconds": self._settings.limits.reading_seconds,
        }
        result = run_runbook("triage", {name: value for name, value in given.items() if value}, trigger="resolve")
        if result.findings or result.severity:
            state, text = NOT_WELL, f"not well: {result.diagnosis or result.severity}"
        elif result.status is RunStatus.COMPLETE:
            state, text = WELL, "nothing found, everything ruled out"
        else:
            state, text = (
                UNKNOWN,
                f"the run is {result.status.value} ({_why(result)}); unknown is not healthy, try again",
            )
        event = {"kind": "health-run", "text": text, "state": state, "record": result.id, "by": self._by}
        timeline.append(self._folder, self._redactor.json(event))
        return state


def _why(result: RunResult) -> str:
    """What kept a run from saying that all is well."""
    unknown = [verdict for verdict in result.verdicts if verdict.get("verdict") == VerdictKind.INCONCLUSIVE]
    if not unknown:
        return result.reason or "it was not complete"
    first = f"{unknown[0]['cause']}: {unknown[0].get('reason') or 'inconclusive'}"
    return f"{first}; and {len(unknown) - 1} more" if unknown[1:] else first
