"""``flowrex-ops run``: one runbook, headless, into a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flowrex_ops.cli.options import JsonOption, ProjectOption, SettingsOption, echo_json
from flowrex_ops.errors import ParameterError

EXIT_FOUND = 3


ParameterOption = Annotated[
    list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; may be repeated.")
]
IncidentOption = Annotated[str, typer.Option("--incident", metavar="ID", help="Add the record to this incident.")]
FailOnOption = Annotated[
    str, typer.Option("--fail-on", metavar="P0|P1|P2|P3", help="Exit 3 when a finding is that severe or worse.")
]


def run(
    runbook: Annotated[str, typer.Argument(metavar="RUNBOOK", help="A runbook's slug, or the path of its .ipynb.")],
    parameter: ParameterOption = None,
    incident: IncidentOption = "",
    approve: Annotated[
        list[str] | None,
        typer.Option("--approve", metavar="SLUG[@HASH]", help="Apply this mitigation; may be repeated."),
    ] = None,
    operator: Annotated[str, typer.Option("--operator", metavar="NAME", help="Who approves.")] = "",
    settings: SettingsOption = "",
    project: ProjectOption = "",  # noqa: ARG001  # its callback uses it
    fail_on: FailOnOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run a runbook and keep its record. Changes nothing unless a mitigation is approved by a named operator.

    Example: flowrex-ops run database_connections -p idle_after_seconds=5

    Example: flowrex-ops run database_connections --approve terminate-root-blocker --operator ada
    """
    from flowrex_ops.cli.report import LiveReport, is_terminal, summary

    limit = severity_of(fail_on)
    given = parse_parameters(parameter or ())
    named = {"incident_id": incident, "approve": list(approve or ()), "operator": operator, "settings": settings}
    given |= {name: value for name, value in named.items() if value}
    with LiveReport(runbook, quiet=as_json) as report:  # says something before the slow imports
        from flowrex_ops.record.runbook import run_runbook

        result = run_runbook(runbook, given, on_event=report)
    if as_json:
        echo_json(result.to_json())
    else:
        typer.echo(summary(result, verdicts_shown=is_terminal()))
    if limit and result.severity_found and result.severity_found.at_least(limit):
        raise typer.Exit(EXIT_FOUND)
    if result.status.value in ("failed", "interrupted"):
        raise typer.Exit(1)


def triage(
    parameter: ParameterOption = None,
    incident: IncidentOption = "",
    settings: SettingsOption = "",
    project: ProjectOption = "",  # noqa: ARG001  # its callback uses it
    fail_on: FailOnOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask everything at once: what is wrong, how severe, who is told by when, which runbook is next.

    Example: flowrex-ops triage --fail-on P1
    """
    run("triage", parameter, incident, settings=settings, fail_on=fail_on, as_json=as_json)


def parse_parameters(items: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` items as a dict; ParameterError names the one that is not."""
    parsed: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ParameterError(f"'{item}' is not a parameter; write -p NAME=VALUE")
        parsed[name.strip()] = value
    return parsed


def severity_of(text: str) -> Any:
    """``--fail-on``'s level, or ``None``; ParameterError for a word that is none."""
    from flowrex_ops.model import Severity

    if not text:
        return None
    try:
        return Severity(text.upper())
    except ValueError:
        raise ParameterError(f"--fail-on: '{text}' is not a severity; give P0, P1, P2 or P3") from None
