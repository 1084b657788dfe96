"""What a run looks like on a terminal: each verdict as it falls, then the diagnosis and where the record lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from flowrex_ops.model import MARKS, RunStatus, VerdictKind
from flowrex_ops.record.events import CellStarted, Event, MitigationSeen, VerdictSeen

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult

_COLOURS = {"confirmed": typer.colors.RED, "inconclusive": typer.colors.YELLOW}


class LiveReport:
    """Listens to a run. On a terminal it tells all as it happens; in a pipe it keeps silent until the summary."""

    def __init__(self, runbook: str, *, quiet: bool) -> None:
        self._tell = not quiet and sys.stdout.isatty()
        self._runbook = runbook

    def __enter__(self) -> Self:
        if self._tell:
            self._say(f"starting {self._runbook}")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._tell:
            _clear_line()

    def __call__(self, event: Event) -> None:
        if not self._tell:
            return
        if isinstance(event, VerdictSeen):
            _clear_line()
            typer.echo(verdict_line(event.verdict, event.finding))
        elif isinstance(event, MitigationSeen):
            _clear_line()
            typer.echo(f"  {event.outcome['slug']}: {event.outcome['state']}: {event.outcome['reason']}")
        elif isinstance(event, CellStarted):
            self._say(event.heading)

    def _say(self, what: str) -> None:
        """What is going on now, on a line that the next one replaces."""
        _clear_line()
        typer.echo(typer.style(f"  … {what}", dim=True), nl=False)


def verdict_line(verdict: dict[str, Any], finding: dict[str, Any] | None) -> str:
    """A verdict as one line; findings stand out by mark and word, and by colour where there is one."""
    mark, colour = MARKS.get(verdict["verdict"], "?"), _COLOURS.get(verdict["verdict"])
    severity = f"{finding['severity']} " if finding and finding.get("severity") else ""
    text = f"  {mark} {verdict['verdict']:<12} {severity}{verdict['cause']}: {verdict['reason']}"
    return typer.style(text, fg=colour, bold=bool(finding), dim=verdict["verdict"] == "ruled out")


def summary(result: RunResult, *, verdicts_shown: bool) -> str:
    """The end of a run: diagnosis, findings with their next steps, mitigations, and where the record lies."""
    lines: list[str] = []
    if not verdicts_shown:
        confirmed = {finding["cause"]: finding for finding in result.findings}
        lines += [verdict_line(verdict, confirmed.get(verdict["cause"])) for verdict in result.verdicts]
        lines += [f"  {m['slug']}: {m['state']}: {m.get('reason', '')}" for m in result.mitigations]
    lines += ["", *([typer.style(f"Diagnosis  {_diagnosis(result)}", bold=True)] if result.verdicts else [])]
    for finding in result.findings:
        lines.append(f"           {finding['severity']} {finding['cause']}: {finding['title']}")
        lines += [f"             next: {step['target']}: {step['text']}" for step in finding["next_steps"]]
    if result.impact:
        lines.append(f"Severity   {result.severity or ''}: {result.impact}")
    for number, name in enumerate(result.next_runbooks):
        lines.append(f"{'' if number else 'Next':<10} flowrex-ops run {name} --incident {result.incident}")
    if result.reason:
        lines.append(f"Reason     {result.reason}")
    lines += [
        f"Status     {result.status} in {result.seconds:.1f} s",
        f"Record     {_short(result.record)}",
        f"Page       {_short(result.html)}",
    ]
    return "\n".join(lines)


def is_terminal() -> bool:
    """Whether verdicts were already shown as they fell."""
    return sys.stdout.isatty()


def _diagnosis(result: RunResult) -> str:
    if result.diagnosis:
        return f"{result.diagnosis} ({result.severity or 'no severity'})"
    if result.status not in (RunStatus.COMPLETE, RunStatus.PARTIAL):
        return f"none; the run is {result.status}"
    unknown = sum(verdict["verdict"] == VerdictKind.INCONCLUSIVE for verdict in result.verdicts)
    if unknown:
        return f"none yet; {unknown} {'hypothesis is' if unknown == 1 else 'hypotheses are'} inconclusive"
    return (
        "none of this runbook's causes, but something is wrong"
        if result.impact
        else "none: every hypothesis is ruled out"
    )


def _short(path: Path) -> str:
    """Relative where that is shorter to type."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def _clear_line() -> None:
    typer.echo("\r\x1b[2K", nl=False)
