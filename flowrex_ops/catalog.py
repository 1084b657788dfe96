"""The runbooks found in ``notebooks/``: what each is called, which alerts it answers, which parameters it takes."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from flowrex_ops.errors import NotebookError, UnknownRunbookError, nearest

# From a wheel, JupyterLab opens copies: whoever edits an installed runbook changes what every alert runs.
PACKAGED = Path(__file__).resolve().parent / "notebooks"
"""Where a wheel has the runbooks; a checkout has none there."""
NOTEBOOKS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "notebooks"
TYPES = ("str", "float", "int", "bool", "list")
"""What a parameter may be annotated with."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One name in the parameters cell: its type's name, its default, and the comment beside it."""

    name: str
    type: str
    default: Any
    help: str


@dataclass(frozen=True)
class Runbook:
    """A parameterized notebook, with its ``metadata.flowrex_ops``."""

    slug: str
    title: str
    path: Path
    alerts: tuple[str, ...]
    severity: str
    document: Mapping[str, Any]

    @property
    def reads_incident(self) -> bool:
        """Whether it reads an incident that was kept, and asks nothing of the platform (``"reads": "incident"``)."""
        return bool(self.document["metadata"]["flowrex_ops"].get("reads") == "incident")

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters in the order of their cell. NotebookError when that cell is not plain typed assignments."""
        cell = next(cell for cell in self.document["cells"] if is_parameters(cell))
        return tuple(_parameters(source(cell), self.path))

    def to_dict(self) -> dict[str, Any]:
        """``{slug, title, path, alerts, severity, parameters[]}`` for ``runbooks --json``."""
        return {
            "slug": self.slug,
            "title": self.title,
            "path": str(self.path),
            "alerts": list(self.alerts),
            "severity": self.severity,
            "parameters": [
                {"name": p.name, "type": p.type, "default": p.default, "help": p.help} for p in self.parameters
            ],
        }


def find_runbooks(
    folder: Path = NOTEBOOKS, broken: MutableMapping[Path, NotebookError] | None = None
) -> dict[str, Runbook]:
    """All runbooks below *folder* by slug, in the order of their paths.

    A notebook that is none costs only itself, whatever is wrong with it: what it lacks is put into *broken*.
    """
    broken = {} if broken is None else broken
    runbooks: dict[str, Runbook] = {}
    for path in sorted(folder.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        try:
            runbook = read_runbook(path)
            _ = runbook.parameters
        except NotebookError as error:
            broken[path] = error
            continue
        if runbook.slug in runbooks:
            first = runbooks[runbook.slug].path
            text = f"'{path}' and '{first}' are both called '{runbook.slug}'; rename one: the first is taken"
            broken[path] = NotebookError(text)
            continue
        runbooks[runbook.slug] = runbook
    return runbooks


def get_runbook(name: str, folder: Path = NOTEBOOKS) -> Runbook:
    """The runbook of this slug, or the one in this ``.ipynb`` file. UnknownRunbookError suggests the nearest name."""
    if name.endswith(".ipynb"):
        return read_runbook(Path(name))
    broken: dict[Path, NotebookError] = {}
    runbooks = find_runbooks(folder, broken)
    if name in runbooks:
        return runbooks[name]
    for path, error in broken.items():
        if path.stem == name:
            raise error
    raise UnknownRunbookError(f"'{name}' is not a runbook; {nearest(name, runbooks)}")


def read_runbook(path: Path) -> Runbook:
    """The runbook in *path*. NotebookError says what it lacks, and what would be right."""
    try:
        found = path.stat()
    except OSError:
        return _read_runbook(path, 0, 0)
    return _read_runbook(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=100)  # a run asks three times for all
def _read_runbook(path: Path, _changed_ns: int, _bytes: int) -> Runbook:
    document = _read_json(path)
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise NotebookError(f"'{path}' is not a notebook: it has no cells; save it from JupyterLab as .ipynb")
    if not any(is_parameters(cell) for cell in cells):
        raise NotebookError(f"'{path}' has no parameters cell; tag the cell with its typed defaults 'parameters'")
    metadata = document.get("metadata", {})
    about = metadata.get("flowrex_ops") if isinstance(metadata, dict) else None
    if not isinstance(about, dict) or not about.get("runbook") or not about.get("title"):
        raise NotebookError(f"'{path}' is not a runbook: metadata.flowrex_ops needs 'runbook' (a slug) and 'title'")
    alerts = tuple(str(alert) for alert in about.get("alerts", ()))
    return Runbook(str(about["runbook"]), str(about["title"]), path, alerts, str(about.get("severity", "")), document)


def runbooks_by_alert(folder: Path = NOTEBOOKS) -> dict[str, str]:
    """Alert name to the slug of the runbook that answers it; ``triage`` only where no other does."""
    found = sorted(find_runbooks(folder).values(), key=lambda runbook: runbook.slug != "triage")
    return {alert: runbook.slug for runbook in found for alert in runbook.alerts}


def source(cell: Mapping[str, Any]) -> str:
    """A cell's text; nbformat allows a string or a list of lines."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def is_live(cell: Mapping[str, Any]) -> bool:
    """Whether *cell* is for who reads along, tagged ``live``: the page says the same at its top."""
    return "live" in cell["metadata"].get("tags", ())


# A cell that mitigates has the run's time limit, told from its own text: a tag was forgotten six times.
def changes_platform(cell: Mapping[str, Any]) -> bool:
    """Whether this is a code cell that may change something: a change must not be cut off half-way."""
    return cell.get("cell_type") == "code" and ".mitigate(" in source(cell)


def is_parameters(cell: Mapping[str, Any]) -> bool:
    """Whether this is the code cell tagged ``parameters`` (papermill's convention)."""
    return cell.get("cell_type") == "code" and "parameters" in cell.get("metadata", {}).get("tags", ())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotebookError(f"'{path}' does not exist; 'flowrex-ops runbooks' lists the runbooks there are") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NotebookError(f"'{path}' is not a notebook: {error}; save it from JupyterLab as .ipynb") from None
    if not isinstance(document, dict):
        raise NotebookError(f"'{path}' is not a notebook: it is a JSON {type(document).__name__}; save it as .ipynb")
    return document


# Our own parser of the parameters cell instead of papermill's inspection: it knows types, comments and plain values,
# and costs no import of half a second.
def _parameters(text: str, path: Path) -> Iterator[Parameter]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise NotebookError(f"'{path}': the parameters cell is not Python: {error}; correct it") from None
    comments = _comments(text)
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise NotebookError(f"'{path}': line {node.lineno} of the parameters cell is not 'name: type = default'")
        kind = ast.unparse(node.annotation).partition("[")[0]
        if kind not in TYPES:
            raise NotebookError(f"'{path}': parameter '{node.target.id}' is a {kind}; it can be {', '.join(TYPES)}")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise NotebookError(
                f"'{path}': the default of '{node.target.id}' is not a plain value; write one"
            ) from None
        yield Parameter(node.target.id, kind, default, comments.get(node.end_lineno or node.lineno, ""))


def _comments(text: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
