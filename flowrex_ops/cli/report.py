"""What a run looks like on a terminal: each verdict as it falls, then the diagnosis and where the record lies."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer

from flowrex_ops.model import MARKS, MitigationState, RunStatus, Verdict, VerdictKind
from flowrex_ops.record.events import CellStarted, Event, MitigationSeen, VerdictSeen
from flowrex_ops.record.words import do_next, what_was_done

if TYPE_CHECKING:
    from flowrex_ops.archive.outcome import MitigationResult
    from flowrex_ops.record.result import RunResult

_COLUMN = 12
_COLOURS = {VerdictKind.CONFIRMED: typer.colors.RED, VerdictKind.INCONCLUSIVE: typer.colors.YELLOW}


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
            typer.echo(verdict_line(event.verdict))
        elif isinstance(event, MitigationSeen) and not is_out_of_place(event.result):
            _clear_line()
            typer.echo(mitigation_line(event.result))
        elif isinstance(event, CellStarted):
            self._say(event.heading)

    def _say(self, what: str) -> None:
        """What is going on now, on a line that the next one replaces."""
        _clear_line()
        typer.echo(typer.style(f"  … {what}", dim=True), nl=False)


def verdict_line(verdict: Verdict) -> str:
    """A verdict as one line; findings stand out by mark and word, and by colour where there is one."""
    severity = f"{verdict.severity} " if verdict.confirmed and verdict.severity else ""
    text = f"{severity}{verdict.cause}: {verdict.reason}"
    text = _wrapped(text, f"  {MARKS[verdict.kind]} {verdict.kind.value:<12} ", " " * 17)
    dim = verdict.kind is VerdictKind.RULED_OUT
    return typer.style(text, fg=_COLOURS.get(verdict.kind), bold=verdict.confirmed, dim=dim)


def summary(result: RunResult, *, verdicts_shown: bool, command: str = "", over: bool = False) -> str:
    """The end of a run: what was found, what was done, what to do now as it is typed, and where the record lies.

    *command* is what repeats the run; with an approval added it applies what was planned. There is nothing to do about what is *over*.
    """
    lines: list[str] = []
    if not verdicts_shown:
        lines += [verdict_line(verdict) for verdict in result.verdicts]
        lines += [mitigation_line(one) for one in result.mitigations if not is_out_of_place(one)]
    done = what_was_done(result.mitigations)
    planned = [one for one in result.mitigations if one.state is MitigationState.PLANNED]
    elsewhere = ", ".join(one.slug for one in result.mitigations if is_out_of_place(one))
    approvals = [f"{command} --approve {one.slug}@{one.plan_hash} --operator NAME" for one in planned]
    rows = [
        ("Diagnosis", [_diagnosis(result)] if result.verdicts else []),
        ("Findings", [f"{one.severity} {one.cause}: {one.title}" for one in result.findings]),
        (
            "Severity",
            [f"{result.severity or ''}{' at first' if done else ''}: {result.impact}"] if result.impact else [],
        ),
        ("Notify", [result.notify] if result.notify and not over else []),
        ("Done", [done] if done else []),
        ("Users", [result.users] if result.users else []),
        ("Do next", [] if over else [f"{target}  ({why})" for target, why in do_next(result)]),
        ("To apply", approvals if command else []),
        ("Not needed", [f"{elsewhere}: their causes are not confirmed"] if elsewhere else []),
        ("Reason", [result.reason] if result.reason else []),
        ("Status", [f"{result.status} in {result.seconds or 0:.1f} s"]),
        ("Record", [_short(result.record)]),
        ("Page", [_short(result.html)]),
    ]
    return "\n".join([*lines, "", *(line for name, texts in rows for line in _row(name, texts))])


def mitigation_line(one: MitigationResult) -> str:
    """What became of a mitigation, as one line."""
    return _wrapped(f"{one.slug}: {one.state}: {one.reason}", "  ", "    ")


def is_out_of_place(one: MitigationResult) -> bool:
    """Whether a mitigation was refused for want of its cause, as all but one or two of a runbook's are."""
    return one.state is MitigationState.REFUSED and one.reason.startswith("its cause is not confirmed")


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
    unknown = sum(verdict.kind is VerdictKind.INCONCLUSIVE for verdict in result.verdicts)
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
