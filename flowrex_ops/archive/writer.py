"""Where an investigation writes besides its outputs: the timeline and the evidence tables of its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.archive import timeline
from flowrex_ops.archive.evidence import kernel_record, write_evidence
from flowrex_ops.archive.folders import is_run
from flowrex_ops.archive.incidents import open_folder
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.readings import SUFFIX, Capture
from flowrex_ops.errors import RecordError
from flowrex_ops.model import Reading
from flowrex_ops.redaction.redactor import Redactor


class IncidentStore:
    """The folder of the incident or run, made (as a run's) at the first mitigation when there is none yet.

    Headless runs get it from our runner; plain papermill and live runs name it by the parameter ``incident_id``.
    Evidence tables are written only where there is a folder: a live look at things leaves nothing behind.
    """

    def __init__(
        self, outputs: Path, folder: Path | None, record: str, redactor: Redactor, *, sealed_by_runner: bool
    ) -> None:
        self._outputs = outputs
        self._folder = folder
        self._record = record
        self._redactor = redactor
        self._sealed_by_runner = sealed_by_runner
        self._capture: Capture | None = None

    @classmethod
    def find(cls, outputs: Path, incident_id: str, runbook: str, redactor: Redactor) -> IncidentStore:
        """That of the record that this kernel works for, or of the incident named, or one yet to be made."""
        own = kernel_record()
        if own is not None:
            return cls(outputs, own.incident, own.record, redactor, sealed_by_runner=True)
        folder = open_folder(outputs, incident_id) if incident_id else None
        return cls(outputs, folder, runbook, redactor, sealed_by_runner=False)

    @property
    def folder(self) -> str:
        """The id of the incident or the run, or nothing."""
        return self._folder.name if self._folder else ""

    @property
    def incident(self) -> str:
        """The incident's id, or nothing."""
        return "" if is_run(self.folder) else self.folder

    def note(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Append one event to the timeline; it is on disk when this returns. RecordError where it cannot be."""
        if self._folder is None:
            self._folder = open_folder(self._outputs, None)
        text = facts.get("reason") or facts.get("action") or kind
        about = {"record": f"{self._folder.name}/{self._record}"} if self._sealed_by_runner else {}
        timeline.append(self._folder, self._redactor.json({"kind": kind, "text": text, **about, **facts}))
        self._seal(self._folder)

    def write_evidence(self, what: str, frame: pd.DataFrame) -> str:
        """Write a whole table as CSV; its path within the folder, or nothing where there is none.

        A full disk costs the table, not the investigation.
        """
        if self._folder is None:
            return ""
        name = f"{self._record}-{re.sub(r'[^a-z0-9]+', '-', what.lower()).strip('-')}"
        try:
            path = write_evidence(self._folder, name, frame, self._redactor)
            self._seal(self._folder)
        except RecordError:
            return ""
        return f"evidence/{path.name}"

    def keep_reading(self, reading: Reading[Any]) -> None:
        """Keep one reading of a run that has a runner, which seals what it left; to be given again by ``run --from``."""
        if self._folder is None or not self._sealed_by_runner:
            return
        if self._capture is None:
            self._capture = Capture(self._folder / "evidence" / f"{self._record}{SUFFIX}", self._redactor)
        self._capture.write(reading)

    def _seal(self, folder: Path) -> None:
        """Live runs have no runner that writes the manifest at their end."""
        if not self._sealed_by_runner:
            write_manifest(folder)
