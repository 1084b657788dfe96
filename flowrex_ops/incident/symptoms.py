"""What users would notice, read off one survey: each symptom says which runbook explains it. Pure: readings in, rows out.

Of runbooks that explain symptoms of equal severity the one nearest to the root comes first (a full database makes
trades fail, and both make 5xx), not the one with the most symptoms: the far end of a chain of causes always has the
most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.causes import find_causes
from flowrex_ops.health import judge_door, judge_replicas
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.memory.checks import killed_replicas
from flowrex_ops.memory.redis_service_checks import BUSY
from flowrex_ops.model import Reading, Severity
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.reading import UNREACHABLE_CODES
from flowrex_ops.services import impact
from flowrex_ops.services.impact import Thresholds
from flowrex_ops.tls.source import NO_CERTIFICATE, TIMEOUT, UNREACHABLE
from flowrex_ops.tls.views import authority_unknown, each_endpoint, ends_soon

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
    "slow_responses",
)
"""Of runbooks that explain symptoms of equal severity: a database that is full makes trades fail, and both make 5xx; what is only slow comes last."""

YES, NO, UNKNOWN = "yes", "no", "unknown"
DOOR = "users get no good answer"
ERRORS = "5xx among the backend's answers"
SENTRY = "new issues in Sentry"
REPLICAS = "backend replicas are not ready"
DATABASE = "PostgreSQL cannot be reached"
MEMORY = "memory near its limit"
REDIS = "Redis does not answer"
CERTIFICATES = "a certificate ends soon, or is refused"
NO_REQUEST = "the log tells of no request"
DEFAULT_THRESHOLDS = Thresholds()
_LATELY = timedelta(minutes=2)


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
    monitoring: Frame
    issues: Frame
    pages: Frame
    clocks: Frame
    database_clock: Frame
    machines: Frame
    lookups: Frame
    proxy_log: Reading[LogSummary]
    refusals: Frame
    variants: Frame
    outdated: Frame
    pending: Frame

    @property
    def taken_at(self) -> datetime:
        """The moment that it shows."""
        return self.services.taken_at


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: whether it is there (None where that cannot be told), how bad, in which words."""

    there: bool | None
    says: str
    severity: Severity = Severity.P2


@dataclass(frozen=True, slots=True)
class Symptom:
    """What users would notice: the runbook that explains it, the part of a survey that tells of it, and how its value is judged."""

    name: str
    runbook: str
    part: str
    judge: Callable[[Any, Survey, Thresholds], Seen]


