"""The playbook's quick diagnostics and checklist, answered from one survey. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd

from flowrex_ops.incident import symptoms
from flowrex_ops.incident.events import HEALTHY, UNHEALTHY, UNKNOWN
from flowrex_ops.incident.symptoms import DEFAULT_THRESHOLDS, Survey, calling_alerts
from flowrex_ops.model import Reading, Verdict, VerdictKind
from flowrex_ops.services.checks import check_disk_full, check_down, check_external_outage
from flowrex_ops.services.impact import Thresholds

CHECKLIST_COLUMNS = ["item", "answer", "state"]
Answer = tuple[str, bool | None]


def answer_checklist(
    survey: Survey, thresholds: Thresholds = DEFAULT_THRESHOLDS, *, may_be_absent: Collection[str] = ("certbot",)
) -> pd.DataFrame:
    """One row an item of the playbook, columns ``CHECKLIST_COLUMNS``; ``state`` is healthy, unhealthy or unknown.

    What is a symptom or a cause too is judged there, so that one page never says two things.
    """
    s, looked = survey, symptoms.look(survey, thresholds)

    def seen(name: str) -> Answer:
        there = looked[name].there
        return looked[name].says, None if there is None else not there

    answers = {
        "service status": _judged(check_down(s.services, may_be_absent=may_be_absent)),
        "health endpoints": seen(symptoms.REPLICAS),
        "answer to users": seen(symptoms.DOOR),
        "error lines": seen(symptoms.ERRORS),
        "database connectivity": seen(symptoms.DATABASE),
        "Redis connectivity": seen(symptoms.REDIS),
        "memory": seen(symptoms.MEMORY),
        "CPU": _reported(s.usage, _busiest),
        "disk": _judged(check_disk_full(s.disks, full_share=thresholds.full_share)),
        "certificates": seen(symptoms.CERTIFICATES),
        "recent deployments": _reported(s.services, _deploys),
        "dashboards: alerts": _reported(s.alerts, _alerts),
        "dashboards: targets": _reported(s.targets, _targets),
        "Sentry": seen(symptoms.SENTRY),
        "external services": _judged(check_external_outage(s.pages)),
    }
    states = {True: HEALTHY, False: UNHEALTHY, None: UNKNOWN}
    rows = [(item, answer, states[healthy]) for item, (answer, healthy) in answers.items()]
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
    """Filesystems for people: where, mount, used (share), used_MiB, total_MiB, inodes (share used), read_only; the fullest first."""
    fullest = disks.sort_values("used_share", ascending=False)
    mib = (fullest[["used_bytes", "total_bytes"]] / 2**20).round()
    used = fullest["used_share"].map("{:.0%}".format)
    inodes = ["unknown" if pd.isna(one) else f"{one:.0%}" for one in fullest["inodes_share"]]
    shown = fullest[["where", "mount"]].assign(used=used, used_MiB=mib["used_bytes"], total_MiB=mib["total_bytes"])
    return shown.assign(inodes=inodes, read_only=fullest["read_only"])


def readable_usage(usage: pd.DataFrame) -> pd.DataFrame:
    """Memory and CPU for people: name, memory_MiB, limit_MiB, of_limit, cpu_percent (of a core); the largest first."""
    largest = usage.sort_values("memory_bytes", ascending=False)
    memory, limit = (largest[name].astype(float) / 2**20 for name in ("memory_bytes", "memory_limit_bytes"))
    share = ["" if pd.isna(one) else f"{one:.0%}" for one in largest["memory_share"]]
    cpu = largest["cpu_percent"].astype(float).round()
    shown = largest[["name"]].assign(memory_MiB=memory.round(1), limit_MiB=limit.round(), of_limit=share)
    return shown.assign(cpu_percent=cpu)


def _judged(verdict: Verdict) -> Answer:
    return verdict.reason, {VerdictKind.CONFIRMED: False, VerdictKind.RULED_OUT: True}.get(verdict.kind)


def _reported(reading: Reading[Any], tell: Callable[[Any], Answer]) -> Answer:
    return tell(reading.require()) if reading.available else (str(reading.error), None)


def _busiest(usage: pd.DataFrame) -> Answer:
    if usage.empty:
        return "nothing runs", False
    busiest = usage.sort_values("cpu_percent").iloc[-1]
    return f"{busiest['name']} is the busiest with {busiest['cpu_percent']:.0f} % of a core", True


def _deploys(services: pd.DataFrame) -> Answer:
    backend = services[services["version"].ne("") & services["started_at"].notna()]
    versions = sorted(set(services.loc[services["service"].eq("backend"), "version"]))
    if backend.empty:
        return "no replica tells its version", None
    latest = backend.sort_values("started_at").iloc[-1]
    text = f"{latest['name']} at {latest['started_at']:%Y-%m-%d %H:%M} UTC"
    return f"backend runs {', '.join(versions)}; last started: {text}", len(versions) <= 1


def _alerts(alerts: pd.DataFrame) -> Answer:
    firing = sorted(set(calling_alerts(alerts)["alert"]))
    return f"firing: {', '.join(firing)}" if firing else "no alert fires", not firing


def _targets(targets: pd.DataFrame) -> Answer:
    up = targets["health"].eq("up")
    return f"{up.sum()} of {len(targets)} targets are up", not targets["health"].eq("down").any()
