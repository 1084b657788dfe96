"""``flowrex-ops batch``: many runs, one report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from flowrex_ops.cli import complete
from flowrex_ops.cli.options import EXIT_FOUND, FailOnOption, JsonOption, SettingsOption, echo, option
from flowrex_ops.errors import UsageError

if TYPE_CHECKING:
    from flowrex_ops.batch.folder import Batch
    from flowrex_ops.jobs.table import Outcome


def batch(
    runbook: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUNBOOK]...", help="Runbooks, each run once; else --plan.", autocompletion=complete.runbooks
        ),
    ] = None,
    plan: Annotated[Path | None, option("--plan", "FILE", "Runbooks, parameters and platforms, as TOML.")] = None,
    jobs: Annotated[int | None, option("--jobs", "N", "Runs at once; as many as processors.", min=1, max=256)] = None,
    dask: Annotated[str, option("--dask", "ADDRESS", "Run on this Dask cluster, such as tcp://host:8786.")] = "",
    resume: Annotated[str, option("--resume", "BATCH", "Go on with an interrupted batch; latest: the newest.")] = "",
    settings: SettingsOption = "",
    fail_on: FailOnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run many runbooks, with many parameters, on many platforms (settings files); nothing is changed by them.

    Everything is validated before anything starts. What is finished is kept as it comes in outputs/batches: after an interruption
    --resume runs only the rest. Exit 1 when a run could not do its work. The plan's keys: docs/scheduling.md.

    Example: flowrex-ops batch --plan nightly.toml --jobs 4

    Example: flowrex-ops batch triage certificate_expiry --fail-on P1

    Example: flowrex-ops batch --resume latest
    """
    from flowrex_ops.batch.report import summary, to_json, worst_severity
    from flowrex_ops.batch.run import run_batch
    from flowrex_ops.extras import require
    from flowrex_ops.jobs.table import WORKED
    from flowrex_ops.record.warm import warm_parent

    if dask:
        require("batch --dask", "dask", "distributed")
    chosen = _choose(runbook or [], plan, resume, settings)
    runs_here = contextlib.nullcontext() if dask else warm_parent(shared=True)
    with runs_here, _Progress(len(chosen.jobs), chosen.unfinished(), quiet=as_json) as progress:
        outcomes = run_batch(chosen, threads=jobs or chosen.threads, dask=dask, on_outcome=progress)
    facts = to_json(chosen, outcomes)
    lines = [*_lines(chosen, outcomes), summary(facts["counts"]), f"Report     {facts['report']}"]
    echo(facts, lines, as_json=as_json)
    worst = worst_severity(outcomes)
    if fail_on and worst and worst.at_least(fail_on):
        raise typer.Exit(EXIT_FOUND)
    if not all(outcome.status in WORKED for outcome in outcomes):
        raise typer.Exit(1)


def _choose(runbooks: list[str], plan: Path | None, resume: str, settings: str) -> Batch:
    from flowrex_ops.batch import folder
    from flowrex_ops.batch.plan import expand, plan_runbooks, read_plan
    from flowrex_ops.settings import load

    if bool(runbooks) + bool(plan) > 1 or not (runbooks or plan or resume):
        raise UsageError("give runbooks, or --plan with a file, or --resume with a batch; see --help")
    outputs = load(settings or None).outputs
    expected = None
    if runbooks or plan:
        wanted = read_plan(plan) if plan else plan_runbooks(runbooks)
        expected = expand(wanted, folder=plan.parent if plan else Path(), settings=settings)
        if not resume:
            return folder.create(outputs, wanted, expected)
    return folder.resume(outputs, resume, expected=expected)


def _lines(batch: Batch, outcomes: list[Outcome]) -> Iterator[str]:
    for job, outcome in zip(batch.jobs, outcomes, strict=True):
        parameters = " ".join(f"{name}={value}" for name, value in job.parameters.items())
        found = f"{outcome.severity or '  '} {outcome.diagnosis or '-'}"
        line = (
            f"  {outcome.status:<12} {job.platform:<12} {job.slug:<24} {found:<32} {parameters}  {outcome.reason or ''}"
        )
        yield line.rstrip()


class _Progress:
    """A bar with the time that has gone, on a terminal only."""

    def __init__(self, total: int, left: int, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
        self._task = self._bar.add_task("runs", total=total, completed=total - left)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def __call__(self, outcome: Outcome) -> None:
        self._bar.update(self._task, advance=1, description=outcome.diagnosis or outcome.status)
