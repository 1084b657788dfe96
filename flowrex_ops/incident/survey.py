"""All sources asked at once: what triage looks at, as of one moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.checks.symptoms import Survey
from flowrex_ops.investigation import Investigation
from flowrex_ops.model import Reading
from flowrex_ops.sources.postgres import ConnectionLimits


def take_survey(investigation: Investigation, *, recent_minutes: float) -> Survey:
    """Ask everything side by side: it takes as long as the slowest source, or its time limit.

    PostgreSQL has one connection, so its two questions follow one another within one limit each.
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
        "targets": i.prometheus.get_targets,
        "issues": lambda: i.sentry.get_issues(since=i.since),
        "pages": i.status_pages.get_pages,
    }
    with ThreadPoolExecutor(len(questions) + 1) as pool:
        asked = {name: pool.submit(question) for name, question in questions.items()}
        database = pool.submit(_ask_database, i, recent_minutes)
        answers = {name: answer.result() for name, answer in asked.items()}
        limits, trades = database.result()
    return Survey(limits=limits, trades=trades, **answers)


def _ask_database(
    investigation: Investigation, recent_minutes: float
) -> tuple[Reading[ConnectionLimits], Reading[pd.DataFrame]]:
    limits = investigation.database.get_connection_limits()
    since = timedelta(minutes=recent_minutes)
    return limits, investigation.database.get_trades(since=since, recent_minutes=recent_minutes)
