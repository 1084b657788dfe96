"""Fills in the playbook's texts: ``templates/*.j2``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "templates"


def fill_in(template: str, **facts: Any) -> str:
    """The text of *template*, with *facts*; nothing in a fact can begin or end one of our blocks."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(  # noqa: S701  # plain text and Markdown, no HTML
        loader=FileSystemLoader(_FOLDER),
        finalize=lambda value: str(value).replace("<!--", "&lt;!--"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["line"] = lambda text: " ".join(str(text).split())
    return environment.get_template(template).render(now=datetime.now(UTC), **facts)