def look(survey: Survey, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> dict[str, Seen]:
    """Every symptom by its name, judged once: for the symptoms' table and for the checklist."""
    return {one.name: _look(one, survey, thresholds) for one in SYMPTOMS}


def find_symptoms(
    survey: Survey, *, alerts: Mapping[str, str], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> pd.DataFrame:
    """Every symptom, seen or not or unknown, the seen ones first; columns ``SYMPTOM_COLUMNS``.

    *alerts* maps an alert's name to the runbook that answers it; an alert that no runbook answers points at none.
    """
    judged = look(survey, thresholds)
    rows = [(one.name, *_cells(judged[one.name], one.runbook)) for one in SYMPTOMS] + _alerts(survey.alerts, alerts)
    rows.sort(key=lambda row: ((YES, UNKNOWN, NO).index(row[1]), row[2]))
    return pd.DataFrame(rows, columns=SYMPTOM_COLUMNS)


def rank_runbooks(symptoms: pd.DataFrame) -> pd.DataFrame:
    """The runbooks that explain what was seen: the most severe first, then the nearest to the root of the trouble.

    P0 and P1 are both answered at once, so that what a full database does to trading comes after the database.
    """
    seen = symptoms[symptoms["seen"].eq(YES) & ~symptoms["runbook"].isin(["", "triage"])]
    rows = [
        (str(runbook), part["severity"].min(), "; ".join(f"{row.symptom}: {row.says}" for row in part.itertuples()))
        for runbook, part in seen.groupby("runbook")
    ]
    depth = {runbook: place for place, runbook in enumerate(ROOT_FIRST)}
    rows.sort(key=lambda row: (max(row[1], Severity.P1.value), depth.get(row[0], len(depth)), row[0]))
    return pd.DataFrame(rows, columns=RUNBOOK_COLUMNS)


def calling_alerts(alerts: pd.DataFrame) -> pd.DataFrame:
    """Those of *alerts* that fire for people: one of severity info or none, such as Watchdog, which always fires, is no symptom."""
    quiet = alerts["severity"].map(lambda word: Severity.of_word(str(word)) is Severity.P3).astype(bool)
    return alerts[alerts["state"].eq("firing") & ~quiet]


def _look(symptom: Symptom, survey: Survey, thresholds: Thresholds) -> Seen:
    reading: Reading[Any] = getattr(survey, symptom.part)
    if reading.available:
        return symptom.judge(reading.value, survey, thresholds)
    # A refused password or a full server is an answer of PostgreSQL too; one that comes too late is unknown.
    if symptom.name == DATABASE and reading.code in UNREACHABLE_CODES - {"timeout"}:
        return Seen(there=True, says=str(reading.error), severity=find_causes()["db.unreachable"].severity)
    if symptom.name == REDIS and BUSY in str(reading.error):
        return Seen(there=True, says=str(reading.error), severity=Severity.P1)
    return _unknown(str(reading.error))


def _cells(seen: Seen, runbook: str) -> tuple[str, str, str, str]:
    state = UNKNOWN if seen.there is None else YES if seen.there else NO
    return state, seen.severity.value if seen.there else "", runbook, seen.says


def _absent(says: str) -> Seen:
    return Seen(there=False, says=says)


def _unknown(says: str) -> Seen:
    return Seen(there=None, says=says)


def _door(_value: object, survey: Survey, _thresholds: Thresholds) -> Seen:
    ready, says = judge_door(survey.front_door.require())
    severity = impact.of_door(survey.front_door, survey.health) if ready is False else Severity.P2
    return Seen(None if ready is None else not ready, says, severity)


def _replicas(_value: object, survey: Survey, _thresholds: Thresholds) -> Seen:
    judged = judge_replicas(survey.services, survey.health)
    unready = int(judged["ready"].map(lambda ready: ready is False).sum())
    unreported = judged[judged["ready"].isna()]
    if unready:
        says = f"{unready} of {len(judged)} replicas are not ready"
        return Seen(there=True, says=says, severity=impact.of_replicas(judged))
    if len(unreported) or judged.empty:
        return _unknown(str(unreported["says"].iloc[0]) if len(unreported) else "no running replica was asked")
    return _absent(f"{len(judged)} of {len(judged)} backend replicas are ready")


def _errors(log: LogSummary, _survey: Survey, thresholds: Thresholds) -> Seen:
    """How many of the requests in a log were answered with 5xx; of none that says nothing."""
    if not log.requests:
        return _unknown(NO_REQUEST)
    failed, requests, begin = log.server_errors, log.requests, log.failing_since(thresholds.error_share)
    if begin is not None:
        failed, requests = log.count_since(begin)
    share = failed / max(1, requests)
    since = f" since {begin:%H:%M} UTC" if begin is not None else ""
    says = f"{failed} of {requests} requests ({share:.0%}){since} were answered with 5xx"
    return Seen(share > thresholds.error_share, says, impact.of_failures(failed, requests))


def _refused(log: LogSummary, _survey: Survey, _thresholds: Thresholds) -> Seen:
    """Whether most requests are refused of late: to whom every login is denied no 5xx tells of it."""
    if not log.requests:
        return _unknown(NO_REQUEST)
    found = log.refused_since(impact.MOST)
    if found is None:
        return _absent(f"{sum(log.refusals.values())} of {log.requests} requests")
    refused, requests = found
    share = refused / max(1, requests)
    return Seen(
        there=True, says=f"{refused} of the last {requests} requests ({share:.0%})", severity=impact.of_refusals(share)
    )


def _issues(issues: pd.DataFrame, _survey: Survey, _thresholds: Thresholds) -> Seen:
    new = issues[issues["new"].astype(bool)]
    first = f": {new['title'].iloc[0]}" if len(new) else ""
    return Seen(len(new) > 0, f"{len(new)} new{first}")


def _pools(pools: pd.DataFrame, _survey: Survey, _thresholds: Thresholds) -> Seen:
    answered = pools[pools["error"].isna()]
    reported = answered[answered["maximum"].notna() & answered["in_use"].notna()]
    full = reported[reported["in_use"].ge(reported["maximum"])]
    sizeless = answered["replica"].nunique() - reported["replica"].nunique()
    if full.empty and (sizeless or reported.empty):
        says = f"{sizeless} replicas do not tell their pool's size; set backend.pool_size"
        return _unknown(says if sizeless else "no replica tells its pool")
    says = f"{full['replica'].nunique()} of {reported['replica'].nunique()} pools are full"
    return Seen(len(full) > 0, says, Severity.P1)


def _pool_errors(log: LogSummary, survey: Survey, _thresholds: Thresholds) -> Seen:
    """Lines about the pool, the last of them lately: what is longer ago has ended."""
    if not log.lines:
        return _unknown("the log has no line of that time")
    last = log.last_pool_error
    if last is not None and survey.log.taken_at - last > _LATELY:
        return _absent(f"{log.pool_errors} lines, the last at {last:%H:%M} UTC")
    return Seen(log.pool_errors > 0, f"{log.pool_errors} lines", Severity.P1)


def _slow(log: LogSummary, _survey: Survey, _thresholds: Thresholds) -> Seen:
    if not log.requests:
        return _unknown(NO_REQUEST)
    if not (timed := log.requests - log.untimed):
        return _unknown("the backend's log does not tell how long requests took")
    return Seen(log.slow_requests > 0, f"{log.slow_requests} of {timed} requests")


def _database(limits: ConnectionLimits, _survey: Survey, _thresholds: Thresholds) -> Seen:
    return _absent(f"PostgreSQL {limits.server_version}, {limits.used} connections")


def _slots(limits: ConnectionLimits, _survey: Survey, thresholds: Thresholds) -> Seen:
    says = f"{limits.used} of {limits.for_applications} slots are taken"
    return Seen(limits.used >= thresholds.slots_share * limits.for_applications, says, Severity.P1)


def _trades(trades: pd.DataFrame, _survey: Survey, thresholds: Thresholds) -> Seen:
    recent = int(trades["all_recent"].max()) if len(trades) else 0
    if not recent:
        return _unknown("there was no trade lately")
    failed = int(trades.loc[trades["status"].eq("failed"), "recent"].sum())
    share = failed / recent
    says = f"{failed} of {recent} trades ({share:.0%})"
    return Seen(share >= thresholds.trade_share, says, impact.of_trades(failed, recent))


def _memory(usage: pd.DataFrame, _survey: Survey, thresholds: Thresholds) -> Seen:
    """Whether a replica nears its memory limit; one without a limit cannot."""
    limited = usage[usage["memory_share"].notna()]
    if limited.empty:
        return Seen(there=False if len(usage) else None, says="no replica has a memory limit of its own")
    fullest = limited.sort_values(["memory_share", "name"], ascending=[False, True]).iloc[0]
    share = float(fullest["memory_share"])
    says = f"{fullest['name']} uses most of its memory limit, {share:.0%}"
    return Seen(share >= thresholds.memory_share, says, impact.of_memory(share))


def _oom(_value: object, survey: Survey, _thresholds: Thresholds) -> Seen:
    """As ``memory.oom-killed`` counts it: lately, or still gone."""
    killed, severity = killed_replicas(survey.services)
    says = f"killed: {', '.join(killed['name'])}" if len(killed) else "no replica was killed lately"
    return Seen(len(killed) > 0, says, severity)


def _certificates(certificates: pd.DataFrame, survey: Survey, thresholds: Thresholds) -> Seen:
    """Whatever ``certificate_expiry`` would look into; it says what it is."""
    served, days = each_endpoint(certificates), thresholds.warn_days
    if not served:
        return _unknown("no endpoint is known; set tls.endpoints")
    if all(one.code in (UNREACHABLE, TIMEOUT) for one in served) and _edge_is_silent(survey):
        return _unknown("nothing answers at the edge, so that no certificate can be seen")
    dated = [(one, one.asked_at) for one in served if one.asked_at]
    private = [one for one in served if authority_unknown(one)]
    ended = [one for one, at in dated if one.chain and not one.chain[0].not_before <= at < one.chain[0].not_after]
    for what, found, severity in (
        ("give no certificate", [one for one in served if one.error and one.code in NO_CERTIFICATE], Severity.P1),
        (
            "are refused by clients",
            [one for one in served if one.verify_code and (one in ended or one not in private)],
            Severity.P1,
        ),
        ("end soon", [one for one, at in dated if any(ends_soon(link, at, days) for link in one.chain)], Severity.P2),
    ):
        if found:
            return Seen(there=True, says=f"{len(found)} of {len(served)} {what}: {found[0].name}", severity=severity)
    unknown = [one for one in served if not one.chain]
    if unknown:
        return _unknown(f"{len(unknown)} of {len(served)} could not be looked at: {unknown[0].error}")
    if private:
        return _unknown(f"who signed that of {private[0].name} is not known here; set tls.ca_file")
    left = min(((link.not_after - at).days for one, at in dated for link in one.chain), default=0)
    return _absent(f"the first of {len(served)} ends in {left} days")


def _edge_is_silent(survey: Survey) -> bool:
    """Whether users get no answer at all: what is asked there besides explains nothing by its silence."""
    if not survey.front_door.available:
        return False
    answer = survey.front_door.require()
    return judge_door(answer)[0] is False and bool(answer["status"].isna().all())


def _alerts(reading: Frame, runbooks: Mapping[str, str]) -> list[tuple[Any, ...]]:
    if not reading.available:
        return [("alerts that fire", UNKNOWN, "", "", str(reading.error))]
    calling = calling_alerts(reading.require()).sort_values(["alert", "instance"]).drop_duplicates("alert")
    rows = []
    for row in calling.itertuples():
        severity = Severity.of_word(str(row.severity)) or Severity.P2
        rows.append((f"alert {row.alert}", YES, severity.value, runbooks.get(str(row.alert), ""), str(row.summary)))
    return rows or [("alerts that fire", NO, "", "", "none")]


SYMPTOMS = (
    Symptom(DOOR, "error_rate", "front_door", _door),
    Symptom(ERRORS, "error_rate", "log", _errors),
    Symptom("5xx among the proxy's answers", "error_rate", "proxy_log", _errors),
    Symptom("most requests are refused (4xx)", "error_rate", "proxy_log", _refused),
    Symptom(SENTRY, "error_rate", "issues", _issues),
    Symptom(REPLICAS, "database_connections", "health", _replicas),
    Symptom("connection pools are full", "database_connections", "pools", _pools),
    Symptom("the log speaks of the connection pool", "database_connections", "log", _pool_errors),
    Symptom("requests take longer than 5 s", "slow_responses", "log", _slow),
    Symptom(DATABASE, "database_connections", "limits", _database),
    Symptom("PostgreSQL's connection slots run out", "database_connections", "limits", _slots),
    Symptom("trades fail", "trade_failures", "trades", _trades),
    Symptom(MEMORY, "memory_usage", "usage", _memory),
    Symptom("the out-of-memory killer struck", "memory_usage", "services", _oom),
    Symptom(REDIS, "memory_usage", "redis", lambda v, _s, _t: _absent(f"Redis {v}")),
    Symptom(CERTIFICATES, "certificate_expiry", "certificates", _certificates),
)
