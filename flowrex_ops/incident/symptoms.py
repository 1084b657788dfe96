"""What users would notice, read off one survey: each symptom says which runbook explains it. Pure: readings in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import pandas as pd

from flowrex_ops.causes import find_causes
from flowrex_ops.health import judge_door, judge_replicas
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.memory.checks import killed_replicas
from flowrex_ops.model import Reading, Severity
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.reading import UNREACHABLE_CODES
from flowrex_ops.services import impact
from flowrex_ops.services.impact import Thresholds
from flowrex_ops.tls.source import UNREACHABLE_CODES as NO_CERTIFICATE
from flowrex_ops.tls.views import Served, each_endpoint, ends_soon

Frame = Reading[pd.DataFrame]

SYMPTOM_COLUMNS = ["symptom", "seen", "severity", "runbook", "says"]
RUNBOOK_COLUMNS = ["runbook", "severity", "because"]
ROOT_FIRST = (
    "database_connections",
    "memory_usage",
    "certificate_expiry",
    "trade_failures",
    "websocket_disconnections",
    "error_rate",
)
"""Of runbooks that explain symptoms of equal severity: a database that is full makes trades fail, and both make 5xx."""

YES, NO, UNKNOWN = "yes", "no", "unknown"
SENTRY = "new issues in Sentry"
DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True)
class Survey:
    """One reading of each source; ``flowrex_ops.incident.survey`` takes them, its methods say their columns."""

    front_door: Frame
    services: Frame
    health: Frame
    pools: Frame
    log: Reading[LogSummary]
    limits: Reading[ConnectionLimits]
    trades: Frame
    redis: Reading[str]
    usage: Frame
    disks: Frame
    certificates: Frame
    alerts: Frame
    targets: Frame
    issues: Frame
    pages: Frame

    @property
    def taken_at(self) -> datetime:
        """The moment that it shows."""
        return self.services.taken_at

    def readings(self) -> list[Reading[Any]]:
        """Every reading, in the order of the checklist."""
        return [getattr(self, part.name) for part in fields(self)]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: whether it is there (None where that cannot be told), how bad, in which words."""

    there: bool | None
    says: str
    severity: Severity = Severity.P2


