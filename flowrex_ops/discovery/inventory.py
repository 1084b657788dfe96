"""What was found of a platform as a settings file for its engineers to keep: each line with where it came from."""

from __future__ import annotations

import json

from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.settings import Settings

_SECRETS = {
    "postgres": ("dsn", "FLOWREX_OPS_POSTGRES__DSN"),
    "redis": ("url", "FLOWREX_OPS_REDIS__URL"),
}
_SECTIONS = (
    ("backend", "backend", ("service", "port")),
    ("postgres", "postgres", ("service",)),
    ("redis", "redis", ("service",)),
    ("front_door", "front door", ("service", "port", "path")),
    ("tls", "tls", ("service", "port")),
    ("proxy", "front door", ("service", "port")),
    ("prometheus", "prometheus", ("service", "port")),
)
"""Section, the source whose origin it has, and its lines."""


def write_inventory(endpoints: Endpoints) -> str:
    """A TOML document; what was not found stands in it as a comment, and no secret does."""
    settings = endpoints.settings
    lines = [
        "# Written by 'flowrex-ops init' from what it found; correct what is wrong, and delete what may be found anew.",
        "",
        "[stack]",
        _line("kind", settings.stack.kind, endpoints.stack_line),
    ]
    project = endpoints.project
    lines += [_line("project", project, "label com.docker.compose.project")] if project else []
    for section, source, names in _SECTIONS:
        lines += ["", f"[{section}]", *_section(settings, endpoints, section, source, names)]
    return "\n".join(lines) + "\n"


def _section(settings: Settings, endpoints: Endpoints, section: str, source: str, names: tuple[str, ...]) -> list[str]:
    own = getattr(settings, section)
    origin = endpoints.origins.get(source, "")
    found = origin.startswith(("discovered", "settings"))
    reported = [_line(name, value, origin) for name in names if (value := getattr(own, name)) != ""]
    lines = reported if found else [f"# {line}" for line in reported]
    if section in _SECRETS and found:
        name, variable = _SECRETS[section]
        lines.append(f"# {name}: found from the services' own variables each time; ${variable} goes before them")
    return lines


def _line(name: str, value: object, origin: str) -> str:
    return f"{name} = {json.dumps(value)}  # {' '.join(origin.split())}"
