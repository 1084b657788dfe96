"""One runbook, two times: what changed in findings, verdicts, numbers and configuration. Pure: two records' metadata in, tables out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flowrex_ops.archive.traits import dicts, mask
from flowrex_ops.errors import ParameterError

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_FACTS = ("platform", "stack", "host", "operator", "status")
FINDING_COLUMNS = ["cause", "change", "before", "after"]
VERDICT_COLUMNS = ["cause", "before", "after", "reason_before", "reason_after"]
NUMBER_COLUMNS = ["cause", "name", "before", "after", "change"]
CONFIGURATION_COLUMNS = ["name", "before", "after"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from ``before`` to ``after`` (ids); a table without rows means that nothing did.

    ``findings``: columns ``FINDING_COLUMNS``, ``change`` is appeared, gone or changed. ``verdicts``: another answer, or another
    reason. ``numbers``: evidence whose value differs, ``change`` by how much where only numbers do. ``configuration``: parameters,
    versions, where the platform's parts were found, who ran it against what.
    """

    before: str
    after: str
    runbook: str
    findings: pd.DataFrame
    verdicts: pd.DataFrame
    numbers: pd.DataFrame
    configuration: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """As ``records diff --json`` prints it."""
        tables = {name: getattr(self, name).to_dict("records") for name in TABLES}
        return {"before": self.before, "after": self.after, "runbook": self.runbook, **tables}


TABLES = ("findings", "verdicts", "numbers", "configuration")


def compare_records(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """*before* and *after* are ``metadata.flowrex_ops.record``. ParameterError where they are of two runbooks."""
    if before.get("runbook") != after.get("runbook"):
        raise ParameterError(
            f"'{before.get('id')}' is of {before.get('runbook')} and '{after.get('id')}' of {after.get('runbook')}; "
            "give two records of the same runbook, see 'flowrex-ops records search --runbook'"
        )
    return Difference(
        str(before.get("id")),
        str(after.get("id")),
        str(after.get("runbook")),
        pd.DataFrame(_findings(before, after), columns=FINDING_COLUMNS),
        pd.DataFrame(_verdicts(before, after), columns=VERDICT_COLUMNS),
        pd.DataFrame(_numbers(before, after), columns=NUMBER_COLUMNS),
        pd.DataFrame(_configuration(before, after), columns=CONFIGURATION_COLUMNS),
    )


def change_of(before: str, after: str) -> str:
    """By how much each number changed (``+7, -2.5``) where the text around them is the same; else nothing."""
    old, new = _NUMBER.findall(before), _NUMBER.findall(after)
    if len(old) != len(new) or _NUMBER.sub("#", before) != _NUMBER.sub("#", after):
        return ""
    changes = [round(float(b) - float(a), 6) for a, b in zip(old, new, strict=True)]
    return ", ".join(f"{change:+g}" for change in changes if change)


def _findings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    old, new = _by_cause(before, "findings"), _by_cause(after, "findings")
    for cause in dict.fromkeys([*new, *old]):
        texts = [_finding(found.get(cause)) for found in (old, new)]
        if texts[0] != texts[1]:
            change = "appeared" if cause not in old else "gone" if cause not in new else "changed"
            yield cause, change, texts[0], texts[1]


def _finding(finding: Mapping[str, Any] | None) -> str:
    return f"{finding.get('severity') or ''} {finding.get('title')}".strip() if finding else ""


def _verdicts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    old, new = _by_cause(before, "verdicts"), _by_cause(after, "verdicts")
    for cause in dict.fromkeys([*new, *old]):
        was, is_ = old.get(cause, {}), new.get(cause, {})
        answers = str(was.get("verdict") or "not judged"), str(is_.get("verdict") or "not judged")
        reasons = str(was.get("reason") or ""), str(is_.get("reason") or "")
        if answers[0] != answers[1] or reasons[0] != reasons[1]:
            yield cause, *answers, *reasons


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Evidence by cause and name; what is called otherwise only by a number (a PID) is held against its like."""
    old, new = _evidence(before), _evidence(after)
    for key, value in new.items():
        like = key if key in old else next((k for k in old if k not in new and _alike(k, key)), None)
        was = old.pop(like) if like else ""
        if was != value:
            yield key[0], key[1], was, value, change_of(was, value)
    for (cause, name, _), was in old.items():
        yield cause, name, was, "", ""


def _evidence(record: Mapping[str, Any]) -> dict[tuple[str, str, int], str]:
    """Cause, name, and which of that name it is, to the value."""
    found: dict[tuple[str, str, int], str] = {}
    for verdict in dicts(record.get("verdicts")):
        for evidence in dicts(verdict.get("evidence")):
            cause, name, number = str(verdict.get("cause")), str(evidence.get("name")), 0
            while (cause, name, number) in found:
                number += 1
            found[cause, name, number] = str(evidence.get("value"))
    return found


def _alike(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[0] == other[0] and mask(one[1]) == mask(other[1])


def _configuration(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    old, new = _settings(before), _settings(after)
    for name in dict.fromkeys([*old, *new]):
        if old.get(name, "") != new.get(name, ""):
            yield name, old.get(name, ""), new.get(name, "")


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(record.get(name) or "") for name in _FACTS}
    for group in ("parameters", "versions", "configuration"):
        members = record.get(group)
        if isinstance(members, Mapping):
            found |= {f"{group}: {name}": str(value) for name, value in members.items()}
    return found


def _by_cause(record: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    return {str(item.get("cause")): item for item in dicts(record.get(name))}
