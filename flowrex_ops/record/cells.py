"""The state of each code cell of a record, and the marks that make it visible."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class CellState(StrEnum):
    """What became of a code cell."""

    DID_NOT_RUN = "did not run"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"


_PAPERMILL_STATUS = {CellState.DID_NOT_RUN: "pending", CellState.RUNNING: "running", CellState.COMPLETED: "completed"}
MARK_KEY = "flowrex_ops_mark"
CUT_OFF = "Interrupted while this cell ran."


@dataclass(slots=True)
class CellRun:
    """How one code cell fared. ``number`` counts code cells from 1; ``note`` is the visible mark, empty for none."""

    number: int
    state: CellState = CellState.DID_NOT_RUN
    started: datetime | None = None
    ended: datetime | None = None
    note: str = ""

    def start(self) -> None:
        """The cell is being sent to the kernel."""
        self.state, self.started = CellState.RUNNING, datetime.now(UTC)

    def end(self, state: CellState, note: str = "") -> None:
        """The cell ended, one way or another."""
        self.state, self.ended, self.note = state, datetime.now(UTC), note

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` while it runs or where it never ran."""
        return round((self.ended - self.started).total_seconds(), 3) if self.started and self.ended else None

    def metadata(self) -> dict[str, Any]:
        """``{state, started, ended, seconds}``."""
        return {
            "state": self.state.value,
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "seconds": self.seconds,
        }

    def papermill(self) -> dict[str, Any]:
        """The same in papermill's own words, so that its metadata does not lie either."""
        failed = self.state in (CellState.FAILED, CellState.TIMED_OUT, CellState.INTERRUPTED)
        return {
            "status": _PAPERMILL_STATUS.get(self.state, "failed"),
            "exception": failed if self.started else None,
            "start_time": _iso(self.started),
            "end_time": _iso(self.ended),
            "duration": self.seconds,
        }


def mark(text: str, kind: str) -> dict[str, Any]:
    """An output that says in the notebook what became of its cell; *kind* is the cell's state."""
    return {
        "output_type": "display_data",
        "data": {"text/markdown": f"> **{text}**", "text/plain": text},
        "metadata": {MARK_KEY: kind},
    }


def summary(runs: list[CellRun]) -> str:
    """``5 of 9 code cells ran; cell 6 was running; cells 7-9 did not run``, with an en dash."""
    done = [run for run in runs if run.state is CellState.COMPLETED]
    parts = [f"{len(done)} of {len(runs)} code cells ran"]
    for state, text in (
        (CellState.FAILED, "failed"),
        (CellState.TIMED_OUT, "timed out"),
        (CellState.INTERRUPTED, "was interrupted"),
        (CellState.RUNNING, "was running"),
        (CellState.DID_NOT_RUN, "did not run"),
    ):
        numbers = [run.number for run in runs if run.state is state]
        if numbers:
            span = f"{numbers[0]}\N{EN DASH}{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
            parts.append(f"cell{'s' if len(numbers) > 1 else ''} {span} {text}")
    return "; ".join(parts)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
