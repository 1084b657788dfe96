"""``flowrex-ops capture`` and ``backtest``: readings of everything, and those of earlier runs judged by the checks of today."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from flowrex_ops.cli import complete
from flowrex_ops.cli.options import JsonOption, ProjectOption, SettingsOption, echo, option, progress
from flowrex_ops.durations import parse_duration
from flowrex_ops.errors import ParameterError

if TYPE_CHECKING:
    from flowrex_ops.record.result import RunResult

EXPECTED = "-expected.txt"
"""Beside the readings, where somebody knows better than the run did: the right cause, ``none``, or ``inconclusive`` where nothing can be said, nor ruled out."""
_NONE, _OPEN = "none", "inconclusive"


@dataclass(frozen=True, slots=True)
class _Case:
    """Readings to be judged: a file of them, or a folder of copies."""

    name: str
    readings: Path
    runbook: str
    expected: str


@dataclass(frozen=True, slots=True)
class Tried:
    """One capture: what it should be, what it is called now, and how that is to be taken."""

    record: str
    expected: str
    found: str
    how: str


def capture(
    output: Annotated[Path, option("-o", "FOLDER", "Write there; made where it is not there.")],
    runbook: Annotated[
        list[str] | None,
        option("--runbook", "NAME", "Only this one; may be repeated.", autocompletion=complete.runbooks),
    ] = None,
    interval: Annotated[str, option("--interval", "SPAN", "Go on until stopped, and read so often.")] = "",
    keep: Annotated[str, option("--keep", "SPAN", "With --interval: how long each round is kept.")] = "1h",
    settings: SettingsOption = "",
    project: ProjectOption = "",  # noqa: ARG001  # its callback uses it
) -> None:
    """Read everything once, by all runbooks that judge causes, into a folder that can be sent and judged elsewhere.

    Nothing is changed, and no secret is written. Takes a minute or two; a runbook that fails costs itself. Judge it with backtest, or
    with run --from. FOLDER/copies has the newest lines of each log, 4 MB a service: run --from FOLDER/copies parses them anew. With --interval the last hour is kept, so that what led to an alert is there: 512 MB at most, the readings alone,
    a folder for each round; a round that fails, or finds the disk full, is left out.

    Example: flowrex-ops capture -o site-of-harbor

    Example: flowrex-ops capture -o last-hour --interval 5m --keep 2h --runbook error_rate
    """
    from flowrex_ops.causes import causes_by_runbook
    from flowrex_ops.copied.lines import keep_lines
    from flowrex_ops.settings import load

    names = runbook or list(causes_by_runbook())
    if unknown := [name for name in names if name not in causes_by_runbook()]:
        raise ParameterError(
            f"--runbook: '{unknown[0]}' judges no causes; give one of {', '.join(causes_by_runbook())}"
        )
    if interval:
        from flowrex_ops.record.ring import watch

        every, for_ = parse_duration(interval, name="--interval"), parse_duration(keep, name="--keep")
        watch(output, lambda folder: len(_read(folder, names, settings)), interval=every, keep=for_, say=typer.echo)
    output.mkdir(parents=True, exist_ok=True)
    results = _read(output, names, settings)
    progress("reading the logs")
    for problem in keep_lines(load(settings or None), output / "copies", since=timedelta(hours=1)):
        typer.echo(problem, err=True)
    lines = [f"{one.status:<9} {one.runbook:<26} {one.diagnosis or _NONE}" for one in results]
    typer.echo("\n".join([*lines, f"in {output}; judge it: flowrex-ops backtest {output}"]))
    if any(one.status.value == "failed" for one in results):
        raise typer.Exit(1)


def _read(folder: Path, names: Sequence[str], settings: str) -> list[RunResult]:
    """A run of each into *folder*."""
    from flowrex_ops.record.runbook import run_runbook

    os.environ["FLOWREX_OPS_OUTPUTS"] = str(folder.resolve())
    results = []
    for name in names:
        progress(f"reading for {name}")
        results.append(run_runbook(name, {"settings": settings} if settings else {}, trigger="capture"))
        _stop_if_interrupted(results[-1])
    return results


def backtest(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders of records, such as outputs; their readings are judged."),
    ],
    settings: SettingsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Judge the readings of earlier runs again, and say what is right, wrong, honest or silent. Nobody is asked.

    Right is the cause that the run named, or that stands in NAME-expected.txt beside its readings (RUNBOOK-expected.txt in a folder of copies). Honest: no cause is named, and one
    is inconclusive; silent: none is, though there should be. Exit 1 where something is wrong or silent.

    Example: flowrex-ops backtest outputs
    """
    cases = [case for folder in folders for case in _cases(folder)]
    if not cases:
        raise ParameterError(
            "there are no readings in these folders; runs keep them in evidence/ beside their records, and of copies RUNBOOK-expected.txt"
            " has to say what they should be"
        )
    rows = list(_try(cases, settings))
    counts = Counter(row.how for row in rows)
    width = max(len(row.record) for row in rows)
    lines = [
        f"{row.how:<7} {row.record:<{width}}  {row.found}" + (f", not {row.expected}" if row.how != "right" else "")
        for row in rows
    ]
    summary = ", ".join(f"{counts[how]} {how}" for how in ("right", "wrong", "honest", "silent"))
    echo([asdict(row) for row in rows], [*lines, f"{len(rows)} captures: {summary}"], as_json=as_json)
    if counts["wrong"] or counts["silent"]:
        raise typer.Exit(1)


