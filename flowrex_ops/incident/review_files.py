"""Writes an incident's post-mortem: the document that people complete, and the executed notebook beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.store import push
from flowrex_ops.files import READ_ONLY, write_atomic
from flowrex_ops.incident.lifecycle import load as load_incident
from flowrex_ops.incident.post_mortem import FILE, read_actions, to_write, write_document
from flowrex_ops.incident.review import Review
from flowrex_ops.notebook import Notebook
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

RUNBOOK = "post_mortem"


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Where it lies, its action items (``ACTION_COLUMNS``), and which parts people still have to write."""

    folder: Path
    actions: pd.DataFrame
    to_write: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{incident, document, notebook, html, actions[], to_write[]}``."""
        places = {kind: str(self.folder / f"{RUNBOOK}.{end}") for kind, end in _FILES.items()}
        return {
            "incident": self.folder.name,
            **places,
            "actions": self.actions.to_dict("records"),
            "to_write": list(self.to_write),
        }


_FILES = {"document": "md", "notebook": "ipynb", "html": "html"}


def write_post_mortem(wanted: str, settings: Settings, settings_file: str, *, operator: str) -> PostMortem:
    """Write or renew the post-mortem of the incident called *wanted*; what people wrote stays.

    A document whose action items cannot be read is refused (ParameterError) before anything is written.
    """
    from flowrex_ops.record.runbook import run_runbook

    folder, _ = load_incident(settings.outputs, wanted)
    timeline.require_own(folder)
    redactor = Redactor(settings.secret_values())
    review = Review(folder, platform=settings.platform, operator=operator, notebook=Notebook())
    actions = read_actions(review.document)
    text = redactor.text(write_document(review.material, review.document))
    write_atomic(folder / FILE, text)
    given = {"incident_id": folder.name, "operator": operator, "settings": settings_file}
    result = run_runbook(RUNBOOK, {name: value for name, value in given.items() if value})
    for made in (result.record, result.html):
        write_atomic(folder / f"{RUNBOOK}{made.suffix}", made.read_bytes(), mode=READ_ONLY)
    write_manifest(folder)
    push(settings)
    return PostMortem(folder, actions, tuple(to_write(text)))
