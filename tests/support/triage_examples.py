"""Readings of triage as its sources give them, for examples and properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.discovery.services import DISK_COLUMNS, REPLICA_COLUMNS, USAGE_COLUMNS
from flowrex_ops.incident.symptoms import Survey
from flowrex_ops.metrics.backend import READINESS_COLUMNS
from flowrex_ops.metrics.machines import MACHINE_COLUMNS
from flowrex_ops.metrics.prometheus import (
    ALERT_COLUMNS,
    ALERTING,
    ALERTMANAGER,
    BY_ALERTMANAGER,
    BY_PROMETHEUS,
    MONITORING_COLUMNS,
    TARGET_COLUMNS,
)
from flowrex_ops.model import Reading
from flowrex_ops.proxy.source import ANSWER_COLUMNS
from flowrex_ops.services.third_party import ISSUE_COLUMNS, PAGE_COLUMNS

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=3)


def reading(source: str, what: str, frame: pd.DataFrame) -> Reading[pd.DataFrame]:
    return Reading(source, what, frame, taken_at=NOW)


def replica(name: str, state: str = "running", **other: Any) -> dict[str, Any]:
    found = {
        "service": name.rpartition("-")[0],
        "name": name,
        "state": state,
        "health": "healthy" if state == "running" else "none",
        "restarts": 0,
        "oom_killed": False,
        "exit_code": 137 if state == "exited" else None,
        "started_at": LONG_AGO,
        "version": "1.4.2",
        "addresses": (),
    }
    return found | other


WELL = (replica("backend-1"), replica("backend-2"), replica("postgres-1"), replica("redis-1"))


def services(*replicas: dict[str, Any]) -> Reading[pd.DataFrame]:
    return reading("stack", "services", pd.DataFrame(replicas or WELL, columns=REPLICA_COLUMNS))


def health(*statuses: int | None, refused: bool = False) -> Reading[pd.DataFrame]:
    rows = [
        (f"backend-{n}", "/health/ready", status, 0.01, None if status else "did not answer", refused)
        for n, status in enumerate(statuses, start=1)
    ]
    return reading("backend", "readiness", pd.DataFrame(rows, columns=READINESS_COLUMNS))


def front_door(status: int | None = 200, error: str = "") -> Reading[pd.DataFrame]:
    row = ("http://127.0.0.1/health/ready", status, 0.02, error, False)
    return reading("front door", "answer to users", pd.DataFrame([row], columns=ANSWER_COLUMNS))


def disks(*shares: float, inodes: float | None = 0.1, read_only: bool | None = False) -> Reading[pd.DataFrame]:
    """So full; the last one's *inodes* are used to that share, and it is *read_only*."""
    rows = [
        (
            f"postgres-{n}",
            "/data",
            share * 2**30,
            2**30,
            share,
            *((65536, inodes, read_only) if n == len(shares) else (0, 0.0, False)),
        )
        for n, share in enumerate(shares, start=1)
    ]
    return reading("stack", "disks", pd.DataFrame(rows, columns=DISK_COLUMNS))


def pages(*indicators: str) -> Reading[pd.DataFrame]:
    """``none``, ``minor``, ``major``, ``critical``; empty for a page that did not answer."""
    rows = [
        (
            f"page-{n}",
            word,
            "says",
            "" if word == "none" else "API: partial outage",
            0.1,
            "" if word else "no answer",
            "https://x",
        )
        for n, word in enumerate(indicators, start=1)
    ]
    return reading("status pages", "status pages", pd.DataFrame(rows, columns=PAGE_COLUMNS))


def alerts(*names: str, state: str = "firing", severity: str = "P1") -> Reading[pd.DataFrame]:
    rows = [(name, state, severity, "backend-1", NOW, f"{name} is bad") for name in names]
    return reading("prometheus", "alerts", pd.DataFrame(rows, columns=ALERT_COLUMNS))


