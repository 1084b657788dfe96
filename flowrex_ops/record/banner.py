"""The first cell of a record: what was found, how bad it is, what was done, and whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowrex_ops.archive.outcome import MitigationResult, RecordMetadata
from flowrex_ops.causes import ranked
from flowrex_ops.model import MARKS, Verdict
from flowrex_ops.record.words import (
    counts,
    do_next,
    headline,
    how_users_are,
    seen_before,
    trust,
    who_has_to_know,
    why_so_severe,
)

TAG = "flowrex-ops-banner"


def banner_cell(record: RecordMetadata, *, with_id: bool = True) -> dict[str, Any]:
    """A Markdown cell for *record* (``metadata.flowrex_ops.record``, already redacted)."""
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {"tags": [TAG]}, "source": banner(record)}
    if with_id:
        cell["id"] = TAG
    return cell


def banner(record: RecordMetadata) -> str:
    """The banner as Markdown that JupyterLab, GitHub and the page render alike."""
    blocks = [
        f"# {_plain(headline(record))}",
        _trust(record),
        _plain(why_so_severe(record)),
        _plain(who_has_to_know(record)),
        _plain(how_users_are(record)),
        "\n".join(f"- next: {_next(target)} {_plain(why)}" for target, why in do_next(record)),
        _verdicts(record.verdicts),
        _mitigations(record.mitigations),
        "  \n".join(_plain(line) for line in seen_before(record)),
        facts(record),
        "---",
    ]
    return "\n\n".join(block for block in blocks if block)


def facts(record: RecordMetadata) -> str:
    """Who ran what against what, when, for how long, with what result."""
    duration = f"{record.seconds:.1f} s" if record.seconds is not None else "not finished"
    return _plain(
        f"{record.runbook} · {record.id} · {record.status} · against {record.platform} · "
        f"by {record.operator or 'nobody named'} on {record.host} · {record.started_text} UTC · {duration}"
        + (f" · {record.trigger}" if record.trigger else "")
    )


def _trust(record: RecordMetadata) -> str:
    said = trust(record)
    return "\n".join([f"> ⚠ **{_plain(said[0])}**", *(f"> {_plain(text)}" for text in said[1:])]) if said else ""


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    rows = [f"| {MARKS[v.kind]} {v.kind.value} | {_code(v.cause)} | {_plain(v.reason)} |" for v in ranked(verdicts)]
    return "\n".join([f"**{counts(verdicts)}**", "", "| verdict | cause | why |", "|:--|:--|:--|", *rows])


def _mitigations(mitigations: Sequence[MitigationResult]) -> str:
    if not mitigations:
        return ""
    rows = [f"| {m.state.value} | {_code(m.slug)} | {_plain(m.reason)} |" for m in mitigations]
    return "\n".join(["| mitigation | what | why |", "|:--|:--|:--|", *rows])


def _next(label: str) -> str:
    """What to type, or whom to ask."""
    return f"**{_plain(label)}**" if label.endswith(":") else _code(label)


def _code(value: str) -> str:
    """*value* as a Markdown code span."""
    text = " ".join(value.split())
    return f"`{text.replace('`', '').replace('|', '/')}`"


def _plain(value: str) -> str:
    """*value* as one line of Markdown that means nothing but itself."""
    text = " ".join(value.split())
    for character in "\\|<>*_`[]":
        text = text.replace(character, {"<": "&lt;", ">": "&gt;"}.get(character, "\\" + character))
    return text
