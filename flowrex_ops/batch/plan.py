"""A plan: which runbooks with which parameters on which platforms, read from YAML and held against what there is.

.. code-block:: yaml

    name: nightly
    jobs: 2
    platforms: {production: flowrex-ops.toml, staging: staging.toml}
    runs:
      - runbook: triage
        parameters: {since: 1h}
      - runbook: database_connections
        platforms: [production]
        matrix: {since: [30m, 6h]}
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowrex_ops.catalog import get_runbook
from flowrex_ops.errors import FlowrexOpsError, UsageError
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
    """A plan is not what it should be; the text names the file, the line and the member."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunsPart(_Part):
    """One entry of ``runs``: a run for each of its platforms (all when left out) and each combination of its matrix."""

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


@dataclass(frozen=True, slots=True)
class Task:
    """One run. ``settings`` is an absolute path, or empty for none; ``outputs`` is where its platform's records go."""

    number: int
    runbook: str
    slug: str
    platform: str
    settings: str
    outputs: str
    parameters: Mapping[str, Any]
    run_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the batch's ``plan.json``."""
        return {**asdict(self), "parameters": dict(self.parameters)}


def read_plan(path: Path) -> Plan:
    """The plan in *path*. PlanError names the line and the member that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise PlanError(f"plan '{path}' does not exist; correct --plan") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"plan '{path}' cannot be read: {error}; correct it") from None
    except yaml.YAMLError as error:
        raise PlanError(f"plan '{path}'{_mark(error)} is not YAML: {_problem(error)}; correct that line") from None
    if tree is None:
        raise PlanError(f"plan '{path}' is empty; write 'runs:' and a list of runbooks")
    _require_once(tree, path)
    try:
        return Plan.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PlanError(_explain(first, tree, path)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise PlanError(f"plan '{path}' is not YAML: {_problem(error)}; correct it") from None


def plan_runbooks(runbooks: Sequence[str]) -> Plan:
    """A plan of *runbooks*, each once, with the settings that hold here."""
    return Plan(name="batch", runs=tuple(RunsPart(runbook=runbook) for runbook in runbooks))


def expand(plan: Plan, *, folder: Path, settings: str = "") -> tuple[Task, ...]:
    """Every run of *plan*, everything about it validated. Paths in it are relative to *folder*.

    Without platforms in the plan there is one, with the settings in *settings* or found as always. UsageError names the run
    and what is wrong with it.
    """
    platforms = {name: _settings_of(name, str(folder / file)) for name, file in plan.platforms.items()}
    if not platforms:
        found = find_file(settings or None)
        platforms = {DEFAULT_PLATFORM: _settings_of(DEFAULT_PLATFORM, str(found) if found else "")}
    tasks: list[Task] = []
    for index, part in enumerate(plan.runs, start=1):
        try:
            for made in _expand_part(part, platforms, folder):
                if len(tasks) >= _MOST_RUNS:
                    raise PlanError(f"the plan has over {_MOST_RUNS} runs; split it")
                tasks.append(Task(len(tasks) + 1, **made))
        except UsageError as error:
            raise PlanError(f"run {index} ({part.runbook}): {error}") from None
    return tuple(tasks)


def digest(tasks: Sequence[Task]) -> str:
    """Twelve hex digits over all runs: the same plan, and no other."""
    text = json.dumps([task.to_dict() for task in tasks], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _expand_part(part: RunsPart, platforms: Mapping[str, Mapping[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    name = str(folder / part.runbook) if part.runbook.endswith(".ipynb") else part.runbook
    runbook = get_runbook(name)
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
            given = {**part.parameters, **dict(zip(part.matrix, values, strict=True))}
            parameters = validate(runbook, given)
            yield {
                "runbook": str(runbook.path),
                "slug": runbook.slug,
                "platform": platform,
                "parameters": parameters,
                **platforms[platform],
            }


def _settings_of(platform: str, file: str) -> dict[str, Any]:
    try:
        settings = load(file or None)
    except FlowrexOpsError as error:
        raise PlanError(f"platforms.{platform}: {error}") from None
    limit = settings.limits.run_seconds
    return {
        "settings": file and str(Path(file).resolve()),
        "outputs": str(settings.outputs.absolute()),
        "run_seconds": limit,
    }


def _require_once(node: yaml.Node, path: Path) -> None:
    """YAML lets a key stand twice, and the last one wins: a run that is lost without a word."""
    seen_nodes, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if id(node) in seen_nodes or not isinstance(node, yaml.CollectionNode):
            continue  # an alias may even lead back to where it stands
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _require_other_keys(node, path)
        waiting += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]


def _require_other_keys(node: yaml.MappingNode, path: Path) -> None:
    seen = set()
    for key, _ in node.value:
        if str(key.value) in seen:
            line = key.start_mark.line + 1
            raise PlanError(f"plan '{path}' line {line}: '{key.value}' stands there twice; leave one out")
        seen.add(str(key.value))


def _explain(error: Mapping[str, Any], tree: yaml.Node, path: Path) -> str:
    member = ".".join(str(part) for part in error["loc"])
    where = f"plan '{path}' line {_line(tree, error['loc'])}"
    if error["type"] == "extra_forbidden":
        return f"{where}: '{member}' is not a member; there are name, jobs, platforms, and runs with runbook, platforms, parameters, matrix"
    if error["type"] == "missing":
        return f"{where}: '{member}' is missing; add it"
    said = re.sub(r"^value error, ", "", error["msg"].lower())
    return f"{where}: '{member or 'the plan'}' is wrong: {said}; correct it"


def _line(node: yaml.Node, loc: Sequence[int | str]) -> int:
    """The line of the member at *loc*, or of the last part of it that is there."""
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _mark(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" line {mark.line + 1}" if mark else ""


def _problem(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split()).lower()
