"""Fills in the playbook's texts: ``templates/*.j2``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

_FOLDER = Path(__file__).parent / "templates"


def format_clock(at: datetime, timezone: str = "") -> str:
    """``04:12 UTC``, and beside it what the clock on the wall says where people are: ``22:12 UTC (Tue 07:12 JST)``."""
    utc = at.astimezone(UTC)
    if not timezone:
        return f"{utc:%H:%M} UTC"
    local = utc.astimezone(ZoneInfo(timezone))
    day = "" if local.date() == utc.date() else "%a "
    return f"{utc:%H:%M} UTC ({local:{day}%H:%M %Z})"


def fill_in(template: str, *, timezone: str = "", **facts: Any) -> str:
    """The text of *template*, with *facts*; nothing in a fact can begin or end one of our blocks. Times also in *timezone*."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(  # noqa: S701  # plain text and Markdown, no HTML
        loader=FileSystemLoader(_FOLDER),
        finalize=lambda value: str(value).replace("<!--", "&lt;!--"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["clock"] = lambda at: format_clock(at, timezone)
    environment.filters["line"] = lambda text: " ".join(str(text).split())
    return environment.get_template(template).render(now=datetime.now(UTC), **facts)
