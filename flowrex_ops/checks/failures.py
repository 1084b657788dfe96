"""Failed requests (5xx) counted: which cause each recent one is charged to, and the facts that decide it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.model import Reading
from flowrex_ops.sources.access_log import AccessLog
from flowrex_ops.sources.error_log import ErrorLog

SERVER_ERROR, BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 500, 502, 503, 504
FAILURE_COLUMNS = ["at", "replica", "route", "status", "signature", "kind", "dependency", "made_by", "requests"]
UNLOGGED = "no error logged"
ALMOST_ALL = 0.9
_SLACK = timedelta(seconds=2)
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


@dataclass(frozen=True, slots=True)
class Charged:
    """Every recent failed request with its ``cause`` (empty: fits none): ``FAILURE_COLUMNS`` and ``cause``.

    ``total``: recent requests, whatever came of them, and ``by_route`` those of each route.
    """

    rows: pd.DataFrame
    total: int
    by_route: Mapping[str, int]
    deploy: Deploy | None
    flood: Flood | None

    def of(self, cause: str) -> pd.DataFrame:
        """What is charged to one cause."""
        return self.rows[self.rows["cause"].eq(cause)]

    def counts(self, rows: pd.DataFrame, limits: Limits) -> bool:
        """Whether *rows* are more than noise: enough of all requests, or of one route's."""
        number = int(rows["requests"].sum())
        if number < limits.least:
            return False
        shares = [
            int(part["requests"].sum()) / max(1, self.by_route.get(str(route), 0))
            for route, part in rows.groupby("route")
            if int(part["requests"].sum()) >= limits.least
        ]
        return number / max(1, self.total) >= limits.failed_ratio or max(shares, default=0.0) >= limits.route_ratio


def charge(
    access: Reading[AccessLog], errors: Reading[ErrorLog], services: Reading[pd.DataFrame], limits: Limits
) -> Charged:
    """Charge each recent failed request to one cause, by the first rule that fits.

    What the proxy made itself is judged request by request; what the backend made, by signature: one error is one trouble,
    whatever number of requests it costs.
    """
    requests = recent_requests(access, errors)
    by_route = {str(route): int(number) for route, number in requests.groupby("route")["requests"].sum().items()}
    deploy = find_deploy(access, services, limits)
    flood = find_flood(access, limits)
    rows = failures(access, errors)
    causes = pd.Series("", index=rows.index, dtype=object)
    made_by_proxy = rows["made_by"].eq("proxy")
    causes[made_by_proxy & rows["status"].isin([BAD_GATEWAY, GATEWAY_TIMEOUT])] = "http.upstream-unreachable"
    exhausted = rows["kind"].eq("exhausted")
    if not errors.available:  # then the status has to tell
        exhausted |= ~made_by_proxy & rows["status"].eq(UNAVAILABLE)
    if flood:
        causes[exhausted | (made_by_proxy & rows["status"].eq(UNAVAILABLE))] = "http.traffic-flood"
        given_up = made_by_proxy & rows["status"].eq(GATEWAY_TIMEOUT)
        if rows.loc[exhausted, "requests"].sum() >= rows.loc[given_up, "requests"].sum():
            causes[given_up] = "http.traffic-flood"
    left = rows[~made_by_proxy & causes.eq("")]
    judge = _Judge(access, errors, services, limits, requests, deploy)
    for _, part in left.groupby(["signature", "kind", "dependency"], sort=True):
        causes[part.index] = judge.cause_of(part)
    return Charged(rows.assign(cause=causes), int(requests["requests"].sum()), by_route, deploy, flood)


