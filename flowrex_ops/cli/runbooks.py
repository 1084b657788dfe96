"""``flowrex-ops runbooks``: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowrex_ops.cli.options import JsonOption, echo
from flowrex_ops.errors import NotebookError


def runbooks(
    as_json: JsonOption = False,
    lint: Annotated[
        bool, typer.Option("--lint", help="Hold every runbook to the rules; exit 1 if one breaks any.")
    ] = False,
) -> None:
    """List the runbooks: slug, title, alerts, parameters.

    Example: flowrex-ops runbooks --json
    """
    from flowrex_ops.catalog import find_runbooks

    errors: dict[Path, NotebookError] = {}
    found = find_runbooks(broken=errors)
    broken = [str(error) for error in errors.values()]
    if lint:
        _lint(list(found), broken)
        return
    lines = []
    for runbook in found.values():
        severity = f"  ({runbook.severity})" if runbook.severity else ""
        lines += [f"{runbook.slug}{severity}  {runbook.title}", f"  alerts: {', '.join(runbook.alerts) or 'none'}"]
        lines += [f"  {one.name}={one.default!r}  {one.help}" for one in runbook.parameters]
    echo([runbook.to_dict() for runbook in found.values()], lines, as_json=as_json)
    for line in broken:
        typer.echo(f"flowrex-ops: {line}", err=True)


def _lint(slugs: list[str], broken: list[str]) -> None:
    from flowrex_ops.catalog import get_runbook
    from flowrex_ops.runbook_lint import lint

    problems = broken + [f"{slug}: {problem}" for slug in slugs for problem in lint(get_runbook(slug))]
    typer.echo("\n".join(problems) or f"{len(slugs)} runbooks, no problem")
    if problems:
        raise typer.Exit(1)