def _cases(folder: Path) -> list[_Case]:
    """Captures with what their records, or somebody, say of them, then folders of copies, of which somebody has to say it."""
    from flowrex_ops.archive.readings import SUFFIX, captures_in

    if not folder.exists():
        raise ParameterError(f"'{folder}' does not exist; give a folder of records, such as outputs")
    if folder.is_file():
        return [_captured(folder)]
    captured = [_captured(file) for file in captures_in(folder)]
    copied = [
        _Case(f"{said.parent.name}/{runbook}", said.parent, runbook, said.read_text(encoding="utf-8").strip())
        for said in sorted(folder.rglob(f"*{EXPECTED}"))
        if not said.with_name((runbook := said.name.removesuffix(EXPECTED)) + SUFFIX).exists()
    ]
    return captured + copied


def _captured(file: Path) -> _Case:
    from flowrex_ops.archive.index import read_metadata
    from flowrex_ops.archive.readings import SUFFIX

    name = file.name.removesuffix(SUFFIX)
    notebook = file.parent.parent / "records" / f"{name}.ipynb"
    about = read_metadata(notebook) if notebook.is_file() else None
    said = file.with_name(f"{name}{EXPECTED}")
    expected = said.read_text(encoding="utf-8").strip() if said.is_file() else about and (about.diagnosis or _NONE)
    if not expected:
        raise ParameterError(
            f"nothing says what '{file}' should be; write the cause, or none, into {said.name} beside it"
        )
    runbook = about.runbook if about else name.partition("-")[2]
    return _Case(f"{file.parent.parent.name}/{name}", file, str(runbook), expected)


def _try(cases: Sequence[_Case], settings: str) -> Iterator[Tried]:
    """Each run leaves its record in a folder that is gone afterwards."""
    from flowrex_ops.record.runbook import run_runbook

    with TemporaryDirectory(prefix="flowrex-backtest-") as outputs:
        os.environ["FLOWREX_OPS_OUTPUTS"] = outputs
        for case in cases:
            progress(f"judging {case.name}")
            given = {"settings": settings} if settings else {}
            result = run_runbook(case.runbook, given, replay=str(case.readings.resolve()), trigger="backtest")
            _stop_if_interrupted(result)
            yield Tried(case.name, case.expected, result.diagnosis or _NONE, _how(case.expected, result))


def _stop_if_interrupted(result: RunResult) -> None:
    """Ctrl-C ends the run that is under way; whoever pressed it wants no other."""
    if result.status.value == "interrupted":
        raise typer.Exit(1)


def _how(expected: str, result: RunResult) -> str:
    found = result.diagnosis or _NONE
    kinds = {verdict.kind.value for verdict in result.verdicts}
    if expected == _OPEN and found == _NONE:
        return "right" if kinds == {_OPEN} else "silent"
    if found == expected:
        return "right"
    if found != _NONE:
        return "wrong"
    return "honest" if _OPEN in kinds else "silent"
