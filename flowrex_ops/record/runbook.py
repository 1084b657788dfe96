"""A runbook by name, with parameters as people, alerts and plans give them: validated, then run into a record."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.index import read_metadata
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.archive.store import pull
from flowrex_ops.catalog import Runbook, get_runbook, source
from flowrex_ops.errors import ParameterError
from flowrex_ops.guard import refuses_approver
from flowrex_ops.parameters import validate
from flowrex_ops.record.events import OnEvent, ignore
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import find_file, load

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult


def run_runbook(
    name: str,
    given: Mapping[str, Any],
    *,
    on_event: OnEvent = ignore,
    trigger: str = "",
    title: str = "",
    replay: str = "",
) -> RunResult:
    """Validate everything, then run: nothing is started for a request that cannot be right.

    *trigger* says what asked for it where that was no person (``alert 17``, ``batch nightly``); it stands in the record.
    *title* is the record's where the runbook's says too little. *replay* names a record whose readings are judged again, with the
    parameters that it had unless others are given; nobody is asked.
    Raises UsageError for a request that is wrong, RecordError where the record cannot be written.
    """
    from flowrex_ops.record.run import run_notebook

    runbook = get_runbook(name)
    environment = {}
    if replay:
        from flowrex_ops.archive.readings import REPLAY, readings_of  # with pandas, for which no other run waits
        from flowrex_ops.copied.folder import Copies

        if asked := [name for name in ("incident_id", "approve") if given.get(name)]:
            raise ParameterError(f"a replay is of something that is over; leave out {' and '.join(asked)}")
        readings = readings_of(replay, load(str(given.get("settings") or "") or None).outputs, runbook.slug)
        if readings.is_dir():
            Copies(readings).require_sound()
        given, environment = {**parameters_of(readings, runbook), **given}, {REPLAY: str(readings)}
        trigger = trigger or _replay_of(replay, readings)
    parameters = validate(runbook, given)
    settings = load(parameters.get("settings") or None)
    if parameters.get("approve") and (refusal := refuses_approver(parameters["operator"], settings.approvers)):
        raise ParameterError(f"operator: {refusal}")
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
        environment=environment,
    )


_OWN = ("incident_id", "approve", "operator", "settings")


def parameters_of(file: Path, runbook: Runbook) -> dict[str, Any]:
    """Those of the run whose readings *file* has, as far as *runbook* has them; what names people and places is left out."""
    about = _record_of(file)
    wanted = {parameter.name for parameter in runbook.parameters} - set(_OWN)
    return {name: value for name, value in (about.parameters if about else {}).items() if name in wanted}


def _record_of(readings: Path) -> RecordMetadata | None:
    from flowrex_ops.archive.readings import SUFFIX

    record = readings.parent.parent / "records" / f"{readings.name.removesuffix(SUFFIX)}.ipynb"
    return read_metadata(record) if record.is_file() else None


def _replay_of(name: str, readings: Path) -> str:
    """Of what, by which version it was read, and by which it is judged."""
    about = _record_of(readings)
    name = (
        "/".join(Path(name).parts[1:][-3:]) if Path(name).is_absolute() else name
    )  # where it lies here is nobody's business
    read = f", read by flowrex-ops {about.versions.get('flowrex_ops', 'of unknown version')}" if about else ""
    return f"replay of {name}{read}, judged by flowrex-ops {version('flowrex-ops')}"


def _preload(runbook: Runbook) -> str:
    """What its kernel imports before it answers; a notebook without a word of this library needs none of it."""
    uses = any("flowrex_ops" in source(cell) for cell in runbook.document["cells"] if cell.get("cell_type") == "code")
    return "flowrex_ops.jobs.preload" if uses else ""
