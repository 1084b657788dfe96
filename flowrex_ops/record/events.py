"""What a run tells its caller while it goes on; every text and dict in them is already redacted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    """A check answered; ``finding`` is set where it confirmed its cause."""

    verdict: dict[str, Any]
    finding: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class MitigationSeen:
    """A mitigation was planned, refused or applied."""

    outcome: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadingSeen:
    """A source answered, or did not (``reading["error"]``)."""

    reading: dict[str, Any]


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


Event = RunStarted | CellStarted | VerdictSeen | MitigationSeen | ReadingSeen | CellFinished | RunFinished
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listens to nothing."""
