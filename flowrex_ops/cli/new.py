"""``flowrex-ops new``: a runbook that works, to be made into yours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

_TEMPLATES = Path(__file__).parent / "scaffold"
_FILES = {
    "causes.py": "flowrex_ops/{name}/causes.py",
    "checks.py": "flowrex_ops/{name}/checks.py",
    "faults.py": "flowrex_sandbox/faults/{name}.py",
    "test_checks.py": "tests/{name}/test_checks.py",
    "runbook.py": "notebooks/incidents/{name}.ipynb",
}
_REGISTERED = {"pyproject.toml": " | flowrex_ops.{name}", "docs/architecture.md": " {name}/"}
"""Where the import rules and their picture name the subjects, and what stands there of one."""
_CELL = re.compile(r"^# %%[ ]?(\[markdown\])?[ ]?(\w*)\n", re.MULTILINE)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as backup_late: lower-case words with '_'.")],
) -> None:
    """Start a runbook of your own, in a checkout: notebook, causes, check, fault, drills and tests, which all pass.

    Example: flowrex-ops new backup_late
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from flowrex_ops.catalog import find_runbooks
    from flowrex_ops.errors import UsageError
    from flowrex_ops.files import write_atomic

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' cannot name a runbook; use lower-case words with '_' between them")
    if not all(Path(file).is_file() for file in _REGISTERED):
        raise UsageError("this is no checkout of flowrex-ops; run it in the folder with pyproject.toml")
    files = {template: Path(place.format(name=name)) for template, place in _FILES.items()}
    if name in find_runbooks():
        raise UsageError(f"there is a runbook '{name}' already; give another name")
    for file in files.values():
        if file.exists() or (file.parent.name == name and file.parent.exists()):
            raise UsageError(f"'{file}' is there already, or its folder; give another name")
    dashed = name.replace("_", "-")
    facts = {
        "name": name,
        "dashed": dashed,
        "cause": f"{dashed}.stopped",
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
    }
    environment = Environment(  # noqa: S701  # code and Markdown, not HTML
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    for template, file in files.items():
        text = environment.get_template(f"{template}.j2").render(facts)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(_notebook(text, facts), indent=1) + "\n" if template == "runbook.py" else text)
        typer.echo(f"wrote {file}")
    write_atomic(files["causes.py"].with_name("__init__.py"), f'"""{facts["title"]}."""\n')
    for place, entry in _REGISTERED.items():
        last = entry.format(name="trades")
        text = Path(place).read_text(encoding="utf-8").replace(last, last + entry.format(name=name), 1)
        write_atomic(Path(place), text)
        typer.echo(f"named it in {place}")
    typer.echo("next: .venv/bin/python docs/generate_causes.py > docs/causes.md")
    typer.echo(f"then: flowrex-ops drill run {dashed}-stopped, make lint, make test TESTS=tests/{name}")


def _notebook(text: str, facts: dict[str, str]) -> dict[str, Any]:
    about = {"alerts": [], "runbook": facts["name"], "severity": "P2", "title": facts["title"]}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"flowrex_ops": about, "kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": list(_cells(text)), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cells(text: str) -> Iterator[dict[str, Any]]:
    """The cells of a text in the percent format, ``# %%`` or ``# %% [markdown]`` above each, perhaps with a tag behind it."""
    _, *parts = _CELL.split(text)
    for number, (markdown, tag, source) in enumerate(zip(*[iter(parts)] * 3, strict=True)):
        code: dict[str, Any] = {} if markdown else {"execution_count": None, "outputs": []}
        metadata = {"tags": [tag]} if tag else {}
        kind = "markdown" if markdown else "code"
        lines = source.strip("\n").splitlines(keepends=True)
        yield {"cell_type": kind, "id": str(number), "metadata": metadata, "source": lines, **code}
