"""One runbook, two times: what changed in findings, verdicts, numbers and configuration. Pure: two records' metadata in, rows out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flowrex_ops.archive.index import dicts
from flowrex_ops.errors import ParameterError

TABLES = ("findings", "verdicts", "numbers", "configuration")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FACTS = ("platform", "stack", "host", "operator", "status")
Facts = dict[str, dict[tuple[str, ...], str]]


def compare_records(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """``{"before", "after", "runbook"}`` of two ``metadata.flowrex_ops.record``, and for each of ``TABLES`` the rows that differ.

    Each row has ``before`` and ``after``, and ``cause`` or ``name`` or both; of findings and numbers also ``change``, of verdicts
    the reasons. ParameterError where the two are of two runbooks.
    """
    if before.get("runbook") != after.get("runbook"):
        raise ParameterError(
            f"'{before.get('id')}' is of {before.get('runbook')} and '{after.get('id')}' of {after.get('runbook')}; "
            "give two records of the same runbook, see 'flowrex-ops records search --runbook'"
        )
    old, new = _facts(before), _facts(after)
    found: dict[str, Any] = {"before": before.get("id"), "after": after.get("id"), "runbook": after.get("runbook")}
    for table in TABLES:
        keys = dict.fromkeys([*new[table], *old[table]])
        pairs = ((key, old[table].get(key, ""), new[table].get(key, "")) for key in keys)
        found[table] = [_row(table, *pair) for pair in pairs if pair[1] != pair[2]]
    return found


def _facts(record: Mapping[str, Any]) -> Facts:
    verdicts = dicts(record, "verdicts")
    numbers: dict[tuple[str, ...], str] = {}
    for verdict in verdicts:
        for one in dicts(verdict, "evidence"):
            key = (str(verdict.get("cause")), str(one.get("name")))
            numbers[key] = f"{numbers[key]}; {one.get('value')}" if key in numbers else str(one.get("value"))
    configuration: dict[tuple[str, ...], str] = {(name,): str(record.get(name) or "") for name in _FACTS}
    for group in ("parameters", "versions", "configuration"):
        configuration |= {(f"{group}: {name}",): str(value) for name, value in (record.get(group) or {}).items()}
    return {
        "findings": {
            (str(one.get("cause")),): f"{one.get('severity') or ''} {one.get('title')}".strip()
            for one in dicts(record, "findings")
        },
        "verdicts": {(str(one.get("cause")),): f"{one.get('verdict')}: {one.get('reason')}" for one in verdicts},
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
