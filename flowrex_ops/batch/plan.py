"""A plan: which runbooks with which parameters on which platforms, read from TOML and held against what there is.

.. code-block:: toml

    name = "nightly"
    jobs = 2
    platforms = {production = "flowrex-ops.toml", staging = "staging.toml"}

    [[runs]]
    runbook = "triage"
    parameters = {since = "1h"}

    [[runs]]
    runbook = "database_connections"
    platforms = ["production"]
    matrix = {since = ["30m", "6h"]}
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowrex_ops.catalog import get_runbook
from flowrex_ops.errors import FlowrexOpsError, UsageError
from flowrex_ops.jobs.table import Job
from flowrex_ops.parameters import validate
from flowrex_ops.settings import find_file, load

DEFAULT_PLATFORM = "default"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$"
_MOST_RUNS = 10_000
_FORBIDDEN = {
    "approve": "a batch changes nothing; apply mitigations with 'flowrex-ops run --approve'",
    "operator": "a batch changes nothing, so nobody answers for changes; leave it out",
    "incident_id": "the records of a batch lie together in one folder for each platform; leave it out",
    "settings": "name the file under 'platforms', and the platform in the run",
}


class PlanError(UsageError):
    """A plan is not what it should be; the text names the file, the table and the key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunsPart(_Part):
    """One table of ``runs``: a run for each of its platforms (all when left out) and each combination of its matrix."""

    runbook: str = Field(min_length=1)
    platforms: tuple[str, ...] | None = Field(default=None, min_length=1)
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    matrix: Mapping[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)


class Plan(_Part):
    """The whole file."""

    name: str = Field(default="batch", pattern=_NAME)
    jobs: int | None = Field(default=None, ge=1, le=256)
    platforms: Mapping[str, str] = Field(default_factory=dict)
    runs: tuple[RunsPart, ...] = Field(min_length=1)


def read_plan(path: Path) -> Plan:
    """The plan in *path*. PlanError names the table and the key that are wrong."""
    if path.suffix.lower() in (".yaml", ".yml"):
        raise PlanError(
            f"plan '{path}': plans are TOML; write 'runs: [{{runbook: triage}}]' as '[[runs]]' and 'runbook = \"triage\"'"
        )
    try:
        return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise PlanError(f"plan '{path}' does not exist; correct --plan") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PlanError(f"plan '{path}': '{key}': {first['msg'].lower()}; docs/scheduling.md has all keys") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f"plan '{path}' is not TOML: {' '.join(str(error).split()).lower()}; correct it") from None


def plan_runbooks(runbooks: Sequence[str]) -> Plan:
    """A plan of *runbooks*, each once, with the settings that hold here."""
    return Plan(runs=tuple(RunsPart(runbook=runbook) for runbook in runbooks))


def expand(plan: Plan, *, folder: Path, settings: str = "") -> tuple[Job, ...]:
    """Every run of *plan*, everything about it validated. Paths in it are relative to *folder*.

    Without platforms in the plan there is one, with the settings in *settings* or found as always. UsageError names the run
    and what is wrong with it.
    """
    platforms = {name: _on(name, str(folder / file)) for name, file in plan.platforms.items()}
    if not platforms:
        platforms = {DEFAULT_PLATFORM: _on(DEFAULT_PLATFORM, str(find_file(settings or None) or ""))}
    jobs: list[Job] = []
    for number, part in enumerate(plan.runs, start=1):
        try:
            for job in itertools.islice(_expand_part(part, platforms, folder), _MOST_RUNS + 1):
                jobs.append(replace(job, id=len(jobs) + 1))
        except UsageError as error:
            raise PlanError(f"run {number} ({part.runbook}): {error}") from None
        if len(jobs) > _MOST_RUNS:
            raise PlanError(f"the plan has over {_MOST_RUNS} runs; split it")
    return tuple(jobs)


def digest(jobs: Sequence[Job]) -> str:
    """Twelve hex digits over all runs: the same plan, and no other."""
    text = json.dumps([asdict(job) for job in jobs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _expand_part(part: RunsPart, platforms: Mapping[str, Job], folder: Path) -> Iterator[Job]:
    runbook = get_runbook(str(folder / part.runbook) if part.runbook.endswith(".ipynb") else part.runbook)
    both = set(part.parameters) & set(part.matrix)
    if both:
        raise PlanError(f"'{min(both)}' stands in parameters and in matrix; leave one out")
    for name in (*part.parameters, *part.matrix):
        if name in _FORBIDDEN:
            raise PlanError(f"parameters.{name}: {_FORBIDDEN[name]}")
    for platform in part.platforms or platforms:
        if platform not in platforms:
            raise PlanError(f"platforms: '{platform}' is not one of the plan's; there are {', '.join(platforms)}")
        for values in itertools.product(*part.matrix.values()):
            given = validate(runbook, {**part.parameters, **dict(zip(part.matrix, values, strict=True))})
            yield replace(platforms[platform], runbook=str(runbook.path), slug=runbook.slug, parameters=given)


def _on(platform: str, file: str) -> Job:
    """What all runs on *platform* have in common."""
    try:
        settings = load(file or None)
    except FlowrexOpsError as error:
        raise PlanError(f"platforms.{platform}: {error}") from None
    absolute = file and str(Path(file).resolve())
    outputs, seconds = str(settings.outputs.absolute()), settings.limits.run_seconds
    return Job(outputs, seconds, settings=absolute, platform=platform, kind="batch")
