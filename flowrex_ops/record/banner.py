"""The first cell of a record: what was found, how bad it is, what was done, and whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowrex_ops.causes import find_causes, worst_first
from flowrex_ops.model import MARKS, MitigationState, VerdictKind

TAG = "flowrex-ops-banner"
_STATUS = {
    "running": "**This run has not finished.** Where nothing runs any more, it was killed; what stands below is all there is.",
    "interrupted": "**This run was interrupted.**",
    "failed": "**This run failed.**",
    "partial": "Finished, but something stayed unknown: an unknown is not healthy.",
}


def banner_cell(record: dict[str, Any], *, with_id: bool = True) -> dict[str, Any]:
    """A Markdown cell for *record* (``metadata.flowrex_ops.record``, already redacted)."""
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {"tags": [TAG]}, "source": banner(record)}
    if with_id:
        cell["id"] = TAG
    return cell


def banner(record: dict[str, Any]) -> str:
    """The banner as Markdown that JupyterLab, GitHub and the page render alike."""
    blocks = [
        f"# {headline(record)}",
        _trust(record),
        _plain(why_so_severe(record)),
        "\n".join(f"- next: `{command}`" for command in next_commands(record)),
        _verdicts(record["verdicts"]),
        _mitigations(record["mitigations"]),
        "  \n".join(_plain(line) for line in seen_before(record)),
        facts(record),
        "---",
    ]
    return "\n\n".join(block for block in blocks if block)


def headline(record: dict[str, Any]) -> str:
    """One line: severity and diagnosis in words, or why there is none."""
    if record["diagnosis"]:
        severity = f"{record['severity']} · " if record["severity"] else ""
        return f"{severity}{_plain(diagnosis_title(record))}"
    if record.get("severity") and record.get("impact"):
        return f"{record['severity']} · {_plain(record['impact'])}"
    if record["status"] == "complete":
        if record["verdicts"]:
            return "Nothing found: every cause ruled out"
        return changes(record["mitigations"]) if record["mitigations"] else _plain(record["title"])
    return {
        "partial": "Nothing confirmed, but not everything could be looked at",
        "running": "Not finished: no finding yet",
        "interrupted": "Interrupted before anything was confirmed",
    }.get(record["status"], "Failed before anything was confirmed")


def why_so_severe(record: Mapping[str, Any]) -> str:
    """``P0: alert FrontDoorDown: …`` where the moment is worse than the cause that was found; the headline says it where none was."""
    found = [finding.get("severity") for finding in record["findings"]]
    if not record["diagnosis"] or not record.get("impact") or record["severity"] in found:
        return ""
    return f"{record['severity']}: {record['impact']}"


def next_commands(record: Mapping[str, Any]) -> list[str]:
    """The runbooks that explain what users feel, the first first, as they are started in this incident."""
    return [f"flowrex-ops run {name} --incident {record['incident']}" for name in record.get("next_runbooks") or ()]


def changes(mitigations: Sequence[Mapping[str, Any]]) -> str:
    """What a procedure changed, which judges no cause: ``maintenance-on: verified``; that nothing was, where so."""
    done = [f"{one['slug']}: {one['state']}" for one in mitigations if one["state"] != MitigationState.PLANNED.value]
    return "; ".join(done) or "Nothing was changed"


def diagnosis_title(record: dict[str, Any]) -> str:
    """The diagnosis in words: the first finding's title, the catalogue's, or the slug."""
    slug = str(record["diagnosis"])
    titles = [finding.get("title") for finding in record["findings"] if finding.get("cause") == slug]
    return str(next(filter(None, titles), None) or (find_causes()[slug].title if slug in find_causes() else slug))


def counts(verdicts: list[dict[str, Any]]) -> str:
    """``1 confirmed, 5 ruled out, 1 inconclusive``."""
    numbers = {kind: sum(v.get("verdict") == kind.value for v in verdicts) for kind in VerdictKind}
    return ", ".join(f"{number} {kind.value}" for kind, number in numbers.items() if number) or "no verdicts"


def ordered(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*verdicts* with what matters first (``causes.worst_first``)."""
    return sorted(
        verdicts,
        key=lambda v: worst_first(
            str(v.get("verdict")), v.get("severity"), float(v.get("share") or 0), str(v.get("cause"))
        ),
    )


def trust(record: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the record; empty for a complete one."""
    if record["status"] == "complete":
        return []
    said = [_STATUS.get(record["status"], "").replace("**", "")]
    if record.get("reason"):
        said.append(str(record["reason"])[:1].upper() + str(record["reason"])[1:] + ".")
    if record["status"] != "partial":
        said.append(str(record["cells"])[:1].upper() + str(record["cells"])[1:] + ".")
    return [text for text in said if text]


def facts(record: dict[str, Any]) -> str:
    """Who ran what against what, when, for how long, with what result."""
    duration = f"{record['seconds']:.1f} s" if record.get("seconds") is not None else "not finished"
    started = str(record["started"])[:19].replace("T", " ")
    return _plain(
        f"{record['runbook']} · {record['id']} · {record['status']} · against {record['platform']} · "
        f"by {record.get('operator') or 'nobody named'} on {record['host']} · {started} UTC · {duration}"
    )


def seen_before(record: dict[str, Any]) -> list[str]:
    """A line for each earlier incident that was like this one: ``Seen before: INC-… (2026-11-02), db.lock-contention, …``."""
    lines = []
    for one in record.get("seen_before") or ():
        common = ", ".join([*one.get("causes", ()), *list(one.get("signatures", ()))[:1]])
        ended = (
            f"resolved by {', '.join(one['resolved_by'])}" if one.get("resolved_by") else "not resolved by this tool"
        )
        said = [f"{one.get('incident')} ({str(one.get('started'))[:10]})", common or str(one.get("diagnosis")), ended]
        lines.append(f"Seen before: {', '.join(said)}")
    return lines


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
