"""Keeps the record of one run on disk: whole, redacted and true at every moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flowrex_ops.archive.outcome import EarlierIncident, RecordMetadata
from flowrex_ops.archive.records import Slot
from flowrex_ops.files import READ_ONLY, write_atomic
from flowrex_ops.model import RunStatus
from flowrex_ops.record.cells import CUT_OFF, CellRun, CellState, summary
from flowrex_ops.record.document import Document
from flowrex_ops.record.events import CellFinished, CellStarted, OnEvent, RunStarted
from flowrex_ops.record.outcome import Findings
from flowrex_ops.record.overflow import Overflow
from flowrex_ops.redaction.redactor import Redactor


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before it starts; ``trigger`` is what asked for it where that was no person.

    ``imported`` says of a record that was brought in where it came from: ``{"file", "sha256", "at"}``.
    """

    runbook: str
    title: str
    parameters: Mapping[str, Any]
    operator: str
    platform: str
    host: str
    versions: Mapping[str, str]
    trigger: str = ""
    imported: Mapping[str, str] = field(default_factory=dict)


class Recorder:
    """The record of one run. Every method that changes what is known writes it, atomically; RecordError if it cannot."""

    def __init__(
        self, slot: Slot, notebook: dict[str, Any], facts: RunFacts, redactor: Redactor, on_event: OnEvent
    ) -> None:
        self.slot = slot
        self.findings = Findings()
        self.status = RunStatus.RUNNING
        self.reason: str | None = None
        self.seen_before: tuple[EarlierIncident, ...] = ()
        self.overflow = Overflow(slot, redactor)
        self._facts = facts
        self._redactor = redactor
        self._emit = on_event
        self._started = datetime.now(UTC)
        self._ended: datetime | None = None
        self.adopt(notebook)

    @property
    def runbook(self) -> str:
        """Its slug."""
        return self._facts.runbook

    def adopt(self, notebook: dict[str, Any]) -> None:
        """*notebook* (papermill's parameterized copy) is what runs from now on."""
        self.notebook = notebook
        self._document = Document(notebook, self._redactor)
        codes = [index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
        self._runs = {index: CellRun(number) for number, index in enumerate(codes, start=1)}

    def open(self) -> None:
        """Write the record of a run in which nothing has run yet."""
        self._write()
        self._emit(RunStarted(self.slot.id, self.slot.notebook, len(self._runs)))

    def cell_started(self, index: int) -> int:
        """The code cell at *index* is about to run; returns its number among the code cells."""
        run = self._runs[index]
        if run.state is not CellState.RUNNING:
            run.start()
            self._write()
        self._emit(CellStarted(run.number, self._document.heading_above(index)))
        return run.number

    def cell_ended(self, index: int, state: CellState, note: str = "") -> None:
        """The code cell at *index* ended; its result is on disk when this returns.

        The next code cell is noted as running in the same write: nothing happens between the two.
        """
        run = self._runs[index]
        run.end(state, self._redactor.text(note))
        self._document.refresh(index)
        following = next((self._runs[i] for i in self._runs if i > index), None)
        if state is CellState.COMPLETED and following:
            following.start()
        self._write()
        self._emit(CellFinished(run.number, run.state.value, run.seconds or 0.0))

    def replay(self, runs: Mapping[int, CellRun], *, started: datetime, ended: datetime) -> None:
        """Take over what became of each code cell (by its index) in a run that was over before this recorder was there."""
        self._runs |= runs
        self._started, self._ended = started, ended

    def leave_partial(self, reason: str) -> None:
        """The run came to no end of its own, and did not fail either."""
        self._close(RunStatus.PARTIAL, reason)

    def take(self, payload: object) -> None:
        """A machine-readable output appeared."""
        event = self.findings.take(self._redactor.json(payload))
        if event is not None:
            self._emit(event)

    def fail(self, reason: str) -> None:
        """The run failed; the first reason stays."""
        self._close(RunStatus.FAILED, reason)

    def interrupt(self, reason: str) -> None:
        """The runner was told to stop."""
        self._close(RunStatus.INTERRUPTED, reason)

    def finish(self) -> dict[str, Any]:
        """Write the finished, read-only record and return it as notebook JSON; no run state is left open."""
        self.overflow.close()
        for run in self._runs.values():
            if run.state is CellState.RUNNING:
                self._close_open_cell(run)
        if self.status is RunStatus.RUNNING:
            self.status = self.findings.status
        self._ended = self._ended or datetime.now(UTC)
        return self._write(mode=READ_ONLY)

    def metadata(self) -> RecordMetadata:
        """``metadata.flowrex_ops.record``; redacted where it is written."""
        facts, found = self._facts, self.findings.outcome
        return RecordMetadata(
            **dict(found)
            | {
                "id": self.slot.id,
                **self.slot.belongs_to,
                "runbook": facts.runbook,
                "title": facts.title,
                "status": self.status,
                "reason": self.reason,
                "started": self._started,
                "ended": self._ended,
                "seconds": round((self._ended - self._started).total_seconds(), 3) if self._ended else None,
                "operator": found.operator or facts.operator,
                "trigger": facts.trigger,
                "host": facts.host,
                "platform": found.platform or facts.platform,
                "parameters": dict(facts.parameters),
                "versions": dict(facts.versions),
                "cells": summary(list(self._runs.values())),
                "seen_before": self.seen_before,
                "imported": dict(facts.imported),
            }
        )

    def _close(self, status: RunStatus, reason: str) -> None:
        if self.status is RunStatus.RUNNING:
            self.status, self.reason = status, self._redactor.text(reason)

    def _close_open_cell(self, run: CellRun) -> None:
        """A cell noted as running when the run ended: it was cut off, or it was only about to be sent."""
        if self.status is RunStatus.RUNNING:
            raise AssertionError(f"cell {run.number} is still running")
        run.end(CellState.INTERRUPTED, CUT_OFF)

    def _write(self, mode: int = 0o644) -> dict[str, Any]:
        notebook = self._document.render(self.metadata(), self._runs, self.slot)
        # Indented for whoever reads it as text, once it is whole: json's quick encoder does not indent.
        text = json.dumps(notebook, indent=1 if mode == READ_ONLY else None, ensure_ascii=False, default=str)
        write_atomic(self.slot.notebook, text + "\n", mode=mode)
        return notebook
