"""A finished record as one HTML file: the verdict on top, code and what is ruled out folded away, no network, no script.

A content security policy in the page forbids scripts and requests, whatever a reading may have put into an output.
"""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.catalog import is_live
from flowrex_ops.causes import ranked
from flowrex_ops.model import MitigationState, RunStatus
from flowrex_ops.record.banner import TAG
from flowrex_ops.record.folding import fold, is_folded
from flowrex_ops.record.words import (
    counts,
    diagnosis_title,
    do_next,
    headline,
    how_users_are,
    seen_before,
    trust,
    what_was_done,
    who_has_to_know,
    why_so_severe,
)

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"
_HEADING = re.compile(r'<h2 id="([^"]*)">(.*?)</h2>', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_EMPTY_HEAD = re.compile(r"<thead>\s*<tr>\s*(?:<th[^>]*>\s*</th>\s*)+</tr>\s*</thead>")
_FITS = 2
"""So many columns fit any screen: names and values."""
_TONES = {RunStatus.COMPLETE: "good", RunStatus.PARTIAL: "unsure", RunStatus.RUNNING: "unsure"}


def render_page(notebook: dict[str, Any]) -> str:
    """The page of *notebook*, a record as JSON (already redacted; ``metadata.flowrex_ops.record`` set)."""
    record = RecordMetadata.model_validate(notebook["metadata"]["flowrex_ops"]["record"])
    shown = (one for one in notebook["cells"] if not is_live(one) and TAG not in one["metadata"].get("tags", ()))
    done = what_was_done(record.mitigations)
    cells = fold(shown, record.approved, changed=bool(done))
    body = template("cells.html.j2").render(cells=cells)
    title = diagnosis_title(record) if record.diagnosis else headline(record)
    reason = record.finding.reason if record.finding else ""
    lead = (
        _more(reason, title),
        why_so_severe(record),
        who_has_to_know(record),
        done if record.diagnosis else "",
        how_users_are(record),
    )
    folded = [one for one in record.mitigations if is_folded(one.slug, one.state, record.approved)]
    return template("page.html.j2").render(
        record=record,
        body=_TABLE.sub(_scrolling, _EMPTY_HEAD.sub("", body)),
        contents=_contents(body),
        anchors={anchor for cell in cells for anchor in cell["metadata"].get("page", {}).get("anchors", ())},
        css=css(),
        headline=headline(record),
        title=title,
        lead=list(filter(None, lead)),
        badge=record.diagnosis or not record.impact,
        do_next=do_next(record),
        tone=_tone(record),
        notices=trust(record),
        seen_before=seen_before(record),
        needed=[one for one in record.mitigations if one not in folded],
        refused=folded,
        verdicts=ranked(record.verdicts),
        counts=counts(record.verdicts),
    )


def _more(reason: str, title: str) -> str:
    """What *reason* says beyond the *title* above it."""
    if not reason.startswith(title):
        return reason
    rest = reason.removeprefix(title).strip(" :;,")
    return rest[1:-1] if rest.startswith("(") and rest.endswith(")") else rest


def _scrolling(table: re.Match[str]) -> str:
    """A table of more than two columns may be wider than a phone; then it is scrolled by itself, with the keyboard too."""
    row = table[0].partition("</tr>")[0]
    wide = row.count("<td") + row.count("<th") - row.count("<thead") > _FITS
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{table[0]}</div>' if wide else table[0]


def _tone(record: RecordMetadata) -> str:
    """Red for what is wrong; once something was done about it, green where its effect was seen, and amber where it was not."""
    states = {one.state for one in record.mitigations}
    if what_was_done(record.mitigations) and MitigationState.FAILED not in states:
        return "unsure" if MitigationState.APPLIED_UNVERIFIED in states else "good"
    if record.diagnosis or record.impact:
        return "bad"
    if record.severity and not record.verdicts:
        return ""  # a post-mortem: what was severe is told, not found
    return _TONES.get(record.status, "bad")


def warm_up() -> None:
    """Do now what would make the first page slow: imports and compiling templates (about 0.2 s)."""
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "## a"}]
    template("cells.html.j2").render(cells=cells)
    template("page.html.j2")


@cache
def template(name: str) -> Template:
    """One of the pages around what is told, compiled."""
    from jinja2 import Environment, FileSystemLoader

    from flowrex_ops.record.markup import ansi, colour, markdown, rich

    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True)  # lenient: outputs may lack members
    environment.filters |= {"ansi": ansi, "colour": colour, "markdown": markdown, "rich": rich}
    return environment.get_template(name)


def css() -> Any:
    """The one style of all pages, as markup."""
    from markupsafe import Markup

    return Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704  # our own file


def _contents(body: str) -> list[tuple[str, str]]:
    """Anchor and text of each second-level heading, for the table of contents; none for a short page."""
    found = [(unescape(anchor), unescape(_TAG.sub("", text)).strip()) for anchor, text in _HEADING.findall(body)]
    return found if len(found) > 1 else []
