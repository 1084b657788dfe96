"""``flowrex-ops drill``: real faults in the sandbox, and whether the runbook names them.

``drill run`` and ``drill run-all`` end with 1 when a drill did not pass: their work is to pass, as a test's is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flowrex_ops.cli.complete import Offer, offers
from flowrex_ops.cli.options import HomeOption, JsonOption, StackOption, echo_json, progress
from flowrex_ops.errors import SandboxError
from flowrex_ops.model import MitigationState
from flowrex_sandbox.cli.sandbox import home_of

if TYPE_CHECKING:
    from flowrex_sandbox.cli.scoring import Score

app = typer.Typer(
    no_args_is_help=True, help="Faults injected for real, and the runbook's answer.", rich_markup_mode=None
)


@offers
def _drills() -> Iterable[Offer]:
    from flowrex_sandbox.drills import DRILLS

    return ((drill.scenario, drill.title) for drill in DRILLS)


ScenarioArgument = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A scenario of 'drill list'.", autocompletion=_drills)
]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the scenarios: what is injected, what must be confirmed, what must not.

    Example: flowrex-ops drill list --json
    """
    from flowrex_sandbox.drills import DRILLS

    if as_json:
        echo_json([drill.to_dict() for drill in DRILLS])
        return
    for drill in DRILLS:
        typer.echo(f"{drill.scenario:<30} {', '.join(drill.expected) or 'no finding':<45} {drill.title}")


@app.command()
def run(
    scenario: ScenarioArgument,
    stack: StackOption = "supervisor",
    home: HomeOption = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve the mitigations that cure it, too.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox up afterwards, healthy.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a sandbox, inject a fault, run the runbook, show what it says and what was expected, and leave nothing running.

    A sandbox that already runs is used, reset and left up. Exit 1 when the runbook did not name the cause.

    Example: flowrex-ops drill run lock-chain --approve
    """
    from flowrex_ops.cli.report import LiveReport, is_terminal, summary
    from flowrex_sandbox import control as sandbox
    from flowrex_sandbox.cli.scoring import play
    from flowrex_sandbox.drills import get_drill

    drill = get_drill(scenario)
    where = home_of(stack, home)
    ran_before = bool(sandbox.status(where))
    try:
        platform = sandbox.up(stack, where, on_progress=progress)
        approved = drill.approve if approve else ()
        report = LiveReport(drill.runbook, quiet=as_json)
        score = play(platform, drill, approve=approved, on_progress=progress, on_event=report)
    finally:
        if not (ran_before or keep):
            progress("stopping the sandbox")
            sandbox.down(where)
    if as_json:
        echo_json(score.to_dict())
    else:
        # Its next steps are for the platform as it was, and the faults are gone.
        typer.echo(summary(score.result, verdicts_shown=is_terminal(), over=True))
        typer.echo("\n".join(_screen(score, stack)))
    if score.failures:
        raise typer.Exit(1)


def _screen(score: Score, stack: str) -> Iterator[str]:
    """What a drill came to: what was broken, what was found, in how long, and what cures it."""
    drill, found = score.drill, ", ".join(score.found) or "nothing"
    planned = [one.slug for one in score.result.mitigations if one.state is MitigationState.PLANNED]
    where = "" if stack == "supervisor" else f" --stack {stack}"
    rows = {
        "Broken": drill.title,
        "Found": f"{found} in {score.result.seconds or 0:.1f} s",
        "Expected": ", ".join(drill.expected) or "nothing",
        "Recovered": f"in {score.recovery_seconds:.1f} s" if score.recovery_seconds is not None else "",
        "To apply": f"flowrex-ops drill run {drill.scenario}{where} --approve  ({', '.join(planned)})"
        if planned
        else "",
        "Drill": "passed" if not score.failures else "FAILED: " + "; ".join(score.failures),
    }
    yield from (f"{name:<12}{text}" for name, text in rows.items() if text)


@app.command()
def inject(scenario: ScenarioArgument, stack: StackOption = "supervisor", home: HomeOption = None) -> None:
    """Inject a fault into the running sandbox and leave it there.

    Example: flowrex-ops drill inject idle-in-transaction
    """
    from flowrex_sandbox import drills
    from flowrex_sandbox.control import open_sandbox

    drill = drills.get_drill(scenario)
    platform = open_sandbox(home_of(stack, home))
    drills.inject(platform, drill, progress)
    thresholds = " ".join(f"-p {name}={value}" for name, value in drill.parameters.items())
    typer.echo(f"injected {scenario}; take it away with 'flowrex-ops drill reset'")
    typer.echo(f"try: flowrex-ops run {drill.runbook} --settings {platform.settings_file} {thresholds}")


@app.command("heal", hidden=True)
@app.command()
def reset(stack: StackOption = "supervisor", home: HomeOption = None) -> None:
    """Take all faults away and wait until the sandbox is healthy.

    Example: flowrex-ops drill reset
    """
    from flowrex_sandbox import drills
    from flowrex_sandbox.control import open_sandbox

    drills.reset(open_sandbox(home_of(stack, home)), progress)
    typer.echo("healthy")


@app.command("score", hidden=True)
@app.command("run-all")
def run_all(
    scenario: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]…", help="All when left out.", autocompletion=_drills)
    ] = None,
    stack: StackOption = "supervisor",
    home: HomeOption = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve the mitigations, and time the recovery.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the drills one after another and print a table. Exit 1 when one did not pass.

    Example: flowrex-ops drill run-all --approve --stack compose
    """
    from flowrex_sandbox import control as sandbox
    from flowrex_sandbox.cli.scoring import play
    from flowrex_sandbox.drills import DRILLS, get_drill

    chosen = [get_drill(name) for name in scenario] if scenario else [d for d in DRILLS if stack in d.stacks]
    where = home_of(stack, home)
    ran_before = bool(sandbox.status(where))
    scores = []
    try:
        platform = sandbox.up(stack, where, on_progress=progress)
        for drill in chosen:
            progress(f"drill {drill.scenario}")
            approved = drill.approve if approve else ()
            scores.append(play(platform, drill, approve=approved, on_progress=progress))
    finally:
        if not ran_before:
            sandbox.down(where)
    if as_json:
        echo_json([score.to_dict() for score in scores])
    else:
        _print_table(scores)
    if any(score.failures for score in scores):
        raise typer.Exit(1)


def _print_table(scores: list[Score]) -> None:
    """Plain columns: they read the same on a terminal, in a pipe and in a log."""
    if not scores:
        raise SandboxError("no drill fits this stack; see 'flowrex-ops drill list'")
    rows = [("drill", "expected", "diagnosis", "false findings", "diagnosed", "recovered", "")]
    for score in scores:
        recovered = f"{score.recovery_seconds:.1f} s" if score.recovery_seconds is not None else "-"
        expected = ", ".join(cause.removeprefix("db.") for cause in score.drill.expected) or "none"
        found = (score.result.diagnosis or "none").removeprefix("db.")
        false = ", ".join(score.false_findings) or "none"
        verdict = "passed" if not score.failures else "FAILED: " + "; ".join(score.failures)
        diagnosed = f"{score.result.seconds:.1f} s"
        rows.append((score.drill.scenario, expected, found, false, diagnosed, recovered, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    passed = sum(not score.failures for score in scores)
    typer.echo(f"{passed} of {len(scores)} drills passed")
