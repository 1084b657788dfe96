"""``flowrex-ops run``: one runbook, headless, into a record."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flowrex_ops.cli import complete, options
from flowrex_ops.errors import ParameterError

ParameterOption = Annotated[
    list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; may be repeated.")
]


def run(
    runbook: Annotated[
        str,
        typer.Argument(
            metavar="RUNBOOK", help="A runbook's slug, or the path of its .ipynb.", autocompletion=complete.runbooks
        ),
    ],
    parameter: ParameterOption = None,
    incident: options.IncidentOption = "",
    open_: options.OpenOption = False,
    approve: Annotated[
        list[str] | None,
        options.option(
            "--approve", "SLUG[@HASH]", "Apply this mitigation; may be repeated.", autocompletion=complete.mitigations
        ),
    ] = None,
    operator: Annotated[str, options.option("--operator", "NAME", "Who approves.")] = "",
    from_: Annotated[
        str,
        options.option(
            "--from", "PATH", "Judge readings of a record, of a capture, or a folder of copied files; ask nobody."
        ),
    ] = "",
    settings: options.SettingsOption = "",
    project: options.ProjectOption = "",  # noqa: ARG001  # its callback uses it
    fail_on: options.FailOnOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run a runbook and keep its record. Changes nothing unless a mitigation is approved by a named operator.

    Example: flowrex-ops run database_connections -p idle_after_seconds=5

    Example: flowrex-ops run database_connections --approve terminate-root-blocker --operator ada

    Example: flowrex-ops run database_connections --open

    Example: flowrex-ops run database_connections --from INC-20260131-0412-a1b2/001-database_connections

    Example: flowrex-ops run error_rate --from /tmp/copied-from-harbor
    """
    from flowrex_ops.cli.report import LiveReport, is_terminal, summary

    given = parse_parameters(parameter or ())
    with LiveReport(runbook, quiet=as_json) as report:  # says something before the slow imports
        from flowrex_ops.record.forked import use_shared_parent
        from flowrex_ops.record.runbook import run_runbook

        use_shared_parent()
        named = {"approve": list(approve or ()), "operator": operator, "settings": settings}
        named["incident_id"] = options.incident_id(incident, settings)
        given |= {name: value for name, value in named.items() if value}
        if open_ and from_:
            raise ParameterError("--open notifies people now, and --from judges what is over; leave one of them out")
        if open_:
            given["incident_id"] = _open(runbook, given, operator, settings)
        result = run_runbook(runbook, given, on_event=report, replay=from_)
    command = again(runbook, parameter or (), settings, result.incident)
    text = summary(result, verdicts_shown=is_terminal(), command="" if from_ else command, over=bool(from_))
    options.echo(result.to_json(), [text], as_json=as_json)
    if fail_on and result.severity_found and result.severity_found.at_least(fail_on):
        raise typer.Exit(options.EXIT_FOUND)
    if result.status.value in ("failed", "interrupted") or result.not_applied:
        raise typer.Exit(1)


def again(runbook: str, parameters: Sequence[str], settings: str, incident: str | None) -> str:
    """The command line that runs it again (in its incident, where there is one), from this folder, with what was given."""
    given = [word for item in parameters for word in ("-p", item)] + (["--settings", settings] if settings else [])
    return shlex.join(["flowrex-ops", "run", runbook, *given, *(("--incident", incident) if incident else ())])


def _open(name: str, given: dict[str, Any], operator: str, settings: str) -> str:
    """The id of a new incident for this run, once it is sure that the run will start."""
    from flowrex_ops.catalog import get_runbook
    from flowrex_ops.incident.escalation import notify_opened
    from flowrex_ops.incident.incident import open_new
    from flowrex_ops.parameters import validate

    if given.get("incident_id"):
        raise ParameterError("--open makes a new incident, and --incident names one; leave one of them out")
    runbook = get_runbook(name)
    validate(runbook, given)
    session = options.Session.open(settings, operator)
    facts = {"title": runbook.title}
    folder = open_new(session.settings.outputs, facts, **session.who)
    for one in notify_opened(folder, session.settings):
        options.progress(str(one))
    return folder.name


def triage(
    parameter: ParameterOption = None,
    incident: options.IncidentOption = "",
    open_: options.OpenOption = False,
    settings: options.SettingsOption = "",
    project: options.ProjectOption = "",  # noqa: ARG001  # its callback uses it
    fail_on: options.FailOnOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Ask everything at once: what is wrong, how severe, who is to be notified by when, which runbook is next.

    Example: flowrex-ops triage --fail-on P1
    """
    run("triage", parameter, incident, open_, settings=settings, fail_on=fail_on, as_json=as_json)


def parse_parameters(items: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` items as a dict; ParameterError names the one that is not."""
    parsed: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ParameterError(f"'{item}' is not a parameter; write -p NAME=VALUE")
        parsed[name.strip()] = value
    return parsed