class _Judge:
    """What one group of failed requests with the same signature is charged to."""

    def __init__(
        self,
        access: Reading[AccessLog],
        errors: Reading[ErrorLog],
        services: Reading[pd.DataFrame],
        limits: Limits,
        requests: pd.DataFrame,
        deploy: Deploy | None,
    ) -> None:
        self._access, self._errors, self._limits = access, errors, limits
        self._requests, self._deploy = requests, deploy
        self._versions = versions_of(services, limits.service)

    def cause_of(self, group: pd.DataFrame) -> str:
        outside = group["kind"].isin(["dependency", "exhausted"]).all()
        if self._began_with_deploy(group, canary_only=outside):
            return "http.bad-deploy"
        if self._of_one_replica(group):
            return "http.single-replica"
        if outside:
            return "http.dependency-failing"
        if self._of_one_route(group):
            return "http.single-route"
        return "http.new-exception" if is_new(self._errors, group, self._limits) else ""

    def _began_with_deploy(self, group: pd.DataFrame, *, canary_only: bool) -> bool:
        """Only the new release fails so, since it came; where it alone serves, nothing failed on these routes before.

        Errors that name a dependency are a release's only if an older one beside it does not have them.
        """
        deploy = self._deploy
        if deploy is None or not deploy.previous:
            return False
        on_new = group["replica"].map(lambda name: self._versions.get(str(name)) == deploy.version)
        if _share(group[on_new], group) < ALMOST_ALL:
            return False
        older = {name for name, version in self._versions.items() if version != deploy.version}
        beside = self._requests[self._requests["replica"].isin(older)]
        if _total(beside[beside["route"].isin(group["route"])]) >= self._limits.least:
            return True
        began = onset(self._errors, self._access, group, self._limits.baseline)
        lag = timedelta(minutes=self._limits.deploy_lag_minutes)
        on_time = began is not None and deploy.at - _SLACK <= began <= deploy.served_at + lag
        return not canary_only and on_time and not self._failed_before(group, deploy)

    def _failed_before(self, group: pd.DataFrame, deploy: Deploy) -> bool:
        """Whether these routes failed in the same way, half as often or more, before the release."""
        if not self._access.available:
            return False
        rows = self._access.require().requests
        rows = rows[rows["route"].isin(group["route"]) & rows["made_by"].ne("proxy")]
        same = rows["status"].isin(group["status"])
        before = (rows["at"] < deploy.at - _SLACK) & (rows["at"] >= deploy.at - self._limits.baseline)
        after = rows["at"] >= deploy.at
        return _share(rows[before & same], rows[before]) >= max(1e-9, _share(rows[after & same], rows[after]) / 2)

    def _of_one_replica(self, group: pd.DataFrame) -> bool:
        """One replica fails so, and others serve the same routes without."""
        name, number = most(group, "replica")
        if not name or number < ALMOST_ALL * _total(group):
            return False
        same = self._requests[self._requests["route"].isin(group["route"])]
        others = _total(same[same["replica"].ne(name) & same["replica"].ne("")])
        mine = _total(same[same["replica"].eq(name)])
        return others >= max(self._limits.least, number) and number / max(1, mine) >= self._limits.route_ratio

    def _of_one_route(self, group: pd.DataFrame) -> bool:
        """One route fails so, and other routes are served."""
        name, number = most(group, "route")
        others = _total(self._requests[self._requests["route"].ne(name)])
        return bool(name) and number >= ALMOST_ALL * _total(group) and others >= self._limits.least


def recent_requests(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent requests as users sent them: the proxy's log, else the backend's; at least replica, route, status, requests."""
    for log in _logs(access, errors):
        return _recent(log.requests, access, errors)
    return pd.DataFrame(columns=FAILURE_COLUMNS)


def failures(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent failed requests, each once: the proxy's own by its log, the backend's by the backend's, else by the proxy's."""
    found = []
    if access.available:
        rows = _recent(access.require().requests, access, errors)
        rows = _told_apart(rows[rows["status"].ge(SERVER_ERROR)], access, errors)
        found.append(rows if not errors.available else rows[rows["made_by"].eq("proxy")])
    if errors.available:
        rows = _recent(errors.require().requests, access, errors)
        found.append(rows[rows["status"].ge(SERVER_ERROR)].assign(made_by="backend"))
    columns = {"signature": "", "kind": "", "dependency": ""}
    complete = [part.assign(**{k: v for k, v in columns.items() if k not in part}) for part in found if len(part)]
    if not complete:
        return pd.DataFrame(columns=FAILURE_COLUMNS)
    every = pd.concat([part[FAILURE_COLUMNS] for part in complete], ignore_index=True)
    every["signature"] = every["signature"].replace("", UNLOGGED)
    return every.sort_values(FAILURE_COLUMNS, ignore_index=True)


def _logs(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> list[AccessLog | ErrorLog]:
    return [reading.require() for reading in (access, errors) if reading.available]


def _recent(rows: pd.DataFrame, access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """The rows of the minutes that are recent for both logs, which were not read at the same moment.

    A row counts from the beginning of its bucket on.
    """
    logs = _logs(access, errors)
    begin = max(log.recent_since for log in logs).replace(microsecond=0)
    end = min(log.until for log in logs)
    return rows[rows["at"].ge(begin) & rows["at"].le(end)]


def _told_apart(rows: pd.DataFrame, access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Where the log does not say who made a 502, 503 or 504: the proxy, if the backend has logged none of these lately."""
    if not errors.available:
        return rows
    logged = set(_recent(errors.require().requests, access, errors)["status"])
    unknown = rows["made_by"].eq("unknown") & rows["status"].isin([BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT])
    return rows.assign(made_by=rows["made_by"].mask(unknown & ~rows["status"].isin(logged), "proxy"))


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
        answers = requests.loc[requests["version"].eq(version) & requests["at"].ge(at - _SLACK), "at"]
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


def most(rows: pd.DataFrame, column: str) -> tuple[str, int]:
    """The value of *column* with the most requests, and how many; the first by name where several have."""
    sums = rows.groupby(column)["requests"].sum()
    if sums.empty:
        return "", 0
    number = int(sums.max())
    return min(str(name) for name in sums[sums.eq(number)].index), number


def _total(rows: pd.DataFrame) -> int:
    return int(rows["requests"].sum())


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float:
    return _total(part) / max(1, _total(whole))


def _moment(at: datetime) -> datetime:
    return at.to_pydatetime() if isinstance(at, pd.Timestamp) else at
