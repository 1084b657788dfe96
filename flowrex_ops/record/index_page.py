"""``outputs/index.html``: all runs and incidents on one page, newest first, with links to theirs; it works from a file.

The page's own script filters rows; its hash stands in the content security policy, so that nothing else runs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive.folders import list_incidents
from flowrex_ops.archive.incidents import read_incident
from flowrex_ops.archive.outcome import iso
from flowrex_ops.archive.records import list_records
from flowrex_ops.errors import FlowrexOpsError, RecordError
from flowrex_ops.files import record_error, write_atomic
from flowrex_ops.record.page import css, template
from flowrex_ops.record.words import headline

FILE = "index.html"
SHOWN = 500
"""So many runs and incidents, the newest, so that a run's end stays quick in an old archive."""
_SCRIPT = (Path(__file__).parent / "templates" / "index.js").read_text(encoding="utf-8")
_POST_MORTEM = "post_mortem.html"


def write_index(outputs: Path, target: Path | None = None) -> Path:
    """Write the page of everything below *outputs* to *target* (``outputs/index.html``); RecordError where it cannot be written."""
    target = (target or outputs / FILE).absolute()
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    rows = [*_incidents(outputs.absolute(), target.parent), *_runs(outputs.absolute(), target.parent)]
    page = template("index.html.j2").render(
        rows=sorted(rows, key=lambda row: str(row["started"]), reverse=True),
        css=css(),
        script=_SCRIPT,
        digest=digest,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        most=SHOWN,
    )
    try:
        write_atomic(target, page)
    except OSError as error:
        raise record_error(error, target) from error
    return target


def refresh_index(outputs: Path) -> None:
    """The page as it is after a run; no run fails for it."""
    with contextlib.suppress(FlowrexOpsError):
        write_index(outputs)


def _incidents(outputs: Path, start: Path) -> Iterator[dict[str, Any]]:
    for folder in list_incidents(outputs)[:SHOWN]:
        about: dict[str, Any] = {}
        with contextlib.suppress(RecordError):
            about = read_incident(folder)
        page = folder / _POST_MORTEM
        yield {
            "kind": "incident",
            "id": folder.name,
            "started": about.get("started"),
            "severity": about.get("severity"),
            "state": about.get("status") or "cannot be read",
            "title": about.get("title"),
            "said": about.get("root_cause") or about.get("impact"),
            "page": os.path.relpath(page, start) if page.is_file() else "",
        }


def _runs(outputs: Path, start: Path) -> Iterator[dict[str, Any]]:
    for record in list_records(outputs, limit=SHOWN):
        about = record.metadata
        said = headline(about).removeprefix(f"{about.severity} · ")
        yield {
            "kind": "run",
            "id": record.id,
            "started": iso(about.started),
            "severity": about.severity,
            "state": record.status,
            "title": about.title,
            "said": said if said != about.title else "",
            "cause": about.diagnosis,
            "page": os.path.relpath(record.html, start) if record.html else "",
        }
