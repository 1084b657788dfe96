"""``flowrex-ops runbooks``: the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowrex_ops.cli import complete
from flowrex_ops.cli.options import JsonOption, echo
from flowrex_ops.errors import NotebookError

if TYPE_CHECKING:
    from flowrex_ops.catalog import Runbook

_KINDS = ("first", "incidents", "procedures", "afterwards")


def runbooks(
    name: Annotated[
        str, typer.Argument(metavar="[RUNBOOK]", help="Show this one in full.", autocompletion=complete.runbooks)
    ] = "",
    as_json: JsonOption = False,
    lint: Annotated[
        bool, typer.Option("--lint", help="Hold every runbook to the rules; exit 1 if one breaks any.")
    ] = False,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", help="With --lint: Prometheus' rule file, in which each runbook's alerts must stand."),
    ] = None,
) -> None:
    """List the runbooks, or show one with its alerts, causes and parameters.

    Example: flowrex-ops runbooks database_connections
    """
    from flowrex_ops.catalog import find_runbooks, get_runbook

    errors: dict[Path, NotebookError] = {}
    found = find_runbooks(broken=errors)
    broken = [str(error) for error in errors.values()]
    if lint:
        _lint(list(found), broken, rules or [])
        return
    shown = [get_runbook(name)] if name else list(found.values())
    lines = _whole(shown[0]) if name else _short(shown)
    echo([runbook.to_dict() for runbook in shown], list(lines), as_json=as_json)
    for line in broken:
        typer.echo(f"flowrex-ops: {line}", err=True)


def _short(runbooks: Sequence[Runbook]) -> Iterator[str]:
    """A line each, by kind: triage, with which one begins, then incidents, procedures, and what comes afterwards."""

    def kind(runbook: Runbook) -> str:
        folder = runbook.path.parent.name
        return folder if folder in _KINDS else "first" if runbook.slug == "triage" else "afterwards"

    for name, group in groupby(sorted(runbooks, key=lambda one: _KINDS.index(kind(one))), key=kind):
        yield f"{name}:"
        yield from (f"  {one.slug:<26} {one.severity or '--'}  {one.title}" for one in group)
    yield "\nin full: flowrex-ops runbooks NAME; to run one: flowrex-ops run NAME"


def _whole(runbook: Runbook) -> Iterator[str]:
    from flowrex_ops.causes import causes_by_runbook, find_causes

    yield f"{runbook.slug}: {runbook.title}" + (f" (usually {runbook.severity})" if runbook.severity else "")
    yield f"alerts: {', '.join(runbook.alerts) or 'none'}"
    yield from (f"  {slug:<34} {find_causes()[slug].title}" for slug in causes_by_runbook().get(runbook.slug, ()))
    yield "parameters:"
    yield from (f"  {one.name}={one.default!r}  {one.help}" for one in runbook.parameters)


def _lint(slugs: list[str], broken: list[str], rules: list[Path]) -> None:
    from flowrex_ops.catalog import get_runbook
    from flowrex_ops.cli.runbook_lint import lint, read_alerts

    alerts = read_alerts(rules) if rules else None
    problems = broken + [f"{slug}: {problem}" for slug in slugs for problem in lint(get_runbook(slug), alerts)]
    typer.echo("\n".join(problems) or f"{len(slugs)} runbooks, no problem")
    if problems:
        raise typer.Exit(1)