def targets(*down: tuple[str, str, bool | None]) -> Reading[pd.DataFrame]:
    """Those of the backend's first replica and of Prometheus, which are up; besides what is asked, why it is *down*, whether it was up lately."""
    up = [("backend", "backend-1:8000", "up", "", "backend-1", True), ("prometheus", ":9090", "up", "", "", True)]
    rows = [(replica, f"{replica}:9100", "down", error, replica, lately) for replica, error, lately in down]
    return reading("prometheus", "targets", pd.DataFrame([*rows, *up], columns=TARGET_COLUMNS))


def monitoring(
    *rules: str, alertmanagers: int = 1, dropped: float | None = 0, failed: float | None = 0
) -> Reading[pd.DataFrame]:
    """Alerting rules with what is wrong with each, and ten notifications of each kind; None where nothing counts them."""
    rows = [(ALERTING, f"Rule{n}", "err" if error else "ok", error, None, None) for n, error in enumerate(rules, 1)]
    rows += [(ALERTMANAGER, f"http://alertmanager-{n}:9093", "known", "", None, None) for n in range(alertmanagers)]
    kinds = ((BY_PROMETHEUS, "all", dropped), (BY_ALERTMANAGER, "slack", failed))
    rows += [(part, where, "", "", 10.0, lost) for part, where, lost in kinds if lost is not None]
    return reading("prometheus", "monitoring", pd.DataFrame(rows, columns=MONITORING_COLUMNS))


def usage(**shares: float | None) -> Reading[pd.DataFrame]:
    rows = [
        ("backend", name, (share or 0.3) * 2**28, 2**28 if share else None, share, 5.0)
        for name, share in shares.items()
    ]
    return reading("stack", "resource usage", pd.DataFrame(rows, columns=USAGE_COLUMNS))


def issues(*new: bool) -> Reading[pd.DataFrame]:
    rows = [(f"BACKEND-{n}", "KeyError", "app", "error", 3, 2, NOW, NOW, one, "") for n, one in enumerate(new)]
    return reading("sentry", "issues", pd.DataFrame(rows, columns=ISSUE_COLUMNS))


CALM = {
    "seen": {"": 1.0},
    "conntrack_entries": {"": 16_182.0},
    "conntrack_limit": {"": 262_144.0},
    "synchronised": {"": 1.0},
    "maximum_error_seconds": {"": 0.02},
    "speed_bytes": {"eth0": 125e6},
    **{f"{way}_packets": {"eth0": 4000.0} for way in ("receive", "transmit")},
    **{f"{way}_bytes": {"eth0": 5e6} for way in ("receive", "transmit")},
    **{f"{way}_{what}": {"eth0": 0.0} for way in ("receive", "transmit") for what in ("errs", "drop")},
    **{f"{kind}_free": {"/": 80e9} for kind in ("room", "files")},
    **{f"{kind}_in_{hours}h": {"/": 0.0} for kind in ("room", "files") for hours in (1, 6)},
    **{f"{kind}_minutes": {"/": 60.0} for kind in ("room", "files")},
}
"""What node_exporter tells of a machine that has enough of everything."""


def machines(**changes: dict[str, float | None]) -> Reading[pd.DataFrame]:
    """A calm machine, db:9100, and one with *changes*, web:9100: a quantity by its parts; None is not told."""
    rows = [
        (machine, part, quantity, value)
        for machine, told in (("db:9100", CALM), ("web:9100", CALM | changes))
        for quantity, parts in told.items()
        for part, value in parts.items()
        if value is not None
    ]
    return reading("prometheus", "machines", pd.DataFrame(rows, columns=MACHINE_COLUMNS))


def survey(**given: Any) -> Survey:
    """What triage reads where nothing is wrong, and what it could ask beside is silent."""
    silent = (
        "certificates", "targets", "monitoring", "clocks", "database_clock", "machines", "lookups", "proxy_log",
        "refusals", "variants", "outdated", "pending",
    )  # fmt: skip
    unread = {part: Reading(part, part, error="not asked") for part in silent}
    fine = {"front_door": front_door(), "services": services(), "health": health(200, 200), "disks": disks(0.4)}
    told = {"alerts": alerts(), "issues": issues(), "pages": pages("none"), "redis": Reading("redis", "version", "7.2")}
    return Survey(**unread | fine | told | given)
