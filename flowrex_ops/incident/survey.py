"""All sources asked at once: what triage looks at, as of one moment; and the part of it that users feel, for every runbook."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.catalog import runbooks_by_alert
from flowrex_ops.incident.severity import assess_severity
from flowrex_ops.incident.symptoms import DEFAULT_THRESHOLDS, Survey, find_symptoms, rank_runbooks
from flowrex_ops.investigation import Investigation
from flowrex_ops.model import Reading
from flowrex_ops.services.impact import Thresholds

FELT = frozenset({"front_door", "services", "health", "pools", "log", "alerts"})
"""What tells of users, and what calls people for them, besides PostgreSQL's connection slots and trades."""
_NOT_ASKED = "not asked"


def take_survey(investigation: Investigation, *, recent_minutes: float, only: Collection[str] = ()) -> Survey:
    """Ask everything, or *only* these besides PostgreSQL, side by side: it takes as long as the slowest source, or its time limit.

    PostgreSQL has one connection, so its questions follow one another within one limit each.
    """
    i, recent = investigation, timedelta(minutes=recent_minutes)
    questions: dict[str, Callable[[], Reading[Any]]] = {
        "front_door": i.front_door.get_answer,
        "services": i.services.get_replicas,
        "health": i.backend.get_readiness,
        "pools": i.backend.sample_pools,
        "log": lambda: i.logs.get_pool_errors(since=recent),
        "redis": i.redis.get_version,
        "usage": i.services.sample_usage,
        "disks": i.services.get_disks,
        "certificates": i.tls.get_certificates,
        "alerts": i.prometheus.get_alerts,
        "targets": lambda: i.prometheus.get_targets(since=recent),
        "monitoring": lambda: i.prometheus.get_monitoring(since=recent),
        "machines": i.prometheus.get_machines,
        "issues": lambda: i.sentry.get_issues(since=i.since),
        "pages": i.status_pages.get_pages,
        "clocks": i.clocks.get_clocks,
        "lookups": i.resolver.get_lookups,
        "proxy_log": lambda: i.proxy_logs.get_lookups(since=recent),
        "refusals": lambda: i.credentials.get_refusals(since=recent),
        "variants": i.configuration.get_variants,
        "outdated": i.configuration.get_outdated,
    }
    with ThreadPoolExecutor(len(questions)) as pool:
        asked = {name: pool.submit(ask) for name, ask in questions.items() if not only or name in only}
        limits = i.database.get_connection_limits()
        trades = i.database.get_trades(since=recent, recent_minutes=recent_minutes)
        names = (*questions, "database_clock", "pending")
        answers: dict[str, Reading[Any]] = {name: Reading("survey", name, error=_NOT_ASKED) for name in names}
        if not only:
            answers["database_clock"] = i.database.get_clock()
            answers["pending"] = i.database.get_pending_settings()
        answers |= {name: answer.result() for name, answer in asked.items()}
    return Survey(limits=limits, trades=trades, **answers)


def symptoms_of(survey: Survey, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> pd.DataFrame:
    """What users would notice (``symptoms.find_symptoms``); an alert is one of the runbook that answers it."""
    return find_symptoms(survey, alerts=runbooks_by_alert(), thresholds=thresholds)


def assess_impact(investigation: Investigation, *, recent_minutes: float = 5.0) -> None:
    """Show what users feel now, and let the outcome be as severe as triage calls the same moment.

    The cause that a runbook finds may be small while something else is down; whoever reads its record must know. Where it finds
    none, and users suffer, it says which runbook explains that.
    """
    survey = take_survey(investigation, recent_minutes=recent_minutes, only=FELT)
    symptoms = symptoms_of(survey)
    symptoms = symptoms[symptoms["says"].ne(_NOT_ASKED)]
    assessment = assess_severity(symptoms, list(investigation.verdicts.values()))
    investigation.assess(assessment.severity, str(assessment), assessment.reason)
    investigation.show_table("symptoms", symptoms)
    elsewhere = rank_runbooks(symptoms).query("runbook != @investigation.runbook")
    if len(elsewhere) and not investigation.findings:
        investigation.suggest(elsewhere)
