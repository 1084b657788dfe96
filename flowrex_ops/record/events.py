"""What a run tells its caller while it goes on; every text in them is already redacted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowrex_ops.archive.outcome import MitigationResult
from flowrex_ops.model import Verdict


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The record exists on disk; the kernel is on its way."""

    record: str
    notebook: Path
    cells: int


@dataclass(frozen=True, slots=True)
class CellStarted:
    """A code cell began. ``number`` counts code cells from 1; ``heading`` is the nearest heading above it."""

    number: int
    heading: str


@dataclass(frozen=True, slots=True)
class VerdictSeen:
    """A check answered; where it confirmed its cause, that is a finding."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class MitigationSeen:
    """A mitigation was planned, refused or applied."""

    result: MitigationResult


@dataclass(frozen=True, slots=True)
class CellFinished:
    """A code cell ended and its result is on disk. ``state`` as in the cell's metadata."""

    number: int
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The record is finished and immutable. ``reason`` says why a run failed or was interrupted."""

    status: str
    reason: str | None


Event = RunStarted | CellStarted | VerdictSeen | MitigationSeen | CellFinished | RunFinished
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listens to nothing."""
