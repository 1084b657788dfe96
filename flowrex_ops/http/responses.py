"""What users got, as people read it: views of the access log and of the backend's log."""

from __future__ import annotations

import pandas as pd

from flowrex_ops.logs.access_log import CLIENT_ERROR, GAVE_UP, SERVER_ERROR, AccessLog
from flowrex_ops.logs.error_log import ErrorLog

_CLASSES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx", 1: "1xx"}


def count_by_route(log: AccessLog) -> pd.DataFrame:
    """Recent requests by route: route, requests, failed (5xx), failed_share, refused (4xx), mean_ms."""
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    found = [
        (
            route,
            number := int(part["requests"].sum()),
            failed := _sum(part, part["status"].ge(SERVER_ERROR)),
            f"{failed / max(1, number):.1%}",
            _sum(part, part["status"].between(400, 499)),
            round(1000 * float(part["seconds"].sum()) / max(1, number)),
        )
        for route, part in rows.groupby("route")
    ]
    frame = pd.DataFrame(found, columns=["route", "requests", "failed", "failed_share", "refused", "mean_ms"])
    return frame.sort_values(["failed", "requests", "route"], ascending=[False, False, True], ignore_index=True)


def count_by_maker(log: AccessLog) -> pd.DataFrame:
    """Recent failed requests by who made the answer: made_by, status, replica (asked last), release, requests."""
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    rows = rows[rows["status"].ge(SERVER_ERROR)].rename(columns={"version": "release"})
    keys = ["made_by", "status", "replica", "release"]
    sums = rows.groupby(keys, as_index=False)["requests"].sum()
    return sums.sort_values(["requests", *keys], ascending=[False, True, True, True, True], ignore_index=True)


def list_exhausted(log: AccessLog) -> pd.DataFrame:
    """What the proxy ran out of: what, lines, first_at, last_at."""
    found = log.exhausted.groupby("what", as_index=False)
    return found.agg(lines=("requests", "sum"), first_at=("at", "min"), last_at=("at", "max"))


def count_refused(log: AccessLog) -> pd.DataFrame:
    """Recent requests that were refused (4xx), by status, route and release, the most first: who made the answer, to how many clients."""
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    rows = rows[rows["status"].between(CLIENT_ERROR, GAVE_UP - 1)].rename(columns={"version": "release"})
    keys = ["status", "route", "made_by", "release"]
    sums = rows.groupby(keys, as_index=False)["requests"].sum()
    clients = log.refused.groupby("status")["client"].nunique()
    sums = sums.sort_values(["requests", *keys], ascending=[False, True, True, True, True], ignore_index=True)
    return sums.assign(clients_of_status=sums["status"].map(clients))


def count_statuses(log: ErrorLog) -> pd.DataFrame:
    """Recent requests as the backend logged them, by replica and class of status: replica, 2xx, 4xx, 5xx and so on."""
    rows = log.requests[log.requests["at"].ge(log.recent_since.replace(microsecond=0))]
    rows = rows.assign(status=(rows["status"] // 100).map(_CLASSES))
    table = rows.pivot_table(index="replica", columns="status", values="requests", aggfunc="sum", fill_value=0)
    return table.astype(int).reset_index().rename_axis(columns=None)


def list_exceptions(log: ErrorLog) -> pd.DataFrame:
    """The clusters of errors, the recent ones first."""
    shown = log.exceptions.sort_values(["recent", "count", "signature"], ascending=[False, False, True])
    return shown[["recent", "count", "signature", "first_line", "last_frame", "first_at", "last_at", "replicas"]]


def list_clients(log: AccessLog) -> pd.DataFrame:
    """The busiest clients: client, requests, share, failed."""
    total = max(1, int(log.clients["requests"].sum()))
    return pd.DataFrame(
        {
            "client": log.clients["client"],
            "requests": log.clients["requests"],
            "share": [f"{number / total:.1%}" for number in log.clients["requests"]],
            "failed": log.clients["failed"],
        }
    ).head(10)


def list_slow(log: AccessLog) -> pd.DataFrame:
    """The slowest requests, slowest first."""
    return log.slow


def list_releases(services: pd.DataFrame) -> pd.DataFrame:
    """Replicas by when they started, the newest first: name, version, state, started_at."""
    shown = services[services["version"].astype(str).ne("")].sort_values(
        ["started_at", "name"], ascending=[False, True]
    )
    return shown[["name", "version", "state", "restarts", "started_at"]]


def _sum(part: pd.DataFrame, chosen: pd.Series) -> int:
    return int(part.loc[chosen, "requests"].sum())
