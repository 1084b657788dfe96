"""What stands around failed requests: the newest release, a flood, when an error began and whether it is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.http.failures import UNLOGGED, complete, times_of
from flowrex_ops.logs.access_log import SERVER_ERROR, AccessLog
from flowrex_ops.logs.error_log import ErrorLog
from flowrex_ops.model import Reading

SLACK = timedelta(seconds=2)
"""Clocks and buckets are not finer than this."""
ROLLOUT = timedelta(minutes=1)
"""So long before its first new replica was started a release may have stopped the old ones."""
_EARLIER = "containers that are gone"
_QUIET_SHARE = 0.1
"""Of the recent minutes."""
_TYPICAL_TIMES = 5
"""A client that floods sends at least so many times what the client in the middle sends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something counts; the runbook's parameters. Of fewer than ``few`` requests nothing is ruled out."""

    recent_minutes: float = 5.0
    baseline_minutes: float = 15.0
    deploy_lag_minutes: float = 5.0
    failed_ratio: float = 0.01
    route_ratio: float = 0.2
    least: int = 3
    few: int = 10
    flood_clients: int = 3
    flood_share: float = 0.5
    refused_share: float = 0.2
    refused_factor: float = 3.0
    refused_requests: int = 50
    service: str = "backend"

    @property
    def baseline(self) -> timedelta:
        """How far back what is new is compared with."""
        return timedelta(minutes=self.baseline_minutes)


@dataclass(frozen=True, slots=True)
class Deploy:
    """A release that replaced another; ``previous`` is empty where nothing tells what served before.

    ``at`` is when its first replica was started, ``served_at`` when the first answer of it was logged.
    """

    version: str
    at: datetime
    previous: str
    served_at: datetime


@dataclass(frozen=True, slots=True)
class Flood:
    """A few clients that sent most of the recent requests."""

    clients: tuple[str, ...]
    requests: int
    share: float


def quiet_of(limits: Limits) -> timedelta:
    """So long nothing must have failed for it to be over."""
    return max(2 * SLACK, timedelta(minutes=_QUIET_SHARE * limits.recent_minutes))


def find_deploy(access: Reading[AccessLog], services: Reading[pd.DataFrame], limits: Limits) -> Deploy | None:
    """The newest release that replaced another within the time looked at; a restart of the same release is none.

    It is told by what runs beside it, by the versions in the proxy's log, else by its containers: were all of them made
    while requests were served already, then others served them before.
    """
    rows = _replicas(services, limits)
    if rows.empty:
        return None
    starts = rows.groupby("version")["started_at"].min()
    at = max(starts)
    version = max(str(name) for name in starts[starts.eq(at)].index)
    before = {str(name) for name in rows["version"]} - {version, ""}
    replaced, unknown, served_at = False, False, at
    if access.available:
        requests = complete(access.require().requests)
        earlier = requests[requests["at"].lt(at) & requests["at"].ge(at - limits.baseline)]
        reported = set(earlier["version"]) - {""}
        before |= reported - {version}
        if not earlier.empty and not reported:
            # A platform that was just started has not replaced anything: somebody must have served before.
            served = earlier[earlier["status"].lt(SERVER_ERROR)]
            replaced = int(served["requests"].sum()) >= limits.few and bool(
                rows["created_at"].gt(served["at"].min()).all()
            )
            unknown = bool(rows["created_at"].isna().any())
        answers = requests.loc[requests["version"].eq(version) & requests["at"].ge(at - SLACK), "at"]
        served_at = max(at, min(answers, default=at))
    if before or replaced or unknown:
        previous = ", ".join(sorted(before)) or (_EARLIER if replaced else "")
        return Deploy(version, _moment(at), previous, _moment(served_at))
    return None


def _replicas(services: Reading[pd.DataFrame], limits: Limits) -> pd.DataFrame:
    """Replicas of the backend whose start is known, with ``created_at`` where the stack tells it."""
    if not services.available:
        return pd.DataFrame(columns=["version", "started_at", "created_at"])
    rows = services.require()
    rows = rows[rows["service"].eq(limits.service)]
    times = {name: times_of(rows, name) for name in ("started_at", "created_at")}
    rows = rows.assign(version=rows["version"].fillna("").astype(str), **times)
    return rows[rows["started_at"].notna()]


def find_start(services: Reading[pd.DataFrame], limits: Limits) -> bool:
    """Whether a replica of the backend has started since the baseline began."""
    rows = _replicas(services, limits)
    return bool((rows["started_at"] >= services.taken_at - limits.baseline).any()) if len(rows) else False


def find_flood(access: Reading[AccessLog], limits: Limits) -> Flood | None:
    """A few clients, out of several, that sent most of the recent requests and far more than clients typically do."""
    if not access.available:
        return None
    clients = complete(access.require().clients).sort_values(["requests", "client"], ascending=[False, True])
    top = clients.head(limits.flood_clients)
    total = int(clients["requests"].sum())
    if not total or len(clients) < len(top) + 2:
        return None
    typical = float(clients["requests"].iloc[len(top) :].median())
    busy = top[top["requests"].ge(_TYPICAL_TIMES * typical)]
    share = int(busy["requests"].sum()) / total
    if share < limits.flood_share:
        return None
    return Flood(tuple(str(name) for name in busy["client"]), int(busy["requests"].sum()), share)


def started_at(
    errors: Reading[ErrorLog], access: Reading[AccessLog] | None, group: pd.DataFrame, quiet: timedelta
) -> datetime | None:
    """When this kind of failure began: its first time after *quiet* without it."""
    rows = complete(errors.require().requests) if errors.available else pd.DataFrame(columns=["at", "route", "status"])
    if errors.available:
        rows = rows[rows["signature"].replace("", UNLOGGED).isin(group["signature"])]
    if not rows["status"].ge(SERVER_ERROR).any() and access is not None and access.available:
        rows = complete(access.require().requests)  # what no replica has logged
        rows = rows[rows["route"].isin(group["route"])]
    # The group's own times too: a log may begin with a new container, and what failed before is in the proxy's.
    times = sorted({*rows.loc[rows["status"].ge(SERVER_ERROR), "at"].dropna(), *group["at"].dropna()})
    if not times:
        return None
    began = times[-1]
    for later, earlier in zip(reversed(times), [*reversed(times[:-1]), None], strict=True):
        began = later
        if earlier is None or later - earlier >= quiet:
            break
    return _moment(began)


def is_new(errors: Reading[ErrorLog], group: pd.DataFrame, limits: Limits) -> bool:
    """Whether this error was not there before it began, and the log reaches back far enough to say so."""
    if not errors.available or group["signature"].eq(UNLOGGED).all():
        return False
    log = errors.require()
    began = started_at(errors, None, group, limits.baseline)
    begins = [log.begins_at[name] for name in set(group["replica"]) if name in log.begins_at]
    return began is not None and bool(begins) and min(begins) <= began - limits.baseline


def versions_of(services: Reading[pd.DataFrame], service: str) -> dict[str, str]:
    """Replica to the release that it runs."""
    if not services.available:
        return {}
    rows = services.require()
    rows = rows[rows["service"].eq(service)]
    return {
        str(name): str(version or "") for name, version in zip(rows["name"], rows["version"].fillna(""), strict=True)
    }


def _moment(at: datetime) -> datetime:
    return at.to_pydatetime() if isinstance(at, pd.Timestamp) else at