def find_symptoms(
    survey: Survey, *, alerts: Mapping[str, str], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> pd.DataFrame:
    """Every symptom, seen or not or unknown, the seen ones first; columns ``SYMPTOM_COLUMNS``.

    *alerts* maps an alert's name to the runbook that answers it; an alert that no runbook answers points at none.
    """
    s, t = survey, thresholds
    rows = [
        _row("users get no good answer", "error_rate", look_at_door(s), s.front_door),
        _row("5xx among the backend's answers", "error_rate", look_at_errors(s, t), s.log),
        _row(SENTRY, "error_rate", _seen(s.issues, _issues), s.issues),
        _row("backend replicas are not ready", "database_connections", look_at_replicas(s), s.health),
        _row("connection pools are full", "database_connections", _seen(s.pools, _pools), s.pools),
        _row("the log speaks of the connection pool", "database_connections", _seen(s.log, _pool_errors), s.log),
        _row("requests take longer than 5 s", "database_connections", _seen(s.log, _slow), s.log),
        _row("PostgreSQL cannot be reached", "database_connections", look_at_database(s), s.limits),
        _row(
            "PostgreSQL's connection slots run out",
            "database_connections",
            _seen(s.limits, lambda v: _slots(v, t)),
            s.limits,
        ),
        _row("trades fail", "trade_failures", _seen(s.trades, lambda v: _trades(v, t)), s.trades),
        _row("memory near its limit", "memory_usage", look_at_memory(s, t), s.usage),
        _row(
            "the out-of-memory killer struck", "memory_usage", _seen(s.services, lambda _: _oom(s.services)), s.services
        ),
        _row(
            "Redis answers", "memory_usage", _seen(s.redis, lambda v: Seen(there=False, says=f"version {v}")), s.redis
        ),
        _row(
            "a certificate ends soon, or is refused", "certificate_expiry", look_at_certificates(s, t), s.certificates
        ),
        *_alerts(s.alerts, alerts),
    ]
    frame = pd.DataFrame(rows, columns=SYMPTOM_COLUMNS)
    order = frame["seen"].map({YES: 0, UNKNOWN: 1, NO: 2})
    return frame.assign(order=order).sort_values(["order", "severity"], kind="stable", ignore_index=True)[
        SYMPTOM_COLUMNS
    ]


def rank_runbooks(symptoms: pd.DataFrame) -> pd.DataFrame:
    """The runbooks that explain what was seen: the most severe first, then the nearest to the root of the trouble.

    P0 and P1 are both answered at once, so that what a full database does to trading comes after the database.
    """
    seen = symptoms[symptoms["seen"].eq(YES) & ~symptoms["runbook"].isin(["", "triage"])]
    rows = [
        (
            runbook,
            part["severity"].min(),
            "; ".join(f"{row.symptom}: {row.says}" for row in part.itertuples()),
            _depth(str(runbook)),
        )
        for runbook, part in seen.groupby("runbook", sort=True)
    ]
    frame = pd.DataFrame(rows, columns=[*RUNBOOK_COLUMNS, "depth"])
    urgency = frame["severity"].replace(Severity.P0.value, Severity.P1.value)
    return frame.assign(urgency=urgency).sort_values(["urgency", "depth", "runbook"], ignore_index=True)[
        RUNBOOK_COLUMNS
    ]


def _depth(runbook: str) -> int:
    return ROOT_FIRST.index(runbook) if runbook in ROOT_FIRST else len(ROOT_FIRST)


def _row(symptom: str, runbook: str, seen: Seen | None, reading: Reading[Any]) -> tuple[Any, ...]:
    if seen is None:
        return (symptom, UNKNOWN, "", runbook, str(reading.error))
    if seen.there is None:
        return (symptom, UNKNOWN, "", runbook, seen.says)
    return (symptom, YES if seen.there else NO, seen.severity.value if seen.there else "", runbook, seen.says)


def _seen(reading: Reading[Any], look: Callable[[Any], Seen]) -> Seen | None:
    return look(reading.require()) if reading.available else None


def look_at_door(survey: Survey) -> Seen | None:
    """Whether users get an answer."""
    if not survey.front_door.available:
        return None
    ready, says = judge_door(survey.front_door.require())
    severity = impact.of_door(survey.front_door, survey.health) if ready is False else Severity.P2
    return Seen(None if ready is None else not ready, says, severity)


def look_at_replicas(survey: Survey) -> Seen | None:
    """Whether the backend's replicas say that they are ready."""
    if not survey.health.available:
        return None
    judged = judge_replicas(survey.services, survey.health)
    unready = int(judged["ready"].map(lambda ready: ready is False).sum())
    untold = judged[judged["ready"].isna()]
    if unready:
        return Seen(
            there=True, says=f"{unready} of {len(judged)} replicas are not ready", severity=impact.of_replicas(judged)
        )
    if len(untold) or judged.empty:
        return Seen(there=None, says=str(untold["says"].iloc[0]) if len(untold) else "no running replica was asked")
    return Seen(there=False, says=f"{len(judged)} of {len(judged)} backend replicas are ready")


def look_at_errors(survey: Survey, thresholds: Thresholds) -> Seen | None:
    """How many of the requests in the backend's log were answered with 5xx; of none that says nothing."""
    if not survey.log.available:
        return None
    log = survey.log.require()
    if not log.requests:
        return Seen(there=None, says="the backend's log tells of no request")
    failed, requests, begin = log.server_errors, log.requests, log.failing_since(thresholds.error_share)
    if begin is not None:
        failed, requests = log.count_since(begin)
    share = failed / max(1, requests)
    since = f" since {begin:%H:%M} UTC" if begin is not None else ""
    says = f"{failed} of {requests} requests ({share:.0%}){since} were answered with 5xx"
    return Seen(share > thresholds.error_share, says, impact.of_failures(failed, requests))


def look_at_database(survey: Survey) -> Seen | None:
    """Whether PostgreSQL can be reached: a refused password or a full server is an answer too, one too late is unknown."""
    if survey.limits.available:
        return Seen(there=False, says=f"version {survey.limits.require().server_version}")
    if survey.limits.code in UNREACHABLE_CODES - {"timeout"}:
        return Seen(there=True, says=str(survey.limits.error), severity=find_causes()["db.unreachable"].severity)
    return None


def _issues(issues: pd.DataFrame) -> Seen:
    new = issues[issues["new"].astype(bool)]
    first = f": {new['title'].iloc[0]}" if len(new) else ""
    return Seen(len(new) > 0, f"{len(new)} new{first}")


def _pools(pools: pd.DataFrame) -> Seen:
    answered = pools[pools["error"].isna()]
    told = answered[answered["maximum"].notna() & answered["in_use"].notna()]
    full = told[told["in_use"].ge(told["maximum"])]
    sizeless = answered["replica"].nunique() - told["replica"].nunique()
    if full.empty and (sizeless or told.empty):
        says = f"{sizeless} replicas do not tell their pool's size; set backend.pool_size"
        return Seen(there=None, says=says if sizeless else "no replica tells its pool")
    return Seen(
        len(full) > 0, f"{full['replica'].nunique()} of {told['replica'].nunique()} pools are full", Severity.P1
    )


def _pool_errors(log: Any) -> Seen:
    if not log.lines:
        return Seen(there=None, says="the log has no line of that time")
    return Seen(log.pool_errors > 0, f"{log.pool_errors} lines", Severity.P1)


def _slow(log: Any) -> Seen:
    if not log.requests:
        return Seen(there=None, says="the backend's log tells of no request")
    return Seen(log.slow_requests > 0, f"{log.slow_requests} of {log.requests} requests")


def _slots(limits: Any, thresholds: Thresholds) -> Seen:
    says = f"{limits.used} of {limits.for_applications} slots are taken"
    return Seen(limits.used >= thresholds.slots_share * limits.for_applications, says, Severity.P1)


def _trades(trades: pd.DataFrame, thresholds: Thresholds) -> Seen:
    recent = int(trades["all_recent"].max()) if len(trades) else 0
    if not recent:
        return Seen(there=None, says="there was no trade lately")
    failed = int(trades.loc[trades["status"].eq("failed"), "recent"].sum())
    share = failed / recent
    says = f"{failed} of {recent} trades ({share:.0%})"
    return Seen(share >= thresholds.trade_share, says, impact.of_trades(failed, recent))


def look_at_memory(survey: Survey, thresholds: Thresholds) -> Seen | None:
    """Whether a replica nears its memory limit; one without a limit cannot."""
    if not survey.usage.available:
        return None
    usage = survey.usage.require()
    limited = usage[usage["memory_share"].notna()]
    if limited.empty:
        return Seen(there=False if len(usage) else None, says="no replica has a memory limit of its own")
    fullest = limited.sort_values(["memory_share", "name"], ascending=[False, True]).iloc[0]
    share = float(fullest["memory_share"])
    says = f"{fullest['name']} uses most of its memory limit, {share:.0%}"
    return Seen(share >= thresholds.memory_share, says, impact.of_memory(share))


def _oom(services: Reading[pd.DataFrame]) -> Seen:
    """As ``memory.oom-killed`` counts it: lately, or still gone."""
    killed, severity = killed_replicas(services)
    says = f"killed: {', '.join(killed['name'])}" if len(killed) else "no replica was killed lately"
    return Seen(len(killed) > 0, says, severity)


def look_at_certificates(survey: Survey, thresholds: Thresholds) -> Seen | None:
    """Whatever ``certificate_expiry`` would look into; it says what it is."""
    if not survey.certificates.available:
        return None
    served, warn_days = each_endpoint(survey.certificates.require()), thresholds.warn_days
    if not served:
        return Seen(there=None, says="no endpoint is known; set tls.endpoints")
    unreachable = [one for one in served if one.error and one.code in NO_CERTIFICATE]
    refused = [one for one in served if one.verify_code]
    ending = [
        one for one in served if one.asked_at and any(ends_soon(link, one.asked_at, warn_days) for link in one.chain)
    ]
    for what, found, severity in (
        ("give no certificate", unreachable, Severity.P1),
        ("are refused by clients", refused, Severity.P1),
        ("end soon", ending, Severity.P2),
    ):
        if found:
            return Seen(there=True, says=f"{len(found)} of {len(served)} {what}: {found[0].name}", severity=severity)
    unknown = [one for one in served if not one.chain]
    if unknown:
        return Seen(there=None, says=f"{len(unknown)} of {len(served)} could not be looked at: {unknown[0].error}")
    days = min((_days_left(one) for one in served if one.chain and one.asked_at), default=0.0)
    return Seen(there=False, says=f"the first of {len(served)} ends in {days:.0f} days")


def _days_left(one: Served) -> float:
    asked_at = one.asked_at or one.chain[0].not_after
    return min((link.not_after - asked_at).total_seconds() for link in one.chain) / 86400


def _alerts(reading: Reading[pd.DataFrame], runbooks: Mapping[str, str]) -> list[tuple[Any, ...]]:
    if not reading.available:
        return [("alerts that fire", UNKNOWN, "", "", str(reading.error))]
    calling = calling_alerts(reading.require()).sort_values(["alert", "instance"]).drop_duplicates("alert")
    rows = [
        (
            f"alert {row.alert}",
            YES,
            (Severity.of_word(str(row.severity)) or Severity.P2).value,
            runbooks.get(str(row.alert), ""),
            str(row.summary),
        )
        for row in calling.itertuples()
    ]
    return rows or [("alerts that fire", NO, "", "", "none")]


def calling_alerts(alerts: pd.DataFrame) -> pd.DataFrame:
    """Those of *alerts* that fire for people: one of severity info or none, such as Watchdog, which always fires, is no symptom."""
    quiet = alerts["severity"].map(lambda word: Severity.of_word(str(word)) is Severity.P3).astype(bool)
    return alerts[alerts["state"].eq("firing") & ~quiet]
