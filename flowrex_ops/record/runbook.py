"""A runbook by name, with parameters as people, alerts and plans give them: validated, then run into a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.store import pull
from flowrex_ops.catalog import Runbook, get_runbook, source
from flowrex_ops.parameters import validate
from flowrex_ops.record.events import OnEvent, ignore
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import find_file, load

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult


def run_runbook(
    name: str, given: Mapping[str, Any], *, on_event: OnEvent = ignore, trigger: str = "", title: str = ""
) -> RunResult:
    """Validate everything, then run: nothing is started for a request that cannot be right.

    *trigger* says what asked for it where that was no person (``alert 17``, ``batch nightly``); it stands in the record.
    *title* is the record's where the runbook's says too little.
    Raises UsageError for a request that is wrong, RecordError where the record cannot be written.
    """
    from flowrex_ops.record.run import run_notebook

    runbook = get_runbook(name)
    parameters = validate(runbook, given)
    settings = load(parameters.get("settings") or None)
    file = find_file(parameters.get("settings") or None)
    if file and "settings" in {parameter.name for parameter in runbook.parameters}:
        parameters["settings"] = str(file)
    if parameters.get("incident_id"):
        pull(settings)  # others may have written to it
    return run_notebook(
        runbook.path,
        parameters,
        folder=settings.outputs,
        incident_id=parameters.get("incident_id") or None,
        runbook=runbook.slug,
        title=title or runbook.title,
        settings=settings,
        redactor=Redactor(settings.secret_values()),
        on_event=on_event,
        cwd=Path.cwd(),
        preload=_preload(runbook),
        trigger=trigger,
    )


def _preload(runbook: Runbook) -> str:
    """What its kernel imports before it answers; a notebook without a word of this library needs none of it."""
    uses = any("flowrex_ops" in source(cell) for cell in runbook.document["cells"] if cell.get("cell_type") == "code")
    return "flowrex_ops.preload" if uses else ""
