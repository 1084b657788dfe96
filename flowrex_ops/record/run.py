"""Runs one runbook headless into one record: allocate, start the kernel, let papermill run it, finish.

Imports are late on purpose. The kernel needs half a second to start; everything slow (papermill, the page) is
imported while it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.evidence import VARIABLE
from flowrex_ops.archive.incidents import current_user, open_folder
from flowrex_ops.archive.records import allocate
from flowrex_ops.archive.store import push
from flowrex_ops.errors import NotebookError, RecordError
from flowrex_ops.record.document import join_lines
from flowrex_ops.record.events import OnEvent, ignore
from flowrex_ops.record.finish import finish_record, note
from flowrex_ops.record.interrupts import Guard, interruptible
from flowrex_ops.record.orphaned import recover_orphaned
from flowrex_ops.record.recorder import Recorder, RunFacts
from flowrex_ops.record.result import RunResult
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

if TYPE_CHECKING:
    from flowrex_ops.record.process import KernelProcess

ENGINE = "flowrex"
_KERNEL = "python3"
_FORMAT = 4


def run_notebook(
    notebook_path: Path,
    parameters: Mapping[str, Any],
    *,
    folder: Path,
    incident_id: str | None,
    runbook: str,
    title: str,
    settings: Settings,
    redactor: Redactor,
    on_event: OnEvent = ignore,
    cell_seconds: float | None = None,
    run_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    preload: str = "",
    trigger: str = "",
) -> RunResult:
    """Execute *notebook_path* with *parameters* (validated, JSON values) into a new record under *folder*.

    Whatever happens to a cell, the kernel, a limit or the runner (signals) is told by the result's ``status`` and by
    the record. *incident_id* ``None`` makes a run that belongs to none. Limits default to the settings'; *cwd* (of the kernel) to
    the present folder; *environment* is added to the kernel's, which imports the module *preload* as it starts. *trigger* says what asked for the run where that was no person. Blocking; several may run in threads or processes.

    Raises NotebookError for a file that is not a notebook, RecordError where the record cannot be written: what was
    written before is then intact and says that the run did not finish.
    """
    notebook = read_notebook(notebook_path)
    facts = run_facts(runbook, title, parameters, settings, trigger)
    incident = open_folder(folder, incident_id)
    recover_orphaned(incident, redactor)
    slot = allocate(incident, runbook)
    limits = (cell_seconds or settings.limits.cell_seconds, run_seconds or settings.limits.run_seconds)
    try:
        with interruptible() as guard:
            recorder = Recorder(slot, notebook, facts, redactor, on_event)
            recorder.open()
            note(slot, redactor, "run-started", f"{slot.name} started by {facts.operator}")
            where = cwd or Path.cwd()
            _execute(recorder, parameters, limits, guard, cwd=where, environment=environment or {}, preload=preload)
            result = finish_record(recorder, redactor, on_event)
    finally:
        os.close(slot.lock)
    push(settings)
    return result


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook at *path* (nbformat 4) as dicts; NotebookError for anything else."""
    try:
        notebook = json.loads(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotebookError(f"notebook '{path}' cannot be read: {reason}; correct the path") from error
    except ValueError as error:
        raise NotebookError(f"'{path}' is not a notebook: {error}; restore it from version control") from error
    if (
        not isinstance(notebook, dict)
        or notebook.get("nbformat") != _FORMAT
        or not isinstance(notebook.get("cells"), list)
    ):
        raise NotebookError(f"'{path}' is not a notebook of format 4; open and save it in JupyterLab")
    return join_lines(notebook)


def _execute(
    recorder: Recorder,
    parameters: Mapping[str, Any],
    limits: tuple[float, float],
    guard: Guard,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    preload: str,
) -> None:
    """Run the cells; afterwards no kernel is left and nothing interrupts any more."""
    from flowrex_ops.record.process import KernelProcess

    about = json.dumps({"incident": str(recorder.slot.incident), "record": recorder.slot.name})
    kernel = None
    try:
        kernel = KernelProcess(cwd=cwd, environment={**environment, VARIABLE: about}, preload=preload)
        _run_with_papermill(recorder, parameters, kernel, limits, guard)
    except (OSError, RuntimeError, ValueError) as error:
        recorder.fail(f"the run could not go on: {error}")
    finally:
        guard.disarm()
        if kernel is not None:
            kernel.kill()


def _run_with_papermill(
    recorder: Recorder, parameters: Mapping[str, Any], kernel: KernelProcess, limits: tuple[float, float], guard: Guard
) -> None:
    with _without_slow_validator():
        import papermill
        from nbformat import NotebookNode, from_dict
        from papermill.exceptions import PapermillExecutionError

        from flowrex_ops.record.client import Limits
    threading.Thread(target=_warm_up, daemon=True).start()
    nodes: NotebookNode = from_dict(recorder.notebook)
    with contextlib.suppress(PapermillExecutionError):  # the recorder knows, and tells it better
        papermill.execute_notebook(
            nodes,
            None,
            parameters=dict(parameters),
            engine_name=ENGINE,
            kernel_name=_KERNEL,
            language="python",
            progress_bar=False,
            recorder=recorder,
            kernel=kernel,
            limits=Limits(*limits),
            guard=guard,
        )


def run_facts(
    runbook: str, title: str, parameters: Mapping[str, Any], settings: Settings, trigger: str = ""
) -> RunFacts:
    """Who runs what, where, with what."""
    return RunFacts(
        runbook=runbook,
        title=title,
        parameters=parameters,
        operator=str(parameters.get("operator") or "") or current_user(),
        platform=settings.platform,
        host=socket.gethostname(),
        versions={"flowrex_ops": version("flowrex-ops"), "python": platform.python_version()},
        trigger=trigger,
    )


def _warm_up() -> None:
    """Import what the page needs while the kernel works; if that fails, rendering will say so."""
    with contextlib.suppress(ImportError, RecordError):
        from flowrex_ops.record.page import warm_up

        warm_up()


@contextlib.contextmanager
def _without_slow_validator() -> Iterator[None]:
    """Skip the optional IRI validator of jsonschema: it compiles a grammar for 0.9 s, and notebooks have no IRIs."""
    name = "rfc3987_syntax"
    skipped = name not in sys.modules and "jsonschema" not in sys.modules
    if skipped:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's way to say "not there"
    try:
        yield
    finally:
        if skipped:
            sys.modules.pop(name, None)
