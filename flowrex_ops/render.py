"""How readings, verdicts and plans look in a notebook: HTML that reads in light and dark, with text beside it.

Nothing here relies on colour alone: every state has its mark and its word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import chain, repeat
from typing import Any

import pandas as pd

from flowrex_ops.model import MARKS, Outcome, Plan, Reading, Verdict, VerdictKind

SHOWN_ROWS, KEPT_ROWS = 12, 50
"""Rows of a table that are seen at once, and those that are there when it is unfolded; all are in the evidence."""
_NO_ROWS = "No rows."
_SQL = re.compile(
    r"\s*(?:select|with|update|insert|delete|merge|create|alter|drop|copy|lock|refresh|call|do)\s", re.IGNORECASE
)
_SQL_SHOWN, _ONE_LINE = 60, 28
_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?%?")
COLOURS = {VerdictKind.CONFIRMED: "#D55E00", VerdictKind.RULED_OUT: "#009E73", VerdictKind.INCONCLUSIVE: "#8A7A00"}
"""Okabe and Ito's vermillion and bluish green, and an ochre: told apart with every kind of colour vision."""


def badge(kind: VerdictKind) -> str:
    """A verdict's mark and word."""
    return (
        f'<span class="flowrex-badge {kind.value.replace(" ", "-")}" style="border:1px solid {COLOURS[kind]};border-left:6px solid {COLOURS[kind]};'
        f'padding:0 .5em;border-radius:3px;white-space:nowrap"><b>{MARKS[kind]} {kind.value}</b></span>'
    )


def next_html(label: str) -> str:
    """What to type, or whom to ask."""
    return f"<b>{escape(label)}</b>" if label.endswith(":") else f"<code>{escape(label)}</code>"


def verdict_html(verdict: Verdict) -> str:
    """One verdict: badge, cause, reason, evidence, next steps."""
    severity = f" <b>{verdict.severity.value}</b>" if verdict.confirmed and verdict.severity else ""
    parts = [f"<p>{badge(verdict.kind)}{severity} <code>{escape(verdict.cause)}</code> {escape(verdict.reason)}</p>"]
    if verdict.evidence:
        rows = [(e.name, e.value, e.source) for e in verdict.evidence]
        parts.append(html_table(("evidence", "value", "read from"), rows))
    if verdict.confirmed and verdict.next_steps:
        steps = "".join(f"<li>{next_html(s.label)} {escape(s.text)}</li>" for s in verdict.next_steps)
        parts.append(f"<p>Next:</p><ul>{steps}</ul>")
    return "".join(parts)


def verdict_text(verdict: Verdict) -> str:
    """One verdict as a line."""
    return f"{MARKS[verdict.kind]} {verdict.kind.value}: {verdict.cause}: {verdict.reason}"


def verdicts_html(verdicts: Sequence[Verdict], open_causes: Sequence[str] = ()) -> str:
    """All hypotheses in one table, findings first, those that were not judged yet last."""
    if not verdicts and not open_causes:
        return "<p>No hypothesis was checked.</p>"
    rows = "".join(
        f"<tr><td>{badge(v.kind)}</td><td>{v.severity.value if v.confirmed and v.severity else ''}</td>"
        f"<td><code>{escape(v.cause)}</code></td><td style='text-align:left'>{escape(v.reason)}</td></tr>"
        for v in verdicts
    )
    rows += "".join(
        f"<tr><td>… not judged yet</td><td></td><td><code>{escape(cause)}</code></td><td></td></tr>"
        for cause in open_causes
    )
    head = "<tr><th>verdict</th><th>severity</th><th>cause</th><th style='text-align:left'>reason</th></tr>"
    return f"<table class='flowrex'><thead>{head}</thead><tbody>{rows}</tbody></table>"


def outcome_html(outcome: Outcome) -> str:
    """One mitigation: its state, what it would do or did, to what, at which cost, and how it is undone."""
    head = f"<p><b>{escape(outcome.state.value)}</b> <code>{escape(outcome.slug)}</code>: {escape(outcome.reason)}</p>"
    return head + (plan_html(outcome.plan) if outcome.plan else "")


