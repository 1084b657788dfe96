"""What a record says, in words: the same on the banner, the page, the terminal and an incident's index. Plain text, all of it redacted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowrex_ops.causes import find_causes, worst_first
from flowrex_ops.model import MitigationState, VerdictKind

_STATUS = {
    "running": "**This run has not finished.** Where nothing runs any more, it was killed; what stands below is all there is.",
    "interrupted": "**This run was interrupted.**",
    "failed": "**This run failed.**",
    "partial": "Finished, but something stayed unknown: an unknown is not healthy.",
}
_DONE = (MitigationState.VERIFIED, MitigationState.APPLIED_UNVERIFIED, MitigationState.FAILED)
_EFFECT = {
    MitigationState.VERIFIED: "its effect was seen",
    MitigationState.APPLIED_UNVERIFIED: "its effect could not be seen",
    MitigationState.FAILED: "not all of it worked",
}


def headline(record: dict[str, Any]) -> str:
    """One line: severity and diagnosis in words, or why there is none."""
    if done := what_was_done(record["mitigations"]):
        found = f"{diagnosis_title(record)}: " if record["diagnosis"] else ""
        return f"{found}{done}"
    if record["diagnosis"]:
        severity = f"{record['severity']} · " if record["severity"] else ""
        return f"{severity}{diagnosis_title(record)}"
    if record.get("severity") and record.get("impact"):
        return f"{record['severity']} · {record['impact']}"
    if record["status"] == "complete":
        if record["verdicts"]:
            return "Nothing found: every cause ruled out"
        return "Nothing was changed" if record["mitigations"] else str(record["title"])
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
    """The runbooks that explain what users feel, the first first, as they are started (in this incident, where there is one)."""
    here = f" --incident {record['incident']}" if record.get("incident") else ""
    return [f"flowrex-ops run {name}{here}" for name in record.get("next_runbooks") or ()]


def what_was_done(mitigations: Sequence[Mapping[str, Any]]) -> str:
    """What was changed, and whether it had its effect: ``restart-backend verified; its effect was seen``; empty where nothing was."""
    done = [one for one in mitigations if one.get("state") in _DONE]
    worst = max((_DONE.index(one["state"]) for one in done), default=0)
    named = ", ".join(f"{one['slug']} {one['state']}" for one in done)
    return f"{named}; {_EFFECT[_DONE[worst]]}" if done else ""


def do_next(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to type or whom to ask, and why, the first first. After a cure that is to watch, to tell people, and to resolve."""
    incident = record.get("incident")
    failed = any(one.get("state") == MitigationState.FAILED for one in record["mitigations"])
    if record["diagnosis"] and what_was_done(record["mitigations"]) and not failed:
        if not incident:
            return [("flowrex-ops triage", "see whether users are healthy again"), *_incident(record)]
        return [
            (f"flowrex-ops message update {incident}", "tell people what was done"),
            (
                f"flowrex-ops incident resolve {incident} --watch",
                "watch until it has been healthy long enough, then resolve",
            ),
        ]
    explain = [
        (command, "what users feel has another reason; this runbook explains it") for command in next_commands(record)
    ]
    finding: Mapping[str, Any] = next(
        (one for one in record["findings"] if one.get("cause") == record["diagnosis"]), {}
    )
    steps = [(str(step["target"]), str(step["text"])) for step in finding.get("next_steps") or ()]
    return explain + steps + (_incident(record) if record["severity"] in ("P0", "P1") else [])


def _incident(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How a run becomes an incident; nothing where it belongs to one."""
    command = f"flowrex-ops incident open TITLE --from {record.get('run')}"
    return (
        [] if record.get("incident") else [(command, "open an incident with it, so that whoever must know is notified")]
    )


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
