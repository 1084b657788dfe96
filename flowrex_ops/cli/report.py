"""What a run looks like on a terminal: each verdict as it falls, then the diagnosis and where the record lies."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from flowrex_ops.model import MARKS, MitigationState, RunStatus, VerdictKind
from flowrex_ops.record.events import CellStarted, Event, MitigationSeen, VerdictSeen

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult

_COLUMN = 12
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
        elif isinstance(event, MitigationSeen) and not is_out_of_place(event.outcome):
            _clear_line()
            typer.echo(mitigation_line(event.outcome))
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
    text = f"{severity}{verdict['cause']}: {verdict['reason']}"
    text = _wrapped(text, f"  {mark} {verdict['verdict']:<12} ", " " * 17)
    return typer.style(text, fg=colour, bold=bool(finding), dim=verdict["verdict"] == "ruled out")


def summary(result: RunResult, *, verdicts_shown: bool, command: str = "") -> str:
    """The end of a run: what was found, what was done, what to do now as it is typed, and where the record lies.

    *command* is what repeats the run; with an approval added it applies what was planned.
    """
    lines: list[str] = []
    if not verdicts_shown:
        confirmed = {finding["cause"]: finding for finding in result.findings}
        lines += [verdict_line(verdict, confirmed.get(verdict["cause"])) for verdict in result.verdicts]
        lines += [mitigation_line(one) for one in result.mitigations if not is_out_of_place(one)]
    planned = [one for one in result.mitigations if one["state"] == MitigationState.PLANNED]
    elsewhere = ", ".join(str(one["slug"]) for one in result.mitigations if is_out_of_place(one))
    approvals = [f"{command} --approve {one['slug']}@{one['plan_hash']} --operator NAME" for one in planned]
    rows = [
        ("Diagnosis", [_diagnosis(result)] if result.verdicts else []),
        ("Findings", [f"{one['severity']} {one['cause']}: {one['title']}" for one in result.findings]),
        ("Severity", [f"{result.severity or ''}: {result.impact}"] if result.impact else []),
        ("Done", [result.done] if result.done else []),
        ("Do next", [f"{target}  ({why})" for target, why in result.do_next]),
        ("To apply", approvals if command else []),
        ("Not needed", [f"{elsewhere}: their causes are not confirmed"] if elsewhere else []),
        ("Reason", [result.reason] if result.reason else []),
        ("Status", [f"{result.status} in {result.seconds:.1f} s"]),
        ("Record", [_short(result.record)]),
        ("Page", [_short(result.html)]),
    ]
    return "\n".join([*lines, "", *(line for name, texts in rows for line in _row(name, texts))])


def mitigation_line(one: Mapping[str, Any]) -> str:
    """What became of a mitigation, as one line."""
    return _wrapped(f"{one['slug']}: {one['state']}: {one.get('reason', '')}", "  ", "    ")


def is_out_of_place(one: Mapping[str, Any]) -> bool:
    """Whether a mitigation was refused for want of its cause, as all but one or two of a runbook's are."""
    return one["state"] == MitigationState.REFUSED and str(one.get("reason", "")).startswith(
        "its cause is not confirmed"
    )


def _row(name: str, texts: Sequence[str]) -> Iterator[str]:
    """A name and its texts, which keep to their own column whatever the terminal's width; a command stays whole, to be copied."""
    for number, text in enumerate(texts):
        head = f"{'' if number else name:<{_COLUMN}}"
        if text.startswith("flowrex-ops ") or name in ("Record", "Page"):
            yield head + text
        else:
            line = _wrapped(text, head, " " * _COLUMN)
            yield typer.style(line, bold=True) if name == "Diagnosis" else line


def _wrapped(text: str, first: str, others: str) -> str:
    if not sys.stdout.isatty():
        return first + text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


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
