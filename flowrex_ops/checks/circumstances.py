"""The circumstances of failed requests: the newest release, a flood, when an error began and whether it is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.model import Reading
from flowrex_ops.sources.access_log import SERVER_ERROR, AccessLog
from flowrex_ops.sources.error_log import ErrorLog

UNLOGGED = "no error logged"
SLACK = timedelta(seconds=2)
"""Clocks and buckets are not finer than this."""
_TYPICAL_TIMES = 5
"""A client that floods sends at least so many times what the client in the middle sends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something counts; the runbook's parameters."""

    recent_minutes: float = 5.0
    baseline_minutes: float = 15.0
    deploy_lag_minutes: float = 5.0
    failed_ratio: float = 0.01
    route_ratio: float = 0.2
    least: int = 3
    flood_clients: int = 3
    flood_share: float = 0.5
    service: str = "backend"

    @property
    def baseline(self) -> timedelta:
        """How far back what is new is compared with."""
        return timedelta(minutes=self.baseline_minutes)


@dataclass(frozen=True, slots=True)
class Deploy:
    """A release that replaced another; ``previous`` is empty where no log tells what served before.

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


def find_deploy(access: Reading[AccessLog], services: Reading[pd.DataFrame], limits: Limits) -> Deploy | None:
    """The newest release that replaced another within the time looked at; a restart of the same release is none."""
    if not services.available:
        return None
    rows = services.require()
    rows = rows[rows["service"].eq(limits.service) & rows["started_at"].notna()]
    if rows.empty:
        return None
    starts = rows.groupby("version")["started_at"].min()
    at = max(starts)
    version = max(str(name) for name in starts[starts.eq(at)].index)
    before = {str(name) for name in rows["version"]} - {version, ""}
    seen, served_at = False, at
    if access.available:
        requests = access.require().requests
        earlier = requests[requests["at"].lt(at) & requests["at"].ge(at - limits.baseline)]
        told = {str(name) for name in earlier["version"]} - {""}
        seen = not earlier.empty and not told
        before |= told - {version}
        answers = requests.loc[requests["version"].eq(version) & requests["at"].ge(at - SLACK), "at"]
        served_at = max(at, min(answers, default=at))
    if before or seen:
        return Deploy(version, _moment(at), ", ".join(sorted(before)), _moment(served_at))
    return None


def find_start(services: Reading[pd.DataFrame], limits: Limits) -> bool:
    """Whether a replica of the backend has started since the baseline began."""
    if not services.available:
        return False
    rows = services.require()
    rows = rows[rows["service"].eq(limits.service) & rows["started_at"].notna()]
    since = services.taken_at - limits.baseline
    return bool((rows["started_at"] >= since).any()) if len(rows) else False


def find_flood(access: Reading[AccessLog], limits: Limits) -> Flood | None:
    """A few clients, out of several, that sent most of the recent requests and far more than clients typically do."""
    if not access.available:
        return None
    clients = access.require().clients.sort_values(["requests", "client"], ascending=[False, True])
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


def onset(
    errors: Reading[ErrorLog], access: Reading[AccessLog] | None, group: pd.DataFrame, quiet: timedelta
) -> datetime | None:
    """When this kind of failure began: its first time after *quiet* without it."""
    if errors.available:
        rows = errors.require().requests
        rows = rows[rows["signature"].replace("", UNLOGGED).isin(group["signature"])]
    elif access is not None and access.available:
        rows = access.require().requests
        rows = rows[rows["route"].isin(group["route"])]
    else:
        return None
    times = sorted(rows.loc[rows["status"].ge(SERVER_ERROR), "at"])
    began = None
    for later, earlier in zip(reversed(times), [*reversed(times[:-1]), None], strict=True):
        began = later
        if earlier is None or later - earlier >= quiet:
            break
    return _moment(began) if began is not None else None


def is_new(errors: Reading[ErrorLog], group: pd.DataFrame, limits: Limits) -> bool:
    """Whether this error was not there before it began, and the log reaches back far enough to say so."""
    if not errors.available or group["signature"].eq(UNLOGGED).all():
        return False
    log = errors.require()
    began = onset(errors, None, group, limits.baseline)
    begins = [log.begins_at[name] for name in set(group["replica"]) if name in log.begins_at]
    return began is not None and bool(begins) and min(begins) <= began - limits.baseline


def versions_of(services: Reading[pd.DataFrame], service: str) -> dict[str, str]:
    """Replica to the release that it runs."""
    if not services.available:
        return {}
    rows = services.require()
    rows = rows[rows["service"].eq(service)]
    return {str(row.name_): str(row.version or "") for row in rows.rename(columns={"name": "name_"}).itertuples()}


def _moment(at: datetime) -> datetime:
    return at.to_pydatetime() if isinstance(at, pd.Timestamp) else at
