"""The first cell of a record: what was found, how bad it is, what was done, and whether to trust it."""

from __future__ import annotations

from typing import Any

from flowrex_ops.model import MARKS
from flowrex_ops.record.words import counts, do_next, headline, ordered, seen_before, trust, why_so_severe

TAG = "flowrex-ops-banner"


def banner_cell(record: dict[str, Any], *, with_id: bool = True) -> dict[str, Any]:
    """A Markdown cell for *record* (``metadata.flowrex_ops.record``, already redacted)."""
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {"tags": [TAG]}, "source": banner(record)}
    if with_id:
        cell["id"] = TAG
    return cell


def banner(record: dict[str, Any]) -> str:
    """The banner as Markdown that JupyterLab, GitHub and the page render alike."""
    blocks = [
        f"# {_plain(headline(record))}",
        _trust(record),
        _plain(why_so_severe(record)),
        "\n".join(f"- next: {_code(target)} {_plain(why)}" for target, why in do_next(record)),
        _verdicts(record["verdicts"]),
        _mitigations(record["mitigations"]),
        "  \n".join(_plain(line) for line in seen_before(record)),
        facts(record),
        "---",
    ]
    return "\n\n".join(block for block in blocks if block)


def facts(record: dict[str, Any]) -> str:
    """Who ran what against what, when, for how long, with what result."""
    duration = f"{record['seconds']:.1f} s" if record.get("seconds") is not None else "not finished"
    started = str(record["started"])[:19].replace("T", " ")
    return _plain(
        f"{record['runbook']} · {record['id']} · {record['status']} · against {record['platform']} · "
        f"by {record.get('operator') or 'nobody named'} on {record['host']} · {started} UTC · {duration}"
    )


def _trust(record: dict[str, Any]) -> str:
    said = trust(record)
    return "\n".join([f"> ⚠ **{_plain(said[0])}**", *(f"> {_plain(text)}" for text in said[1:])]) if said else ""


def _verdicts(verdicts: list[dict[str, Any]]) -> str:
    if not verdicts:
        return ""
    rows = [
        f"| {MARKS.get(str(v.get('verdict')), '')} {_plain(v.get('verdict'))} | {_code(v.get('cause'))} | {_plain(v.get('reason'))} |"
        for v in ordered(verdicts)
    ]
    return "\n".join([f"**{counts(verdicts)}**", "", "| verdict | cause | why |", "|:--|:--|:--|", *rows])


def _mitigations(mitigations: list[dict[str, Any]]) -> str:
    if not mitigations:
        return ""
    rows = [f"| {_plain(m.get('state'))} | {_code(m.get('slug'))} | {_plain(m.get('reason'))} |" for m in mitigations]
    return "\n".join(["| mitigation | what | why |", "|:--|:--|:--|", *rows])


def _code(value: object) -> str:
    """*value* as a Markdown code span."""
    text = " ".join(str(value if value is not None else "").split())
    return f"`{text.replace('`', '').replace('|', '/')}`"


def _plain(value: object) -> str:
    """*value* as one line of Markdown that means nothing but itself."""
    text = " ".join(str(value if value is not None else "").split())
    for character in "\\|<>*_`[]":
        text = text.replace(character, {"<": "&lt;", ">": "&gt;"}.get(character, "\\" + character))
    return text
