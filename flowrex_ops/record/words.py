"""What a record says, in words: the same on the banner, the page, the terminal and an incident's index. Plain text, all of it redacted."""

from __future__ import annotations

from collections.abc import Sequence

from flowrex_ops.archive.outcome import MitigationResult, RecordMetadata
from flowrex_ops.causes import find_causes
from flowrex_ops.model import CHANGED, MitigationState, RunStatus, Severity, Verdict, VerdictKind

_STATUS = {
    RunStatus.RUNNING: "This run has not finished. Where nothing runs any more, it was killed; what stands below is all there is.",
    RunStatus.INTERRUPTED: "This run was interrupted.",
    RunStatus.FAILED: "This run failed.",
    RunStatus.PARTIAL: "Finished, but something stayed unknown: an unknown is not healthy.",
}
_EFFECT = {
    MitigationState.VERIFIED: "its effect was seen",
    MitigationState.APPLIED_UNVERIFIED: "its effect could not be seen",
    MitigationState.FAILED: "not all of it worked",
}


def headline(record: RecordMetadata) -> str:
    """One line: severity and diagnosis in words, or why there is none."""
    if done := what_was_done(record.mitigations):
        found = f"{diagnosis_title(record)}: " if record.diagnosis else ""
        return f"{found}{done}"
    if record.diagnosis:
        severity = f"{record.severity} · " if record.severity else ""
        return f"{severity}{diagnosis_title(record)}"
    if record.severity and record.impact:
        return f"{record.severity} · {record.impact}"
    if record.status is RunStatus.COMPLETE:
        if record.verdicts:
            return "Nothing found: every cause ruled out"
        return "Nothing was changed" if record.mitigations else record.title
    return {
        RunStatus.PARTIAL: "Nothing confirmed, but not everything could be looked at",
        RunStatus.RUNNING: "Not finished: no finding yet",
        RunStatus.INTERRUPTED: "Interrupted before anything was confirmed",
    }.get(record.status, "Failed before anything was confirmed")


def why_so_severe(record: RecordMetadata) -> str:
    """``P0: alert FrontDoorDown: …`` where the moment is worse than the cause that was found; the headline says it where none was. Triage always says it."""
    found = [finding.severity for finding in record.findings if record.runbook != "triage"]
    if not record.diagnosis or not record.impact or record.severity in found:
        return ""
    before = " at first" if what_was_done(record.mitigations) else ""
    return f"{record.severity}{before}: {record.impact}"


def how_users_are(record: RecordMetadata) -> str:
    """``Users are healthy again: …``, not yet, or not known; empty where nothing was changed."""
    return f"Users are {record.users}" if record.users else ""


def who_has_to_know(record: RecordMetadata) -> str:
    """``Notify: On-call engineer immediately, …``; empty where nobody has to."""
    return f"Notify: {record.notify}" if record.notify else ""


_OTHER_REASON = "what users feel has another reason; this runbook explains it"


def run_command(record: RecordMetadata, runbook: str) -> str:
    """How *runbook* is started, in this incident where there is one."""
    return f"flowrex-ops run {runbook}" + (f" --incident {record.incident}" if record.incident else "")


def what_was_done(mitigations: Sequence[MitigationResult]) -> str:
    """What was changed, and whether it had its effect: ``restart-backend verified; its effect was seen``; empty where nothing was."""
    done = [one for one in mitigations if one.state in CHANGED]
    worst = max((CHANGED.index(one.state) for one in done), default=0)
    named = ", ".join(f"{one.slug} {one.state}" for one in done)
    return f"{named}; {_EFFECT[CHANGED[worst]]}" if done else ""


def do_next(record: RecordMetadata) -> list[tuple[str, str]]:
    """What to type or whom to ask (its ``label``), and why, the first first. After a cure that is to watch, to tell people, and to resolve."""
    failed = any(one.state is MitigationState.FAILED for one in record.mitigations)
    if record.diagnosis and what_was_done(record.mitigations) and not failed:
        if not record.incident:
            return [("flowrex-ops triage", "see whether users are healthy again"), *_incident(record)]
        return [
            (f"flowrex-ops message update {record.incident}", "tell people what was done"),
            (
                f"flowrex-ops incident resolve {record.incident} --watch",
                "watch until it has been healthy long enough, then resolve",
            ),
        ]
    usual = "it explains what users or alerts tell" if record.runbook == "triage" else _OTHER_REASON
    steps = {run_command(record, name): usual for name in record.next_runbooks}
    for step in record.finding.next_steps if record.finding else ():
        steps[run_command(record, step.target) if step.kind == "runbook" else step.label] = step.text
    return [*steps.items(), *(_incident(record) if record.severity in (Severity.P0, Severity.P1) else [])]


def _incident(record: RecordMetadata) -> list[tuple[str, str]]:
    """How a run becomes an incident; nothing where it belongs to one."""
    command = f"flowrex-ops incident open TITLE --from {record.run}"
    return [] if record.incident else [(command, "open an incident with it, so that whoever must know is notified")]


def diagnosis_title(record: RecordMetadata) -> str:
    """The diagnosis in words: the first finding's title, the catalogue's, or the slug."""
    slug = record.diagnosis or ""
    titled = record.finding.title if record.finding else ""
    return titled or (find_causes()[slug].title if slug in find_causes() else slug)


def counts(verdicts: Sequence[Verdict]) -> str:
    """``1 confirmed, 5 ruled out, 1 inconclusive``."""
    numbers = {kind: sum(verdict.kind is kind for verdict in verdicts) for kind in VerdictKind}
    return ", ".join(f"{number} {kind.value}" for kind, number in numbers.items() if number) or "no verdicts"


def trust(record: RecordMetadata) -> list[str]:
    """What a reader must know before believing the record; empty for a complete one."""
    if record.status is RunStatus.COMPLETE:
        return []
    reason = f"{record.reason}." if record.reason else ""
    cells = f"{record.cells}." if record.status is not RunStatus.PARTIAL else ""
    return [text[:1].upper() + text[1:] for text in (_STATUS.get(record.status, ""), reason, cells) if text]


def seen_before(record: RecordMetadata) -> list[str]:
    """A line for each earlier incident that was like this one: ``Similar incident: INC-… (2026-11-02), db.lock-contention, …``."""
    lines = []
    for one in record.seen_before:
        day = f"{one.started:%Y-%m-%d}" if one.started else "at an unknown time"
        ended = f"resolved by {', '.join(one.resolved_by)}" if one.resolved_by else "resolution not recorded"
        lines.append(f"Similar incident: {one.incident} ({day}), {one.in_common}, {ended}")
    return lines