def plan_html(plan: Plan) -> str:
    """What a person must have read before approving; many targets stand in two columns, so that all are seen at once."""
    targets = "<br>".join(escape(target.label) for target in plan.targets) or "none"
    rows = [
        ("does", escape(plan.action)),
        ("to", f"<div style='columns:2'>{targets}</div>" if len(plan.targets) > SHOWN_ROWS // 2 else targets),
        ("costs users", escape(plan.cost)),
        ("undo", escape(plan.undo)),
        ("plan", f"<code>{plan.slug}@{plan.hash}</code>"),
    ]
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{v}</td></tr>" for name, v in rows
    )
    return f"<table class='flowrex'>{body}</table>"


def plan_text(plan: Plan) -> str:
    """The same in lines."""
    targets = "; ".join(target.label for target in plan.targets)
    return f"does: {plan.action}\nto: {targets}\ncosts users: {plan.cost}\nundo: {plan.undo}\nplan: {plan.slug}@{plan.hash}"


def outcome_text(outcome: Outcome) -> str:
    """One mitigation as a line."""
    return f"{outcome.slug}: {outcome.state.value}: {outcome.reason}"


def unavailable_html(readings: Iterable[Reading[Any]]) -> str:
    """What cannot be shown, and why. Unknown is not healthy, and it must not look so."""
    lines = dict.fromkeys(f"{r.source} gave no {r.what}: {r.error}" for r in readings if not r.available)
    items = "".join(f"<p>{badge(VerdictKind.INCONCLUSIVE)} {escape(line)}</p>" for line in lines)
    return items or "<p>Nothing to show.</p>"


def frame_html(frame: pd.DataFrame, *, evidence: str = "", shown: int = SHOWN_ROWS) -> str:
    """The first *shown* rows of a table, more of them folded, and where all are."""
    if frame.empty:
        return f"<p>{_NO_ROWS}</p>"
    names = [str(name).replace("_", " ") for name in frame.columns]
    kept = frame.head(max(shown, KEPT_ROWS))
    rows = [[format_cell(value) for value in row] for row in kept.itertuples(index=False)]
    numbers = [any(column) and all(map(_NUMBER.fullmatch, filter(None, column))) for column in zip(*rows, strict=True)]
    html = html_table(names, rows[:shown], numbers) if shown else ""
    if len(frame) <= shown:
        return html
    where = f"; all {len(frame)} in <code>{escape(evidence)}</code>" if evidence else f" of {len(frame)}"
    more = f"{len(rows) - shown} more row{'s' * (len(rows) > shown + 1)}" if shown else "as a table"
    folded = f"<summary>{more}{where}</summary>{html_table(names, rows[shown:], numbers)}"
    return f"{html}<details>{folded}</details>"


def frame_text(frame: pd.DataFrame) -> str:
    """The same in lines, of the first rows."""
    return _NO_ROWS if frame.empty else frame.head(SHOWN_ROWS).to_string(index=False)


def facts_html(facts: Mapping[str, str]) -> str:
    """Names and values, one a row."""
    return html_table((), list(facts.items()))


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> str:
    """A table of text, escaped, aligned to the left; columns of *numbers* to the right."""
    sides = ["right" if number else "left" for number in numbers]
    body = "".join("<tr>" + "".join(map(_cell, row, chain(sides, repeat("left")))) + "</tr>" for row in rows)
    names = "".join(map(_name, columns, chain(sides, repeat("left"))))
    head = f"<thead><tr>{names}</tr></thead>" if columns else ""
    return f"<table class='flowrex'>{head}<tbody>{body}</tbody></table>"


def _name(text: str, side: str) -> str:
    return f"<th style='text-align:{side}'>{escape(text)}</th>"


def _cell(value: str, side: str) -> str:
    """A name, a date is read at a glance only while it stands on one line; SQL is known by its beginning, and whole where one points at it."""
    would_break = len(value) <= _ONE_LINE and (" " in value or "-" in value)
    style = f"text-align:{side}" + (";white-space:nowrap" if would_break else "")
    if len(value) <= _SQL_SHOWN or not _SQL.match(value):
        return f"<td style='{style}'>{escape(value)}</td>"
    return f"<td style='{style}' title='{escape(value)}'>{escape(value[:_SQL_SHOWN].rstrip())} …</td>"


def format_cell(value: object) -> str:
    """One value for people: numbers short, times in UTC, nothing for missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:,.1f}".removesuffix(".0")
    if value is None or value is pd.NaT:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
