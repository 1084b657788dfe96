"""The playbook's quick diagnostics and checklist, answered from one survey. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.incident.survey import Survey
from flowrex_ops.model import Reading

CHECKLIST_COLUMNS = ["item", "answer", "state"]
WELL, LOOK, UNKNOWN = "well", "look", "unknown"


def answer_checklist(survey: Survey) -> pd.DataFrame:
    """One row an item of the playbook, columns ``CHECKLIST_COLUMNS``; ``state`` is ``well``, ``look`` or ``unknown``."""
    s = survey
    rows = [
        _item("service status", s.services, _services),
        _item("health endpoints", s.health, _health),
        _item("answer to users", s.front_door, _front_door),
        _item("error lines", s.log, _errors),
        _item(
            "database connectivity", s.limits, lambda v: (f"PostgreSQL {v.server_version}, {v.used} connections", True)
        ),
        _item("Redis connectivity", s.redis, lambda version: (f"Redis {version}", True)),
        _item("CPU and memory", s.usage, _usage),
        _item("disk", s.disks, _disks),
        _item("certificates", s.certificates, _certificates),
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


def _services(services: pd.DataFrame) -> tuple[str, bool]:
    running = services["state"].eq("running") & services["health"].ne("unhealthy")
    others = services[~running].sort_values("name")
    bad = ", ".join(f"{row.name_}: {row.state}" for row in others.rename(columns={"name": "name_"}).itertuples())
    return f"{running.sum()} of {len(services)} replicas run{f'; {bad}' if bad else ''}", running.all()


def _health(health: pd.DataFrame) -> tuple[str, bool]:
    ready = health["status"].eq(200)
    return f"{ready.sum()} of {len(health)} backend replicas are ready", bool(ready.all())


def _front_door(answer: pd.DataFrame) -> tuple[str, bool]:
    row = answer.iloc[0]
    good = row["status"] == 200  # noqa: PLR2004  # HTTP's own word for well
    return (str(row["error"]) or f"HTTP {row['status']:.0f} in {row['seconds']:.2f} s"), bool(good)


def _errors(log: Any) -> tuple[str, bool]:
    return f"{log.server_errors} of {log.requests} requests were answered with 5xx", log.server_errors == 0


def _usage(usage: pd.DataFrame) -> tuple[str, bool]:
    busiest = usage.sort_values("cpu_percent").tail(1)
    text = (
        f"{busiest['name'].iloc[0]} is the busiest with {busiest['cpu_percent'].iloc[0]:.0f} % of a core"
        if len(busiest)
        else "nothing runs"
    )
    limited = usage[usage["memory_share"].notna()].sort_values("memory_share").tail(1)
    if limited.empty:
        return f"{text}; no memory limits", len(busiest) > 0
    share = float(limited["memory_share"].iloc[0])
    return f"{text}; {limited['name'].iloc[0]} uses most of its memory limit, {share:.0%}", share < 0.85  # noqa: PLR2004  # the playbook's


def _disks(disks: pd.DataFrame) -> tuple[str, bool]:
    if disks.empty:
        return "no filesystem could be looked at", False
    fullest = disks.sort_values("used_share").iloc[-1]
    return f"{fullest['mount']} of {fullest['where']} is the fullest, {fullest['used_share']:.0%}", fullest[
        "used_share"
    ] < 0.9  # noqa: PLR2004  # check_disk_full's


def _certificates(certificates: pd.DataFrame) -> tuple[str, bool]:
    served = certificates["error"].isna()
    ends = [chain[0].not_after for chain in certificates.loc[served, "chain"] if chain]
    text = f"{served.sum()} of {len(certificates)} endpoints serve one"
    accepted = certificates.loc[served, "verify_code"].fillna(0).eq(0)
    return text + (f"; the first ends {min(ends):%Y-%m-%d}" if ends else ""), bool(served.all() and accepted.all())


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
    firing = sorted(set(alerts.loc[alerts["state"].eq("firing"), "alert"]))
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
