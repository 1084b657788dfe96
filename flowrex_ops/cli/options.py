"""Options that several commands take, and what each command does with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from flowrex_ops.cli import complete
from flowrex_ops.model import Severity

if TYPE_CHECKING:
    from flowrex_ops.redaction.redactor import Redactor
    from flowrex_ops.settings import Settings

EXIT_FOUND = 3
FORMER_NAMES = dict(by="author", told="notified", every="interval", anyway="force", again="force", to="output")
"""Options that were renamed: the old name still works, and no help shows it. They go with the next version."""


def current_names(**more: str) -> dict[str, Any]:
    """Settings of a command's context by which former names of options (and *more*) mean those that there are now."""
    names = FORMER_NAMES | more
    return {"token_normalize_func": lambda word: names.get(word, word)}


def _name_project(name: str) -> str:
    """For this process and the kernels it starts; the setting of a file gives way to it."""
    if name:
        os.environ["FLOWREX_OPS_STACK__PROJECT"] = name
    return name


def _severity(text: str) -> Severity:
    from flowrex_ops.errors import ParameterError

    if text.upper() not in {level.value for level in Severity}:
        raise ParameterError(f"'{text}' is not a severity; give P0, P1, P2 or P3")
    return Severity(text.upper())


def option(name: str, metavar: str, text: str = "", **more: Any) -> Any:
    """An option that takes a value: its name, what stands for the value in the help, and what it is for."""
    return typer.Option(name, metavar=metavar, help=text or None, **more)


SettingsOption = Annotated[
    str, option("--settings", "FILE", "Settings file; else $FLOWREX_OPS_SETTINGS, else ./flowrex-ops.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProjectOption = Annotated[
    str, option("--project", "NAME", "The compose project; else that of this folder.", callback=_name_project)
]
StackOption = Annotated[str, option("--stack", "STACK", "supervisor or compose.")]
HomeOption = Annotated[Path | None, option("--home", "FOLDER", "The sandbox's folder; .sandbox/STACK unless given.")]
FailOnOption = Annotated[
    Severity | None,
    option("--fail-on", "P0|P1|P2|P3", "Exit 3 when a finding is that severe or worse.", parser=_severity),
]

LevelOption = Annotated[Severity | None, option("--severity", "P0|P1|P2|P3", parser=_severity)]
IncidentArgument = Annotated[
    str,
    typer.Argument(
        metavar="INCIDENT",
        help="An incident's id, the beginning of one, or latest: the newest that is open.",
        autocompletion=complete.incidents,
    ),
]
IncidentOption = Annotated[
    str,
    option(
        "--incident",
        "INCIDENT",
        "Add the record to this incident: an id, its beginning, or latest. Else it is a run.",
        autocompletion=complete.incidents,
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open an incident, and add the record to it.")]
AuthorOption = Annotated[str, option("--author", "NAME", "Your name; your login unless given.")]
TitleOption = Annotated[str, option("--title", "TEXT", "The symptom, in the user's words.")]
StatusOption = Annotated[str, option("--status", "STATUS", "Investigating, Identified or Mitigating.")]
SeverityOption = Annotated[str, option("--severity", "P0|P1|P2|P3")]
ServiceOption = Annotated[str, option("--service", "NAME", "What is affected.")]
ImpactOption = Annotated[str, option("--impact", "TEXT", "What users cannot do, and how many.")]
StartedOption = Annotated[
    str, option("--started", "TIME", "When it began: 04:12 (UTC), 2026-01-31 04:12, or 20m for ago.")
]
RoleOption = Annotated[list[str] | None, option("--role", "ROLE=NAME", "Such as commander=ada; may be repeated.")]
CauseOption = Annotated[str, option("--root-cause", "TEXT", "Why it happened, as far as known.")]
ResolutionOption = Annotated[str, option("--resolution", "TEXT", "What was done.")]
EtaOption = Annotated[str, option("--eta", "TEXT", "When it will be over, as far as known.")]
NextUpdateOption = Annotated[str, option("--next-update", "SPAN", "Such as 30m.")]
ZipOption = Annotated[Path | None, option("--output", "FILE", "The zip; its id with .zip in this folder unless given.")]


class Session(NamedTuple):
    """What a command on an incident works by: the settings, who gives it, and what must not be written."""

    settings: Settings
    author: str
    redactor: Redactor

    @classmethod
    def open(cls, settings: str, author: str) -> Session:
        """The login where no author is named."""
        from flowrex_ops.archive.incidents import current_user
        from flowrex_ops.redaction.redactor import Redactor

        loaded = load_settings(settings)
        return cls(loaded, author or current_user(), Redactor(loaded.secret_values()))

    @property
    def who(self) -> dict[str, Any]:
        """As what changes an incident takes it."""
        return {"by": self.author, "redactor": self.redactor}

    def push(self) -> None:
        """Renew the page of all incidents, and send what was changed to the store, where there is one; trouble is one line, and loses nothing."""
        from flowrex_ops.archive.store import push
        from flowrex_ops.record.index_page import refresh_index

        refresh_index(self.settings.outputs)
        push(self.settings)


def echo_json(value: object) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(value, indent=2, default=str))


def echo(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """*value* for programs, or *lines* for people."""
    if as_json:
        echo_json(value)
    else:
        typer.echo("\n".join(lines))


def progress(text: str) -> None:
    """A line about what goes on, on a terminal only; standard output stays for results."""
    import sys

    if sys.stderr.isatty():
        typer.echo(f"  {text}", err=True)


def load_settings(settings: str) -> Settings:
    """The settings that a command works by; what the store has of incidents, where there is one, is here afterwards."""
    from flowrex_ops.archive.store import pull
    from flowrex_ops.settings import load

    loaded = load(settings or None)
    pull(loaded)
    return loaded


def incident_id(wanted: str, settings: str) -> str:
    """The id of the incident that *wanted* names; empty where none is."""
    from flowrex_ops.archive.incidents import find_incident

    return find_incident(load_settings(settings).outputs, wanted).name if wanted else ""


def incident_facts(given: dict[str, Any]) -> dict[str, Any]:
    """The facts of an incident among the options that were *given*, with times and roles read."""
    from datetime import UTC, datetime

    from flowrex_ops.durations import parse_duration, parse_moment

    read: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("title", "status", "severity", "service", "impact", "root_cause", "resolution", "eta"), str),
        "security": bool,
        "started": lambda text: parse_moment(text, name="--started"),
        "next_update": lambda text: datetime.now(UTC) + parse_duration(text, name="--next-update"),
        "roles": lambda items: dict(_role(item) for item in items),
    }
    given = {**given, "roles": given.get("role")}
    return {name: to(given[name]) for name, to in read.items() if given.get(name)}


def _role(item: str) -> tuple[str, str]:
    from flowrex_ops.errors import ParameterError

    role, equals, person = item.partition("=")
    if not equals or not role.strip():
        raise ParameterError(f"--role: '{item}' is not a role; write ROLE=NAME, such as commander=ada")
    return role.strip(), person.strip()
