"""What users would notice, read off one survey: each symptom says which runbook explains it. Pure: readings in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from flowrex_ops.checks.certificates import Served, each_endpoint
from flowrex_ops.model import Reading, Severity

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
READY = 200
MOST = 0.5
"""From this share of failing requests or trades on it is P1 by the playbook's table, below it P2."""


class Survey(Protocol):
    """The readings that symptoms are read off; ``flowrex_ops.incident.survey`` takes them."""

    front_door: Reading[pd.DataFrame]
    services: Reading[pd.DataFrame]
    health: Reading[pd.DataFrame]
    pools: Reading[pd.DataFrame]
    log: Reading[Any]
    limits: Reading[Any]
    trades: Reading[pd.DataFrame]
    redis: Reading[str]
    usage: Reading[pd.DataFrame]
    certificates: Reading[pd.DataFrame]
    alerts: Reading[pd.DataFrame]
    issues: Reading[pd.DataFrame]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look found: whether it is there (None where that cannot be told), how bad, in which words."""

    there: bool | None
    says: str
    severity: Severity = Severity.P2


def find_symptoms(
    survey: Survey, *, alerts: Mapping[str, str], error_share: float = 0.05, warn_days: float = 21.0
) -> pd.DataFrame:
    """Every symptom, seen or not or unknown, the seen ones first; columns ``SYMPTOM_COLUMNS``.

    *alerts* maps an alert's name to the runbook that answers it; an alert that no runbook answers points at none.
    """
    rows = [
        _row("users get no good answer", "error_rate", _front_door, survey.front_door),
        _row("5xx among the backend's answers", "error_rate", lambda log: _errors(log, error_share), survey.log),
        _row(SENTRY, "error_rate", _issues, survey.issues),
        _row("backend replicas are not ready", "database_connections", _unready, survey.health),
        _row("connection pools are full", "database_connections", _pools, survey.pools),
        _row("the log speaks of the connection pool", "database_connections", _pool_errors, survey.log),
        _row("requests take longer than 5 s", "database_connections", _slow, survey.log),
        _row("PostgreSQL's connection slots run out", "database_connections", _slots, survey.limits),
        _row("trades fail", "trade_failures", _trades, survey.trades),
        _row("memory near its limit", "memory_usage", _memory, survey.usage),
        _row("the out-of-memory killer struck", "memory_usage", _oom, survey.services),
        _row("Redis answers", "memory_usage", None, survey.redis),
        _row(
            "a certificate ends soon, or is refused",
            "certificate_expiry",
            lambda c: _certificates(c, warn_days),
            survey.certificates,
        ),
        *_alerts(survey.alerts, alerts),
    ]
    frame = pd.DataFrame(rows, columns=SYMPTOM_COLUMNS)
    order = frame["seen"].map({YES: 0, UNKNOWN: 1, NO: 2})
    return frame.assign(order=order).sort_values(["order", "severity"], kind="stable", ignore_index=True)[
        SYMPTOM_COLUMNS
    ]


def rank_runbooks(symptoms: pd.DataFrame) -> pd.DataFrame:
    """The runbooks that explain what was seen: the most severe first, then the nearest to the root of the trouble."""
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
    return frame.sort_values(["severity", "depth", "runbook"], ignore_index=True)[RUNBOOK_COLUMNS]


def _depth(runbook: str) -> int:
    return ROOT_FIRST.index(runbook) if runbook in ROOT_FIRST else len(ROOT_FIRST)


def _row(symptom: str, runbook: str, look: Callable[[Any], _Seen] | None, reading: Reading[Any]) -> tuple[Any, ...]:
    """*look* is left out where no answer is the symptom itself."""
    if not reading.available:
        return (symptom, UNKNOWN, "", runbook, str(reading.error))
    seen = look(reading.require()) if look else _Seen(there=False, says=f"version {reading.require()}")
    if seen.there is None:
        return (symptom, UNKNOWN, "", runbook, seen.says)
    return (symptom, YES if seen.there else NO, seen.severity.value if seen.there else "", runbook, seen.says)


def _front_door(answer: pd.DataFrame) -> _Seen:
    row = answer.iloc[0]
    says = str(row["error"]) or (
        "no answer" if pd.isna(row["status"]) else f"HTTP {row['status']:.0f} in {row['seconds']:.2f} s"
    )
    return _Seen(row["status"] != READY, says, Severity.P0)


def _errors(log: Any, error_share: float) -> _Seen:
    share = log.server_errors / log.requests if log.requests else 0.0
    says = f"{log.server_errors} of {log.requests} requests ({share:.0%})"
    return _Seen(share > error_share, says, Severity.P1 if share >= MOST else Severity.P2)


def _issues(issues: pd.DataFrame) -> _Seen:
    new = issues[issues["new"].astype(bool)]
    first = f": {new['title'].iloc[0]}" if len(new) else ""
    return _Seen(len(new) > 0, f"{len(new)} new{first}")


def _unready(health: pd.DataFrame) -> _Seen:
    unready = health[health["status"].ne(READY)]
    severity = Severity.P0 if len(unready) == len(health) else Severity.P1
    return _Seen(len(unready) > 0, f"{len(unready)} of {len(health)} replicas are not ready", severity)


def _pools(pools: pd.DataFrame) -> _Seen:
    answered = pools[pools["error"].isna()]
    told = answered[answered["maximum"].notna()]
    full = told[told["in_use"].ge(told["maximum"])]
    sizeless = answered["replica"].nunique() - told["replica"].nunique()
    if full.empty and sizeless:
        return _Seen(there=None, says=f"{sizeless} replicas do not tell their pool's size; set backend.pool_size")
    return _Seen(
        len(full) > 0, f"{full['replica'].nunique()} of {told['replica'].nunique()} pools are full", Severity.P1
    )


def _pool_errors(log: Any) -> _Seen:
    return _Seen(log.pool_errors > 0, f"{log.pool_errors} lines", Severity.P1)


def _slow(log: Any) -> _Seen:
    return _Seen(log.slow_requests > 0, f"{log.slow_requests} of {log.requests} requests")


def _slots(limits: Any) -> _Seen:
    says = f"{limits.used} of {limits.for_applications} slots are taken"
    return _Seen(limits.used >= 0.9 * limits.for_applications, says, Severity.P1)


def _trades(trades: pd.DataFrame) -> _Seen:
    recent = int(trades["all_recent"].max()) if len(trades) else 0
    failed = int(trades.loc[trades["status"].eq("failed"), "recent"].sum())
    share = failed / recent if recent else 0.0
    severity = Severity.P0 if failed and failed == recent else Severity.P1
    return _Seen(share >= 0.02, f"{failed} of {recent} trades ({share:.0%})", severity)  # noqa: PLR2004  # trade_failures' own default


def _memory(usage: pd.DataFrame) -> _Seen:
    limited = usage[usage["memory_share"].notna()]
    high = limited[limited["memory_share"].ge(0.85)].sort_values("memory_share", ascending=False)
    if limited.empty:
        return _Seen(there=False, says="no replica has a memory limit of its own")
    fullest = limited.sort_values(["memory_share", "name"], ascending=[False, True]).iloc[0]
    return _Seen(len(high) > 0, f"{fullest['name']} uses {fullest['memory_share']:.0%} of its limit")


def _oom(services: pd.DataFrame) -> _Seen:
    killed = services[services["oom_killed"].astype(bool)].sort_values("name")
    says = f"killed: {', '.join(killed['name'])}" if len(killed) else "no replica was killed"
    return _Seen(len(killed) > 0, says, Severity.P1)


def _certificates(certificates: pd.DataFrame, warn_days: float) -> _Seen:
    """Whatever ``certificate_expiry`` would look into; it says what it is."""
    served = each_endpoint(certificates)
    unreachable = [one for one in served if one.error]
    refused = [one for one in served if one.verify_code]
    ending = [one for one in served if one.chain and one.asked_at and _days_left(one) < warn_days]
    for what, found, severity in (
        ("give no certificate", unreachable, Severity.P1),
        ("are refused by clients", refused, Severity.P1),
        (f"end in less than {warn_days:g} days", ending, Severity.P2),
    ):
        if found:
            return _Seen(there=True, says=f"{len(found)} of {len(served)} {what}: {found[0].name}", severity=severity)
    days = min((_days_left(one) for one in served if one.chain and one.asked_at), default=0.0)
    return _Seen(there=False, says=f"the first of {len(served)} ends in {days:.0f} days")


def _days_left(one: Served) -> float:
    asked_at = one.asked_at or one.chain[0].not_after
    return min((link.not_after - asked_at).total_seconds() for link in one.chain) / 86400


def _alerts(reading: Reading[pd.DataFrame], runbooks: Mapping[str, str]) -> list[tuple[Any, ...]]:
    if not reading.available:
        return [("alerts that fire", UNKNOWN, "", "", str(reading.error))]
    firing = reading.require()
    firing = firing[firing["state"].eq("firing")].sort_values(["alert", "instance"]).drop_duplicates("alert")
    known = {severity.value for severity in Severity}
    rows = [
        (
            f"alert {row.alert}",
            YES,
            row.severity if row.severity in known else Severity.P2.value,
            runbooks.get(str(row.alert), ""),
            str(row.summary),
        )
        for row in firing.itertuples()
    ]
    return rows or [("alerts that fire", NO, "", "", "none")]
