"""An incident's post-mortem: what its notebook holds, and the files that are written. Nothing of the platform is asked.

A post-mortem is Markdown with generated blocks, not a form: people write around them in any editor, and renewing
replaces the blocks alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops import render as presentation
from flowrex_ops.archive import timeline
from flowrex_ops.archive.index import find_notebooks, read_metadata
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.outcome import RecordMetadata, RunOutcome
from flowrex_ops.files import READ_ONLY, write_atomic
from flowrex_ops.incident.events import get_durations, get_milestones, merge_events, plot_course, read_seen
from flowrex_ops.incident.incident import load as load_incident
from flowrex_ops.incident.post_mortem import FILE, format_span, read_actions, to_write, write_document
from flowrex_ops.notebook import Notebook
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings, load

RUNBOOK = "post_mortem"
_SHOWN = {"status", "severity", "service", "impact", "root_cause", "resolution", "channel"}
_FOUND = ["record", "runbook", "status", "severity", "diagnosis", "title"]


class Review:
    """One incident as its folder tells it; each ``show_*`` shows one thing."""

    def __init__(self, folder: Path, *, platform: str, operator: str, notebook: Notebook) -> None:
        self.folder = folder
        self.incident = load_incident(folder.parent, folder.name)[1]
        self._platform = platform
        self._operator = operator
        self._notebook = notebook
        self._began = time.monotonic()
        self.lines = timeline.read(folder)

    @classmethod
    def open(cls, incident_id: str, *, operator: str = "", settings: str = "") -> Review:
        """The incident called *incident_id* (or the beginning of it, or ``latest``). UsageError where there is none."""
        loaded = load(settings or None)
        folder, _ = load_incident(loaded.outputs, incident_id or "latest")
        review = cls(folder, platform=loaded.platform, operator=operator, notebook=Notebook.current(loaded))
        review.show_facts()
        return review

    @cached_property
    def events(self) -> pd.DataFrame:
        """Everything that happened, columns ``EVENT_COLUMNS``."""
        return merge_events(self.lines, read_seen(self.folder), began=self.incident.started)

    @cached_property
    def durations(self) -> pd.DataFrame:
        """How long it took to detect, acknowledge, diagnose, mitigate, resolve; columns ``DURATION_COLUMNS``."""
        return get_durations(get_milestones(self.incident, self.lines))

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row a record and confirmed cause: record, runbook, status, severity, diagnosis, title."""
        return pd.DataFrame([row for one in self._records() for row in _found(*one)], columns=_FOUND)

    @property
    def document(self) -> str:
        """``post_mortem.md`` as it stands; empty while there is none."""
        path = self.folder / FILE
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def write(self) -> str:
        """The document anew, with what people wrote in it."""
        found = {"events": self.events, "durations": self.durations, "evidence": self._evidence()}
        return write_document(self.incident, self.document, author=self._operator, **found)

    def show_facts(self) -> None:
        """What the incident's file says."""
        incident = self.incident
        known: dict[str, Any] = {"date": f"{incident.started:%Y-%m-%d}", "duration": format_span(incident)}
        known |= incident.model_dump(mode="json", include=_SHOWN)
        known["roles"] = [f"{role}: {person}" for role, person in incident.roles.items()]
        known |= {"runbooks": [name for name in incident.runbooks if name != RUNBOOK], "author": self._operator}
        facts = {name.replace("_", " "): presentation.format_cell(value) for name, value in known.items() if value}
        self._notebook.show(presentation.facts_html(facts), "\n".join(f"{k}: {v}" for k, v in facts.items()))

    def show_course(self) -> None:
        """The whole course in one picture."""
        milestones = pd.DataFrame(get_milestones(self.incident, self.lines).items(), columns=["milestone", "at"])
        self._notebook.show_figure(plot_course(self.events, milestones.dropna()))

    def show(self, frame: pd.DataFrame) -> None:
        """A table, whole."""
        self._notebook.show(presentation.frame_html(frame, shown=len(frame)), frame.to_string(index=False))

    def show_actions(self) -> None:
        """The action items that people wrote, and what they still have to write."""
        text = self.document
        self.show(read_actions(text))
        missing = to_write(text) if text else ["everything: there is no document yet"]
        self._notebook.show_text(f"still to write: {', '.join(missing) or 'nothing'}")

    def close(self) -> None:
        """Leave the machine-readable outcome in the record."""
        outcome = RunOutcome(
            runbook=RUNBOOK,
            platform=self._platform,
            operator=self._operator,
            severity=self.incident.severity,
            seconds=round(time.monotonic() - self._began, 3),
        )
        facts = {"events": str(len(self.events)), "records": str(self.findings["record"].nunique())}
        self._notebook.show(presentation.facts_html(facts), str(facts), {"kind": "outcome", **outcome.to_dict()})

    def _records(self) -> Iterator[tuple[str, RecordMetadata]]:
        """Those that can be read ('records verify' names the others), but for post-mortems."""
        for path in find_notebooks(self.folder):
            about = read_metadata(path)
            if about and about.runbook != RUNBOOK:
                yield path.stem, about

    def _evidence(self) -> dict[str, str]:
        """Path within the folder to what lies there."""
        evidence = {}
        for name, about in self._records():
            end = "html" if (self.folder / "records" / f"{name}.html").exists() else "ipynb"
            evidence[f"records/{name}.{end}"] = f"{about.title}: {about.diagnosis or about.status}"
        for path in sorted((self.folder / "messages").glob("*.txt")):
            evidence[f"messages/{path.name}"] = f"message {path.stem}"
        return {**evidence, "timeline.jsonl": "the timeline, each line with the hash of the one before"}


def _found(name: str, about: RecordMetadata) -> Iterator[tuple[Any, ...]]:
    facts = (name, about.runbook, about.status)
    for one in about.findings:
        yield (*facts, one.severity, one.cause, one.title)
    if not about.findings:
        yield (*facts, None, None, "nothing confirmed")


def write_post_mortem(wanted: str, settings: Settings, settings_file: str, *, operator: str) -> dict[str, Any]:
    """Write or renew the post-mortem of the incident called *wanted*; what people wrote stays.

    Where it lies: ``{incident, document, notebook, html, actions[], to_write[]}``, the last what people still have to write.

    A document whose action items cannot be read is refused (ParameterError) before anything is written.
    """
    from flowrex_ops.record.runbook import run_runbook

    folder, _ = load_incident(settings.outputs, wanted)
    timeline.require_own(folder)
    redactor = Redactor(settings.secret_values())
    review = Review(folder, platform=settings.platform, operator=operator, notebook=Notebook())
    actions = read_actions(review.document)
    text = redactor.text(review.write())
    write_atomic(folder / FILE, text)
    given = {"incident_id": folder.name, "operator": operator, "settings": settings_file}
    title = f"Post-mortem: {review.incident.title or folder.name}, {format_span(review.incident)}"
    result = run_runbook(RUNBOOK, {name: value for name, value in given.items() if value}, title=title)
    for made in (result.record, result.html):
        write_atomic(folder / f"{RUNBOOK}{made.suffix}", made.read_bytes(), mode=READ_ONLY)
    write_manifest(folder)
    places = {"document": FILE, "notebook": f"{RUNBOOK}.ipynb", "html": f"{RUNBOOK}.html"}
    return {
        "incident": folder.name,
        **{what: str(folder / name) for what, name in places.items()},
        "actions": actions.to_dict("records"),
        "to_write": to_write(text),
    }
