"""One runbook, two times: what changed in findings, verdicts, numbers and configuration. Pure: two records' metadata in, rows out."""

from __future__ import annotations

import re
from typing import Any

from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.errors import ParameterError

TABLES = ("findings", "verdicts", "numbers", "configuration")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FACTS = ("platform", "stack", "host", "operator", "status")
Facts = dict[str, dict[tuple[str, ...], str]]


def compare_records(before: RecordMetadata, after: RecordMetadata) -> dict[str, Any]:
    """``{"before", "after", "runbook"}`` of two records, and for each of ``TABLES`` the rows that differ.

    Each row has ``before`` and ``after``, and ``cause`` or ``name`` or both; of findings and numbers also ``change``, of verdicts
    the reasons. ParameterError where the two are of two runbooks.
    """
    if before.runbook != after.runbook:
        raise ParameterError(
            f"'{before.id}' is of {before.runbook} and '{after.id}' of {after.runbook}; "
            "give two records of the same runbook, see 'flowrex-ops records search --runbook'"
        )
    old, new = _facts(before), _facts(after)
    found: dict[str, Any] = {"before": before.id, "after": after.id, "runbook": after.runbook}
    for table in TABLES:
        keys = dict.fromkeys([*new[table], *old[table]])
        pairs = ((key, old[table].get(key, ""), new[table].get(key, "")) for key in keys)
        found[table] = [_row(table, *pair) for pair in pairs if pair[1] != pair[2]]
    return found


def _facts(record: RecordMetadata) -> Facts:
    numbers: dict[tuple[str, ...], str] = {}
    for verdict in record.verdicts:
        for one in verdict.evidence:
            key = (verdict.cause, one.name)
            numbers[key] = f"{numbers[key]}; {one.value}" if key in numbers else one.value
    configuration: dict[tuple[str, ...], str] = {(name,): getattr(record, name) for name in _FACTS}
    for group in ("parameters", "versions", "configuration"):
        configuration |= {(f"{group}: {name}",): str(value) for name, value in getattr(record, group).items()}
    return {
        "findings": {(one.cause,): f"{one.severity or ''} {one.title}".strip() for one in record.findings},
        "verdicts": {(one.cause,): f"{one.kind}: {one.reason}" for one in record.verdicts},
        "numbers": numbers,
        "configuration": configuration,
    }


def _row(table: str, key: tuple[str, ...], before: str, after: str) -> dict[str, str]:
    row = dict(zip(("name",) if table == "configuration" else ("cause", "name"), key, strict=False))
    if table == "verdicts":
        (before, _, reason_before), (after, _, reason_after) = before.partition(": "), after.partition(": ")
        row |= {"reason_before": reason_before, "reason_after": reason_after}
        before, after = before or "not judged", after or "not judged"
    if table == "findings":
        row["change"] = "changed" if before and after else "appeared" if after else "gone"
    if table == "numbers":
        row["change"] = _difference(before, after)
    return {**row, "before": before, "after": after}


def _difference(before: str, after: str) -> str:
    """By how much the first number changed (``+13``); nothing where there is none, or it did not."""
    old, new = _NUMBER.search(before), _NUMBER.search(after)
    change = float(new.group()) - float(old.group()) if old and new else 0.0
    return f"{round(change, 6):+g}" if change else ""
