"""Whether the monitoring sees the platform, and anybody hears of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, whole
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.health import GONE, judge_replicas
from flowrex_ops.metrics.prometheus import (
    ALERTING,
    ALERTMANAGER,
    BY_ALERTMANAGER,
    BY_PROMETHEUS,
    MONITORING_COLUMNS,
    RECORDING,
    TARGET_COLUMNS,
)
from flowrex_ops.model import Evidence, Reading, Verdict

Frame = Reading[pd.DataFrame]

_OWN_TROUBLE = (*GONE, "restarting", "paused")
_SETTLED = timedelta(minutes=2)
"""What has just started has not been scraped yet."""
_LATE = ("deadline exceeded", "timeout", "timed out")
"""Prometheus had no answer in time: a slow service looks like that, too."""
_PARTS = (ALERTING, RECORDING, ALERTMANAGER, BY_PROMETHEUS, BY_ALERTMANAGER)


@check("monitoring.blind")
def check_monitoring_blind(
    targets: Frame, monitoring: Frame, services: Frame, health: Frame, *, failed_share: float = 0.5
) -> Verdict:
    """Prometheus sees what runs, evaluates its rules, and its alerts are taken and delivered: less than *failed_share* of them fail.

    A target that is down since its service is down or unhealthy is none: that is ``service.down`` or ``service.unhealthy``. Without rules
    and Alertmanager nobody is to be alerted, which is a choice.
    """
    cause = "monitoring.blind"
    if missing(targets, monitoring):
        return inconclusive(cause, targets, monitoring)
    unseen, open_questions = _unseen(targets, services, health)
    table = whole(monitoring.require(), MONITORING_COLUMNS)
    evidence = [*unseen, *_mute(table, failed_share)]
    if evidence:
        title = f"The monitoring is blind: {evidence[0].name}"
        return confirmed(cause, f"{evidence[0].name}: {evidence[0].value}", evidence[:8], title=title)
    if open_questions := open_questions or _unknown(table):
        return inconclusive(cause, open_questions[0])
    up, rules = targets.require()["health"].eq("up"), table["part"].isin((ALERTING, RECORDING))
    reported = f"{up.sum()} of {len(up)} targets are up, {rules.sum()} of {rules.sum()} rules are evaluated"
    own = "" if up.all() else "; what is down is down or unhealthy itself, which is judged by itself"
    return ruled_out(
        cause, reported + (", notifications arrive" if rules.any() else ", and nobody is to be alerted") + own
    )


def _unseen(targets: Frame, services: Frame, health: Frame) -> tuple[list[Evidence], list[str]]:
    """Targets that are down though what they ask runs, and what cannot be told of others."""
    table = whole(targets.require(), TARGET_COLUMNS)
    seen, open_questions = [], [] if len(table) else ["Prometheus has no target"]
    for row in table.to_dict("records"):
        name = f"target {row['job'] or '?'} at {row['instance'] or '?'}"
        if row["health"] == "up" or (row["health"] == "down" and row["up_lately"] is True):
            continue
        if row["health"] != "down":
            open_questions.append(f"{name} was not scraped yet")
            continue
        runs, says = _runs(str(row["replica"] or ""), services, health)
        late = any(word in str(row["error"]).lower() for word in _LATE)
        if runs and not late and row["up_lately"] is False:
            seen.append(Evidence(f"Prometheus does not see {row['replica']}", str(row["error"]), name))
        elif runs is not False:
            open_questions.append(f"{name} is down ({row['error']}), and {says or 'it may only be slow'}")
    return seen, open_questions


def _runs(asked: str, services: Frame, health: Frame) -> tuple[bool | None, str]:
    """Whether what a target asks is there and well: a replica, or a service by its name."""
    if missing(services, health):
        return None, "what it watches cannot be asked"
    table = whole(services.require(), REPLICA_COLUMNS)
    watched = table[table["name"].eq(asked) | table["service"].eq(asked)]
    judged = judge_replicas(services, health)
    ready = judged.loc[judged["replica"].isin(watched["name"]), "ready"]
    young = pd.to_datetime(watched["started_at"], utc=True) > pd.Timestamp(services.taken_at) - _SETTLED
    ill = watched["state"].isin(_OWN_TROUBLE) | watched["health"].isin(("unhealthy", "starting")) | young
    if ill.any() or ready.map(lambda one: one is False).any():
        return False, ""
    if watched.empty or not watched["state"].eq("running").all() or ready.isna().any():
        return None, "nothing tells whether what it watches runs"
    return True, ""


def _mute(table: pd.DataFrame, failed_share: float) -> list[Evidence]:
    """Rules that fail, alerts that nobody takes, notifications that do not arrive."""
    failing = table[table["part"].isin((ALERTING, RECORDING)) & table["health"].eq("err")]
    found = [Evidence(f"{row.part} {row.name} fails", str(row.error), "rules") for row in _rows(failing)]
    alerting = int(table["part"].eq(ALERTING).sum())
    if alerting and not table["part"].eq(ALERTMANAGER).any():
        found.append(Evidence("Prometheus knows no Alertmanager", f"{alerting} alerting rules reach nobody", "rules"))
    counts = table[["sent", "failed"]].apply(pd.to_numeric, errors="coerce").fillna(0)
    lost = table[counts["failed"].gt(0) & counts["failed"].ge(failed_share * counts["sent"])]
    for row in _rows(lost):
        where = "" if row.name == "all" else f" ({row.name})"
        found.append(Evidence(f"{row.part}{where} fail", f"{row.failed:g} of {max(row.sent, row.failed):g}", "metrics"))
    return found


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples(index=False))


def _unknown(table: pd.DataFrame) -> list[str]:
    """What cannot be told of rules and notifications."""
    rules = table[table["part"].isin((ALERTING, RECORDING))]
    open_questions = [] if table["part"].isin(_PARTS).all() else ["Prometheus does not tell what its rules are"]
    if waiting := int((~rules["health"].isin(("ok", "err"))).sum()):
        open_questions.append(f"{waiting} of {len(rules)} rules were not evaluated yet")
    counted = set(table.loc[table["sent"].notna() & table["failed"].notna(), "part"])
    for part, who in ((BY_PROMETHEUS, "Prometheus"), (BY_ALERTMANAGER, "Alertmanager")):
        if rules["part"].eq(ALERTING).any() and part not in counted:
            open_questions.append(f"whether {part} arrive is not known: {who} is not scraped; add a job for it")
    return open_questions
