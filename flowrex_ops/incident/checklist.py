"""The playbook's quick diagnostics and checklist, answered from one survey. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.incident.symptoms import (
    DEFAULT_THRESHOLDS,
    Seen,
    Survey,
    calling_alerts,
    look_at_certificates,
    look_at_door,
    look_at_errors,
    look_at_memory,
    look_at_replicas,
)
from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.services.checks import check_disk_full
from flowrex_ops.services.impact import Thresholds

CHECKLIST_COLUMNS = ["item", "answer", "state"]
WELL, LOOK, UNKNOWN = "well", "look", "unknown"


def answer_checklist(survey: Survey, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> pd.DataFrame:
    """One row an item of the playbook, columns ``CHECKLIST_COLUMNS``; ``state`` is ``well``, ``look`` or ``unknown``.

    What is a symptom too is judged there, so that one page never says two things.
    """
    s, t = survey, thresholds
    rows = [
        _item("service status", s.services, _services),
        _looked("health endpoints", s.health, look_at_replicas(s)),
        _looked("answer to users", s.front_door, look_at_door(s)),
        _looked("error lines", s.log, look_at_errors(s, t)),
        _item(
            "database connectivity", s.limits, lambda v: (f"PostgreSQL {v.server_version}, {v.used} connections", True)
        ),
        _item("Redis connectivity", s.redis, lambda version: (f"Redis {version}", True)),
        _item("CPU and memory", s.usage, lambda usage: _usage(usage, look_at_memory(s, t))),
        _judged("disk", check_disk_full(s.disks, full_share=t.full_share)),
        _looked("certificates", s.certificates, look_at_certificates(s, t)),
        _item("recent deployments", s.services, _deploys),
        _item("dashboards: alerts", s.alerts, _alerts),
        _item("dashboards: targets", s.targets, _targets),
        _item("Sentry", s.issues, _issues),
        _item("external services", s.pages, _pages),
    ]
    return pd.DataFrame(rows, columns=CHECKLIST_COLUMNS)


def recent_starts(services: Reading[pd.DataFrame], *, since: timedelta) -> Reading[pd.DataFrame]:
    """Replicas that were started within *since*, the latest first: a deploy, a scaling, or a restart."""
    if not services.available:
        return services
    table = services.require()
    started = pd.to_datetime(table["started_at"], utc=True)
    recent = table[started >= pd.Timestamp(services.taken_at) - since].sort_values("started_at", ascending=False)
    shown = recent[["started_at", "service", "name", "version", "restarts"]]
    return replace(services, what="recent starts", value=shown)


def readable_disks(disks: pd.DataFrame) -> pd.DataFrame:
    """Filesystems for people: where, mount, used (share), used_mib, total_mib; the fullest first."""
    fullest = disks.sort_values("used_share", ascending=False)
    return pd.DataFrame(
        {
            "where": fullest["where"],
            "mount": fullest["mount"],
            "used": [f"{share:.0%}" for share in fullest["used_share"]],
            "used_MiB": (fullest["used_bytes"] / 2**20).round(),
            "total_MiB": (fullest["total_bytes"] / 2**20).round(),
        }
    )


def readable_usage(usage: pd.DataFrame) -> pd.DataFrame:
    """Memory and CPU for people: name, memory_MiB, limit_MiB, of_limit, cpu_percent (of a core); the largest first."""
    largest = usage.sort_values("memory_bytes", ascending=False)
    return pd.DataFrame(
        {
            "name": largest["name"],
            "memory_MiB": (largest["memory_bytes"] / 2**20).round(1),
            "limit_MiB": (largest["memory_limit_bytes"].astype(float) / 2**20).round(),
            "of_limit": ["" if pd.isna(share) else f"{share:.0%}" for share in largest["memory_share"]],
            "cpu_percent": largest["cpu_percent"].astype(float).round(),
        }
    )


def _item(item: str, reading: Reading[Any], tell: Callable[[Any], tuple[str, bool]]) -> tuple[str, str, str]:
    if not reading.available:
        return item, str(reading.error), UNKNOWN
    answer, well = tell(reading.require())
    return item, answer, WELL if well else LOOK


def _looked(item: str, reading: Reading[Any], seen: Seen | None) -> tuple[str, str, str]:
    if seen is None:
        return item, str(reading.error), UNKNOWN
    return item, seen.says, UNKNOWN if seen.there is None else LOOK if seen.there else WELL


def _judged(item: str, verdict: Verdict) -> tuple[str, str, str]:
    states = {VerdictKind.CONFIRMED: LOOK, VerdictKind.RULED_OUT: WELL, VerdictKind.INCONCLUSIVE: UNKNOWN}
    return item, verdict.reason, states[verdict.kind]


def _services(services: pd.DataFrame) -> tuple[str, bool]:
    running = services["state"].eq("running") & services["health"].ne("unhealthy")
    others = services[~running].sort_values("name")
    bad = ", ".join(f"{row.name_}: {row.state}" for row in others.rename(columns={"name": "name_"}).itertuples())
    return f"{running.sum()} of {len(services)} replicas run{f'; {bad}' if bad else ''}", running.all()


def _usage(usage: pd.DataFrame, seen: Seen | None) -> tuple[str, bool]:
    busiest = usage.sort_values("cpu_percent").tail(1)
    text = (
        f"{busiest['name'].iloc[0]} is the busiest with {busiest['cpu_percent'].iloc[0]:.0f} % of a core"
        if len(busiest)
        else "nothing runs"
    )
    return f"{text}; {seen.says}" if seen else text, len(busiest) > 0 and not (seen and seen.there)


def _deploys(services: pd.DataFrame) -> tuple[str, bool]:
    backend = services[services["version"].ne("") & services["started_at"].notna()]
    versions = sorted(set(services.loc[services["service"].eq("backend"), "version"]))
    if backend.empty:
        return "no replica tells its version", False
    latest = backend.sort_values("started_at").iloc[-1]
    return (
        f"backend runs {', '.join(versions)}; last started: {latest['name']} at {latest['started_at']:%Y-%m-%d %H:%M} UTC",
        len(versions) <= 1,
    )


def _alerts(alerts: pd.DataFrame) -> tuple[str, bool]:
    firing = sorted(set(calling_alerts(alerts)["alert"]))
    return f"{len(firing)} alerts fire{': ' + ', '.join(firing) if firing else ''}", not firing


def _targets(targets: pd.DataFrame) -> tuple[str, bool]:
    up = targets["health"].eq("up")
    return f"{up.sum()} of {len(targets)} targets are up", not targets["health"].eq("down").any()


def _issues(issues: pd.DataFrame) -> tuple[str, bool]:
    new = issues[issues["new"].astype(bool)]
    return (
        f"{len(new)} new issues{': ' + new['title'].iloc[0] if len(new) else ''}, {len(issues)} seen in all",
        new.empty,
    )


def _pages(pages: pd.DataFrame) -> tuple[str, bool]:
    told = [f"{row.page}: {row.says or 'no answer'}" for row in pages.sort_values("page").itertuples()]
    return "; ".join(told), bool(pages["indicator"].eq("none").all())
